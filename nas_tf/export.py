"""A child as files: TFLite, a SavedModel for TF Hub, `.keras`. TensorFlow is imported where it is needed."""

import contextlib
import os
import pathlib
import shutil
import tempfile

from nas_tf.files import write_file
from nas_tf.quiet import quiet
from nas_tf.trial import InfeasibleArchitecture


def to_tflite(model, path, batch_size=1):
    """Writes `model` as a float32 TFLite file with a fixed batch size and gives its size in bytes.

    Variables are frozen to constants first: that converts several times faster than a SavedModel does.

    Raises:
        InfeasibleArchitecture: the converter refused the network.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with quiet():
        signature = [tf.TensorSpec((batch_size, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
        function = tf.function(
            lambda *inputs: model(inputs[0] if len(inputs) == 1 else inputs, training=False), jit_compile=False
        )
        try:
            frozen = convert_variables_to_constants_v2(function.get_concrete_function(*signature))
            content = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
        except Exception as error:  # the converter raises its own kinds and bare ones
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InfeasibleArchitecture(f"The TFLite converter refused the network: {first_line}") from error
    write_file(path, content)
    return len(content)


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
