"""A child as files: TFLite, a SavedModel for TF Hub, `.keras`. TensorFlow is imported where it is needed."""

import contextlib
import os
import pathlib
import shutil
import tempfile

from nas_tf.files import write_file
from nas_tf.quiet import quiet
from nas_tf.trial import InfeasibleArchitecture

NUMBER_TYPES = ("float32", "float16", "int8")


def to_tflite(model, path, batch_size=1, number_type="float32", calibration=None):
    """Writes `model` as a TFLite file with a fixed batch size and gives its size in bytes.

    `float16` keeps float32 inputs and outputs and stores the weights in half; `int8` is full-integer, inputs and
    outputs too, its ranges calibrated on `calibration`: float32 [n, height, width, 3] training images, scaled as the
    model takes them. Variables are frozen to constants first: that converts several times faster than a SavedModel.

    Raises:
        InfeasibleArchitecture: the converter refused the network.
        ValueError: the type is unknown, or `int8` has nothing to calibrate on.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    if number_type not in NUMBER_TYPES:
        raise ValueError(f"Expected number_type to be one of {', '.join(NUMBER_TYPES)}. Received: {number_type!r}")
    if number_type == "int8" and (calibration is None or len(calibration) == 0):
        raise ValueError("Expected images to calibrate an int8 file on. Received: none")
    with quiet():
        signature = [tf.TensorSpec((batch_size, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
        function = tf.function(
            lambda *inputs: model(inputs[0] if len(inputs) == 1 else inputs, training=False), jit_compile=False
        )
        try:
            frozen = convert_variables_to_constants_v2(function.get_concrete_function(*signature))
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
            _choose_type(converter, number_type, batch_size, calibration)
            content = converter.convert()
        except Exception as error:  # the converter raises its own kinds and bare ones
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InfeasibleArchitecture(f"The TFLite converter refused the network: {first_line}") from error
    write_file(path, content)
    return len(content)


def _choose_type(converter, number_type, batch_size, calibration):
    import tensorflow as tf

    if number_type == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if number_type == "float16":
        converter.target_spec.supported_types = [tf.float16]
        return
    whole = len(calibration) // batch_size * batch_size or len(calibration)
    batches = [calibration[i : i + batch_size] for i in range(0, whole, batch_size)]
    converter.representative_dataset = lambda: ([batch] for batch in batches)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def to_saved_model(model, path):
    """Writes `model` as a reusable SavedModel (TF2 form) that `hub.load` and `hub.KerasLayer` take: callable with
    `inputs` and `training`, with `variables`, `trainable_variables` and `regularization_losses`.

    Keras's own `model.export` writes one that cannot be called.
    """
    import tensorflow as tf

    call = tf.function(lambda inputs, training=False: model(inputs, training=training), jit_compile=False)
    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype, name="inputs")
    reusable = tf.train.Checkpoint()
    reusable.__call__ = call
    reusable.variables = [variable.value for variable in model.variables]
    reusable.trainable_variables = [variable.value for variable in model.trainable_variables]
    reusable.regularization_losses = []
    with quiet(), _replacing(path) as folder:
        call.get_concrete_function(spec, training=True)
        serve = call.get_concrete_function(spec, training=False)
        tf.saved_model.save(reusable, folder, signatures={"serving_default": serve})


def to_keras(model, path):
    """Writes `model` as a `.keras` file."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.keras")
    try:
        model.save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _replacing(path):
    """A folder to write into, which takes the place of `path` once the block has ended well."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        yield folder
        shutil.rmtree(path, ignore_errors=True)
        os.replace(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
