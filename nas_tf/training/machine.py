"""On what a network is trained: TensorFlow's distribution strategies, and Keras's mixed precision."""

import contextlib
import dataclasses
import functools
import os

from nas_tf.files import parse_json
from nas_tf.quiet import quiet
from nas_tf.settings import Settings, knob
from nas_tf.trial import UserError, first_line


@dataclasses.dataclass(frozen=True)
class Machine(Settings):
    """Devices and precision.

    A step's images are divided among the devices, and batch normalisation sees all of them together. If a batch does
    not divide evenly, the images in its smaller shares count a little more.
    """

    distribution: str = knob(
        "none",
        "mirrored: all GPUs of this machine; multi_worker: several machines, each told of all by TF_CONFIG and with "
        "one shared --out_dir; tpu: the TPU of this host, or the one that TPU_NAME names.",
        choices=("none", "mirrored", "multi_worker", "tpu"),
    )
    virtual_cpu_devices: int = knob(
        0,
        "With --distribution=mirrored: divide the work among so many virtual CPU devices, to try it without GPUs.",
        least=0,
    )
    precision: str = knob(
        "float32",
        "Numbers that layers compute in while training; weights, and what ships, are float32.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.virtual_cpu_devices and self.distribution != "mirrored":
            raise UserError(
                "Expected --virtual_cpu_devices of 0, or of 1 or more with --distribution=mirrored. Received: "
                f"--virtual_cpu_devices={self.virtual_cpu_devices} --distribution={self.distribution}"
            )

    def start(self):
        """Takes hold of the devices. TensorFlow wants this to be done before anything is computed.

        Raises:
            UserError: there are no such devices.
        """
        if self.distribution != "none":
            _strategy(self)

    @contextlib.contextmanager
    def scope(self):
        """Returns a context in which networks are built and trained on these devices, in this precision.

        It yields the number of devices.

        Raises:
            UserError: there are no such devices.
        """
        import keras

        earlier = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.precision)
        try:
            if self.distribution == "none":
                yield 1
            else:
                strategy = _strategy(self)
                with strategy.scope():
                    yield strategy.num_replicas_in_sync
        finally:
            keras.config.set_dtype_policy(earlier)

    @property
    def is_chief(self):
        """bool: whether this process writes the files. Of several machines, one does."""
        if self.distribution != "multi_worker":
            return True
        task = _tf_config("task")
        return task.get("type", "worker") == "chief" or (
            task.get("index", 0) == 0 and "chief" not in _tf_config("cluster")
        )


@functools.cache
def _strategy(machine):
    """Returns the `tf.distribute.Strategy` of a `Machine`. A process has only one."""
    # Looked up without importing Keras, which would compute something with TensorFlow's default devices.
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise UserError(
            f"--distribution={machine.distribution} needs Keras on TensorFlow. Received: KERAS_BACKEND={backend}"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet():
        import tensorflow as tf
    try:
        if machine.distribution == "mirrored":
            return tf.distribute.MirroredStrategy(_virtual_devices(machine.virtual_cpu_devices))
        if machine.distribution == "multi_worker":
            if "TF_CONFIG" not in os.environ:
                raise ValueError("TF_CONFIG, which names all machines, is not set")
            return tf.distribute.MultiWorkerMirroredStrategy()
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, KeyError, ImportError, tf.errors.OpError) as error:
        raise UserError(
            f"--distribution={machine.distribution} found no devices to use: {first_line(error)}"
        ) from error


def _virtual_devices(count):
    """Makes `count` virtual CPU devices and returns a list of their names. Returns None, for all GPUs, if it is 0."""
    import tensorflow as tf

    if count == 0:
        return None
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return [f"CPU:{i}" for i in range(count)]


def model_type():
    """Returns `keras.Model`, or in the scope of several devices a subclass that Keras 3.15 can train there."""
    import keras

    strategy = _current_strategy()
    if strategy is None:
        return keras.Model
    import tensorflow as tf

    several_machines = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)

    def reducible(logs):
        """Adds the axis along which Keras joins the logs of several machines."""
        return {name: keras.ops.reshape(each, (1,)) for name, each in logs.items()} if several_machines else logs

    class Replicated(keras.Model):
        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            # Keras would average the shares of a batch, which fails on several machines and where they are uneven.
            if iterator is None:
                super()._maybe_symbolic_build(None, data_batch)

        def train_step(self, data):
            return reducible(super().train_step(data))

        def test_step(self, data):
            return reducible(super().test_step(data))

    return Replicated


def summed_over_devices(gradients):
    """Returns `(list of gradients, number of devices)`.

    In a training step on several devices, these are the sums of what each has found. Elsewhere they are the gradients
    as they were given, and 1.
    """
    strategy = _current_strategy()
    if strategy is None:
        return gradients, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients)), strategy.num_replicas_in_sync


def num_devices():
    """Returns the number of devices among which a step's images are divided here."""
    strategy = _current_strategy()
    return strategy.num_replicas_in_sync if strategy else 1


def _current_strategy():
    """Returns the `tf.distribute.Strategy` of more than one device in whose scope this is called, or None."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    return strategy if strategy.num_replicas_in_sync > 1 else None


def synchronize(model, on):
    """Lets the batch normalisations of `model` take their statistics over all devices if `on`, else over each alone."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = on


def _tf_config(name):
    """Returns a dict of the environment's TF_CONFIG, empty where that does not have it."""
    written = os.environ.get("TF_CONFIG") or "{}"
    try:
        value = parse_json(written).get(name, {})
        if not isinstance(value, dict):
            raise ValueError(f"{name} is no object")
        return value
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"Expected TF_CONFIG to be a JSON object of cluster and task. Received: {written[:80]!r}: {error}"
        ) from error
