"""Writes networks as files: TFLite, a SavedModel for TF Hub, `.keras`. TensorFlow is imported where it is needed."""

import contextlib
import dataclasses
import math
import os
import pathlib
import shutil
import tempfile

from nas_tf.files import write_file
from nas_tf.quiet import quiet
from nas_tf.trial import InfeasibleArchitecture, first_line

NUMBER_TYPES = ("float32", "float16", "dynamic", "int8")


@dataclasses.dataclass(frozen=True)
class FrozenNetwork:
    """A network as plain data, its weights included: all that a process needs to convert it.

    Attributes:
        graph: a serialised `tf.GraphDef`.
        inputs, outputs: names of its tensors.
        signature: tuple of the shape and the name of the dtype of each input. A batch that is open is None.
    """

    graph: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    signature: tuple[tuple[tuple[int | None, ...], str], ...]


def to_tflite(model, path, batch_size=1, number_type="float32", calibration=None, call=None, float_outputs=False):
    """Writes a TFLite file with the signature `serving_default`, from `image` to `probabilities`.

    The file is made for one batch size, and takes others after `resize_tensor_input`. Variables are frozen to constants
    first, because that converts several times faster than a SavedModel with variables.

    Args:
        model: the `keras.Model`.
        path: of the file.
        batch_size: images that the file takes at once.
        number_type: one of `NUMBER_TYPES`. Inputs and outputs are float32 for all but `int8`. `float16` stores the
            weights as float16. `dynamic` stores the weights of large kernels as int8, and quantises activations while
            it runs if the runtime has such a kernel (dynamic range). `int8` computes in integers only.
        calibration: training images on which the ranges of `int8` are calibrated: float32 [n, height, width, 3], scaled
            as the model takes them; of a model with several inputs a tuple of such arrays.
        call: `call(function, *arguments)` returns the function's value, as `nas_tf.recycling.Processes.call` does. The
            converter then runs in that process, and leaves this one the memory that it keeps; None: here.
        float_outputs: whether the outputs of an int8 file are float32.

    Returns:
        The size of the file in bytes.

    Raises:
        InfeasibleArchitecture: the converter refused the network.
        ValueError: the type is unknown, or there are no images to calibrate `int8` on.
    """
    if number_type not in NUMBER_TYPES:
        raise ValueError(f"Expected number_type to be one of {', '.join(NUMBER_TYPES)}. Received: {number_type!r}")
    if number_type == "int8" and (calibration is None or len(calibration) == 0):
        raise ValueError("Expected images to calibrate an int8 file on. Received: none")
    frozen, signature = _freeze(model, batch_size)
    if call is None:
        content = _convert(frozen, signature, batch_size, number_type, calibration, float_outputs)
    else:
        images = calibration if number_type == "int8" else None
        content = call(convert, _as_data(frozen, signature), batch_size, number_type, images, float_outputs)
    write_file(path, content)
    return len(content)


def _freeze(model, batch_size):
    """Returns `(concrete function, list of tf.TensorSpec)`: a network for one batch size, its variables constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with quiet(), _refused():
        batch = None if batch_size == 1 and _adds_vectors(model) else batch_size
        signature = [tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
        function = tf.function(
            lambda *inputs: model(inputs[0] if len(inputs) == 1 else inputs, training=False), jit_compile=False
        )
        return convert_variables_to_constants_v2(function.get_concrete_function(*signature)), signature


def _as_data(frozen, signature):
    return FrozenNetwork(
        graph=frozen.graph.as_graph_def().SerializeToString(),
        inputs=tuple(tensor.name for tensor in frozen.inputs),
        outputs=tuple(tensor.name for tensor in frozen.outputs),
        signature=tuple((tuple(spec.shape), spec.dtype.name) for spec in signature),
    )


def convert(network, batch_size, number_type, calibration, float_outputs=False):
    """Returns the content of the TFLite file of a `FrozenNetwork`. The arguments are those of `to_tflite`.

    Raises:
        InfeasibleArchitecture: the converter refused the network.
    """
    with quiet():
        import tensorflow as tf

        graph = tf.compat.v1.GraphDef.FromString(network.graph)
        imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        frozen = imported.prune(list(network.inputs), list(network.outputs))
        signature = [tf.TensorSpec(shape, dtype) for shape, dtype in network.signature]
    return _convert(frozen, signature, batch_size, number_type, calibration, float_outputs)


def _convert(frozen, signature, batch_size, number_type, calibration, float_outputs=False):
    import tensorflow as tf

    with quiet(), _refused():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([_named(frozen, signature)], tf.Module())
        _choose_type(converter, number_type, batch_size, calibration)
        if float_outputs:
            converter.inference_output_type = tf.float32
        return _for_any_batch(converter.convert(), batch_size)


@contextlib.contextmanager
def _refused():
    """Inside it, any failure is an `InfeasibleArchitecture`: the converter raises its own kinds of error, and plain
    ones."""
    try:
        yield
    except Exception as error:
        raise InfeasibleArchitecture(f"The TFLite converter refused the network: {first_line(error)}") from error


def _named(frozen, signature):
    """Returns a concrete function that does what `frozen` does, with names for its inputs and outputs.

    A network of one image and one output has `image` and `probabilities`, others have these with numbers.
    """
    import tensorflow as tf

    def names(word, count):
        return [word] if count == 1 else [f"{word}_{number}" for number in range(count)]

    specs = [
        tf.TensorSpec(spec.shape, spec.dtype, name) for spec, name in zip(signature, names("image", len(signature)))
    ]

    def call(*inputs):
        outputs = frozen(*inputs)
        return dict(zip(names("probabilities", len(outputs)), outputs))

    return tf.function(call, jit_compile=False).get_concrete_function(*specs)


def _adds_vectors(model):
    """Returns whether the network adds maps of one pixel.

    With batch 1 the converter takes such a sum for a bias, and the file then takes no other batch. With a batch that is
    open it does not, and the file is for batch 1 all the same.
    """
    return any(
        None not in tensor.shape[1:-1] and math.prod(tensor.shape[1:-1]) == 1
        for operation in getattr(model, "operations", ())
        if type(operation).__name__ == "Add"
        for node in operation._inbound_nodes
        for tensor in node.output_tensors
    )


def _for_any_batch(content, batch_size):
    """Returns a TFLite file in which no reshape insists on the batch size: it works the size out instead.

    The converter writes the batch size into the shapes of reshapes. Nothing else in the file changes, nor its length.
    """
    import numpy as np
    from tensorflow.lite.python import schema_py_generated as schema

    content = bytearray(content)
    model = schema.Model.GetRootAsModel(content, 0)

    def is_reshape(operator):
        code = model.OperatorCodes(operator.OpcodeIndex())
        return max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == schema.BuiltinOperator.RESHAPE

    def keeps_batch(graph, operator):
        tensors = [graph.Tensors(i) for i in (operator.Inputs(0), operator.Outputs(0))]
        return all(tensor.ShapeLength() and tensor.Shape(0) == batch_size for tensor in tensors)

    graphs = [model.Subgraphs(number) for number in range(model.SubgraphsLength())]
    operators = [(graph, graph.Operators(number)) for graph in graphs for number in range(graph.OperatorsLength())]
    wanted, others = {}, set()
    for graph, operator in operators:
        for place in range(operator.InputsLength()):
            if operator.Inputs(place) < 0:
                continue  # an input that is left out
            buffer = graph.Tensors(operator.Inputs(place)).Buffer()
            if place == 1 and is_reshape(operator) and keeps_batch(graph, operator):
                wanted.setdefault(buffer, []).append(operator)
            else:
                others.add(buffer)
    for buffer in wanted.keys() - others - {0}:
        data = model.Buffers(buffer).DataAsNumpy()
        shape = np.frombuffer(data, np.int32) if not isinstance(data, int) else np.zeros(0, np.int32)
        if not len(shape) or shape[0] != batch_size or -1 in shape:
            continue
        data.view(np.int32)[0] = -1
        for operator in wanted[buffer]:
            if operator.BuiltinOptionsType() == schema.BuiltinOptions.ReshapeOptions:
                options = schema.ReshapeOptions()
                options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
                if options.NewShapeLength():
                    options.NewShapeAsNumpy()[0] = -1
    return bytes(content)


def _choose_type(converter, number_type, batch_size, calibration):
    import tensorflow as tf

    if number_type == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if number_type == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if number_type != "int8":
        return
    inputs = calibration if isinstance(calibration, tuple) else (calibration,)
    whole = len(inputs[0]) // batch_size * batch_size or len(inputs[0])
    batches = [[each[i : i + batch_size] for each in inputs] for i in range(0, whole, batch_size)]
    converter.representative_dataset = lambda: iter(batches)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def to_saved_model(model, path, labels=()):
    """Writes a reusable SavedModel (TF2 format) for `hub.load`, `hub.KerasLayer` and `keras.layers.TFSMLayer`.

    Keras's own `model.export` writes one that cannot be called.

    The loaded object is called with `(inputs, training=False)`. It takes float32 [batch, height, width, 3] RGB in
    [-1, 1] and returns probabilities. It has `variables`, `trainable_variables` and `regularization_losses`. `serve`
    (the endpoint that TFSMLayer calls by default) and the signature `serving_default` do the same at inference. If the
    network ends in a Dense layer, `feature_vector` is an object of the same kind with the same variables and inputs. It
    returns the input of that layer without dropout, float32 [batch, num_features].

    The signatures `image_classification` and `image_feature_vector` are TF Hub's common ones
    (tensorflow.org/hub/common_signatures/images). There, `images` are float32 in [0, 1], of the declared height and
    width, and `default` is the logits or the features; `image_classification` returns `probabilities` too. A network
    that does not end in a Dense layer has only `image_classification`, which returns only `probabilities`.

    Args:
        model: the `keras.Model`.
        path: of the folder; what is there is replaced.
        labels: names of the classes, which become the asset `labels`: the file `assets/labels.txt`, with a line for
            each class.
    """
    import tensorflow as tf
    from tensorflow.python.saved_model import save_context

    with quiet(), _replacing(path) as folder, tempfile.TemporaryDirectory() as scratch:
        # What is traced in the context in which it is saved is not traced again by `save`, which halves the time.
        with save_context.save_context(tf.saved_model.SaveOptions()):
            reusable, head = _reusable(model), None
            reusable.serve = tf.function(lambda inputs: reusable.__call__(inputs, training=False), jit_compile=False)
            reusable.serve.get_concrete_function(_images_spec(model, "inputs"))
            if (found := _features_and_head(model)) is not None:
                features, head = found
                reusable.feature_vector = _reusable(features)
            if labels:
                file = pathlib.Path(scratch) / "labels.txt"
                file.write_text("".join(f"{label}\n" for label in labels))
                reusable.labels = tf.saved_model.Asset(str(file))
            signatures = _signatures(model, reusable, head)
        tf.saved_model.save(reusable, str(folder), signatures=signatures)


def to_saved_function(model, path, call, labels=()):
    """Writes a SavedModel that is called with images, as is its signature `serving_default`.

    Args:
        model: the `keras.Model` whose weights it has.
        path: of the folder; what is there is replaced.
        call: `call(images)` returns a dict from name to tensor, made by `model`, of images as `model` takes them.
        labels: names of the classes, as for `to_saved_model`.
    """
    import tensorflow as tf

    with quiet(), _replacing(path) as folder, tempfile.TemporaryDirectory() as scratch:
        module = tf.train.Checkpoint()
        module.variables = [variable.value for variable in model.variables]
        spec = _images_spec(model, "images")
        module.__call__ = tf.function(call, input_signature=[spec], jit_compile=False)
        if labels:
            file = pathlib.Path(scratch) / "labels.txt"
            file.write_text("".join(f"{label}\n" for label in labels))
            module.labels = tf.saved_model.Asset(str(file))
        signatures = {"serving_default": module.__call__.get_concrete_function(spec)}
        tf.saved_model.save(module, str(folder), signatures=signatures)


def _images_spec(model, name):
    import tensorflow as tf

    return tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype, name=name)


def _reusable(model):
    """Returns an object that is called as TF Hub's reusable SavedModels are.

    tensorflow.org/hub/reusable_saved_models describes them.
    """
    import tensorflow as tf

    call = tf.function(lambda inputs, training=False: model(inputs, training=training), jit_compile=False)
    for training in (True, False):
        call.get_concrete_function(_images_spec(model, "inputs"), training=training)
    reusable = tf.train.Checkpoint()
    reusable.__call__ = call
    reusable.variables = [variable.value for variable in model.variables]
    reusable.trainable_variables = [variable.value for variable in model.trainable_variables]
    penalised = [variable for variable in model.trainable_variables if variable.regularizer]
    reusable.regularization_losses = [_penalty(variable) for variable in penalised]
    return reusable


def _penalty(variable):
    import tensorflow as tf

    penalty = tf.function(lambda: variable.regularizer(variable.value))
    penalty.get_concrete_function()
    return penalty


def _signatures(model, reusable, head):
    """Returns a dict from name to traced function of all that the SavedModel can be asked for.

    `head` is the last Dense layer; None: the network does not end in one.
    """
    import tensorflow as tf

    def probabilities(inputs):
        return reusable.__call__(inputs, training=False)

    def features(images):
        return reusable.feature_vector.__call__(2 * images - 1, training=False)

    def classification(images):
        if head is None:
            return {"probabilities": probabilities(2 * images - 1)}
        logits = tf.matmul(features(images), head.kernel)
        logits = logits + head.bias if head.use_bias else logits
        return {"default": logits, "probabilities": head.activation(logits)}

    def trace(function, name):
        return tf.function(function, jit_compile=False).get_concrete_function(_images_spec(model, name))

    signatures = {
        "serving_default": trace(lambda inputs: {"probabilities": probabilities(inputs)}, "inputs"),
        "image_classification": trace(classification, "images"),
    }
    if head is not None:
        signatures["image_feature_vector"] = trace(lambda images: {"default": features(images)}, "images")
    return signatures


def _features_and_head(model):
    """Returns `(keras.Model of float32 features, the last Dense layer)`.

    Returns None if the network does not end in a Dense layer that reads a vector.
    """
    import keras

    def made_by(tensor):
        operation, node, _ = tensor._keras_history
        return operation, operation._inbound_nodes[node].input_tensors

    head, tensors = made_by(model.outputs[0])
    if not isinstance(head, keras.layers.Dense) or len(tensors[0].shape) != 2:
        return None
    features = tensors[0]
    while isinstance(made_by(features)[0], keras.layers.Dropout):
        features = made_by(features)[1][0]
    return keras.Model(model.inputs, keras.ops.cast(features, "float32"), name="feature_vector"), head


def to_keras(model, path):
    """Writes a `keras.Model` as a `.keras` file."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.keras")
    try:
        model.save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _replacing(path):
    """Yields a folder to write into; it replaces `path` if the block ends without an error."""
    path = pathlib.Path(path)
    folder = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        shutil.rmtree(path, ignore_errors=True)
        os.replace(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
