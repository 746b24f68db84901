"""Accuracy and cost of an architecture: two functions that know nothing of each other, and meet in `Measurement`."""

import contextlib
import dataclasses
import functools
import importlib
import os
import pathlib
import tempfile

from nas_tf.datasets import scaled_images
from nas_tf.devices import Meter
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.recipe import Recipe
from nas_tf.trial import Cost, InfeasibleArchitecture, Latency, UserError

_CALIBRATION_IMAGES = 100


@dataclasses.dataclass(frozen=True)
class Setup:
    """Plain data from which any process makes the same evaluator.

    `proxy_scale` is what children are trained at, `deploy_scale` what they ship at and where their cost is measured;
    `device` is None where only accuracy counts, `number_type` the type of the TFLite files that it times. `references`
    is a module with `build(name, scale)` and `architecture(name)` for the published networks that are measured beside
    the children.
    """

    space: Part
    dataset: Part
    data_dir: str | None
    proxy_scale: object
    deploy_scale: object
    recipe: Recipe
    proxy_samples: int
    seed: int
    device: Part | None
    references: str
    number_type: str = "float32"

    def make_dataset(self, image_size, num_samples):
        make = self.dataset.module.make
        return make(
            self.dataset.config, data_dir=self.data_dir, image_size=image_size, num_samples=num_samples, seed=self.seed
        )

    def data(self, num_samples):
        """JSON-ready dict from which the same images, in the same splits, can be had again."""
        part = self.dataset.to_json()
        return {"part": part, "data_dir": self.data_dir, "num_samples": num_samples, "seed": self.seed}

    def calibration(self):
        """float32 [n, size, size, 3] in [-1, 1]: training images at the deployment size, None where none are needed."""
        if self.number_type != "int8":
            return None
        count = max(_CALIBRATION_IMAGES, self.deploy_scale.num_classes)
        return scaled_images(self.make_dataset(self.deploy_scale.image_size, count).train(), _CALIBRATION_IMAGES)

    def make_device(self):
        return self.device and self.device.module.make(self.device.config, self.space.space, self.deploy_scale)


class Evaluator:
    """The two functions, in one process. `hold_still()` gives a context in which nothing else of the run computes."""

    def __init__(self, setup, hold_still=contextlib.nullcontext):
        self._setup, self._hold_still = setup, hold_still
        self._space = setup.space.space

    @functools.cached_property
    def _dataset(self):
        dataset = self._setup.make_dataset(self._setup.proxy_scale.image_size, self._setup.proxy_samples)
        return _ReadOnce(dataset)

    @functools.cached_property
    def _calibration(self):
        return self._setup.calibration()

    @functools.cached_property
    def _device(self):
        return self._setup.make_device()

    def accuracy(self, tokens, max_steps=None):
        """`nas_tf.training.Trained` of the child at proxy scale, from weights and an order that the seed decides.

        Raises:
            InfeasibleArchitecture: training diverged, or the child cannot be built.
        """
        from nas_tf.training import train

        keras = _fresh_keras(self._setup.seed)
        child = _build(self._space, self._space.decode(tokens), self._setup.proxy_scale)
        trained = train(child, self._dataset, self._setup.recipe, seed=self._setup.seed, max_steps=max_steps)
        del child
        keras.backend.clear_session()
        return trained

    def cost(self, tokens):
        """`nas_tf.trial.Cost` of the deployment network, with its latency where there is a device.

        Raises:
            InfeasibleArchitecture: the network cannot be built, converted or run by the device.
            EvaluationError: the device did not answer.
        """
        architecture = self._space.decode(tokens)
        keras = _fresh_keras(self._setup.seed)
        model = _build(self._space, architecture, self._setup.deploy_scale)
        return self._cost(keras, model, architecture)

    def reference_cost(self, name):
        """`nas_tf.trial.Cost` of a published network, or None where the device knows it not.

        Raises:
            InfeasibleArchitecture: it is not built as small as the deployment scale.
            UserError: no published network has that name.
        """
        module = importlib.import_module(self._setup.references)
        architecture = module.architecture(name)
        is_estimator = self._device is not None and not isinstance(self._device, Meter)
        if is_estimator:
            own_kind = type(self._space.decode((0,) * len(self._space.decisions)))
            if not isinstance(architecture, own_kind) or not self._device.knows(architecture):
                return None
        keras = _fresh_keras(self._setup.seed)
        build = self._space.build if is_estimator else module.build
        try:
            model = build(architecture if is_estimator else name, self._setup.deploy_scale)
        except UserError as error:
            raise InfeasibleArchitecture(str(error)) from error
        return self._cost(keras, model, architecture)

    def _cost(self, keras, model, architecture):
        from nas_tf import complexity

        figures = {
            "num_params": complexity.num_params(model),
            "mult_adds": complexity.mult_adds(model),
            "peak_activation_bytes": complexity.peak_activation_bytes(model),
        }
        if isinstance(self._device, Meter):
            figures |= self._measure(model)
        elif self._device is not None:
            figures["latency"] = Latency.estimate(self._device.estimate([architecture])[0])
        del model
        keras.backend.clear_session()
        return Cost(**figures)

    def _measure(self, model):
        from nas_tf.export import to_tflite

        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            path = pathlib.Path(folder) / "child.tflite"
            tflite_bytes = to_tflite(model, path, 1, self._setup.number_type, self._calibration)
            with self._hold_still() if self._device.shares_host else contextlib.nullcontext():
                return {"tflite_bytes": tflite_bytes, "latency": self._device.measure(os.fspath(path))}


class _ReadOnce:
    """A data set whose train and validation splits are read once in the life of a process, and never its test split."""

    def __init__(self, dataset):
        self.augmentation, self.num_classes = dataset.augmentation, dataset.num_classes
        self.train = functools.cache(dataset.train)
        self.validation = functools.cache(dataset.validation)


def _fresh_keras(seed):
    keras = import_keras()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    return keras


def _build(space, architecture, scale):
    try:
        return space.build(architecture, scale)
    except ValueError as error:
        raise InfeasibleArchitecture(f"The network cannot be built at {scale}: {error}") from error
