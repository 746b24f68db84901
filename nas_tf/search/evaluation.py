"""Accuracy and cost of an architecture: two functions that know nothing of each other, and meet in `Measurement`.

A worker is asked for them by a job: `AccuracyJob`, `RehearsalJob`, `CostJob` or `PublishedCostJob`.
"""

import contextlib
import dataclasses
import functools
import importlib
import os
import pathlib
import tempfile

from nas_tf.bars import doing
from nas_tf.devices import Meter
from nas_tf.judges import Task, build_child, child_of
from nas_tf.networks import ssdlite, weights
from nas_tf.plugins import Part, described
from nas_tf.quiet import fresh_keras
from nas_tf.training.children import PARENT
from nas_tf.training.parent import inheriting
from nas_tf.trial import Cost, InfeasibleArchitecture, Latency, UserError

_TOLERANCE = 1e-3  # of probabilities and their sum
_PUBLISHED_TIMINGS = 3


@dataclasses.dataclass(frozen=True)
class Setup:
    """Plain data from which any process makes the same evaluator.

    Attributes:
        task: what the judge is given.
        judge: the judge's `nas_tf.plugins.Part`.
        device: the device's; None if no device is asked.
        number_type: type of the TFLite file that a meter times.
        judge_folder: folder for what the judge keeps.
        detector_classes: costs are those of the SSDLite detector of so many classes on a network; 0: its own.
    """

    task: Task
    judge: Part
    device: Part | None
    number_type: str
    judge_folder: str
    detector_classes: int = 0

    def make_judge(self):
        return self.judge.make(self.task)

    def parent(self):
        """Returns the `nas_tf.networks.parent.ParentNetwork` of the run, fine-tuned if its judge has done that.

        It is None if the run has no parent.
        """
        if not self.task.parent:
            return None
        parent, path = importlib.import_module(self.task.published).parent(self.task.parent), self.fine_tuned_parent
        return dataclasses.replace(parent, load=lambda model: weights.load(model, path)) if path else parent

    def published_parent(self):
        """Returns a dict from the name of the run's parent to the path of its weights, if it is a published network."""
        parent = self.parent()
        return {parent.name: parent.published_path} if parent and parent.published_path else {}

    @property
    def fine_tuned_parent(self):
        """`pathlib.Path` of the parent as the judge has fine-tuned it, or None."""
        path = pathlib.Path(self.judge_folder) / PARENT
        return path if self.task.parent and path.exists() else None

    def make_device(self):
        return self.device and self.device.make(self.task.space.space, self.task.deploy_scale)

    @property
    def has_meter(self):
        """bool: whether the device is one that times files. It is not asked anything, and may hang elsewhere."""
        return isinstance(self.make_device(), Meter)

    def paths(self):
        """Returns a list of the absolute paths of the files and folders that an evaluation reads."""
        task = self.task
        named = [task.images.data_dir, task.parent, self.judge_folder]
        for part in (task.space, task.images.part, self.judge):
            named += part.paths()
        return _existing(named + ([] if self.has_meter else self.device_paths()))

    def device_paths(self):
        """Returns a list of the absolute paths of the files that the device reads."""
        return _existing([*self.task.space.paths(), *(self.device.paths() if self.device else [])])

    def moved(self, places):
        """Returns this setup for a machine on which these paths lie elsewhere: a dict from absolute path to path."""

        def place(path):
            return places.get(os.path.abspath(path), path) if path else path

        task, device = self.task, self.device
        images = dataclasses.replace(
            task.images, data_dir=place(task.images.data_dir), part=task.images.part.moved(place)
        )
        task = dataclasses.replace(task, space=task.space.moved(place), images=images, parent=place(task.parent))
        return dataclasses.replace(
            self,
            task=task,
            judge=self.judge.moved(place),
            device=device and device.moved(place),
            judge_folder=place(self.judge_folder),
        )

    def start(self, architecture, scale, dataset):
        """Returns `start(model)`, which puts the weights that an architecture begins with into its network, or None.

        Args:
            architecture: of the network.
            scale: the `Scale` of the network.
            dataset: `nas_tf.datasets.Dataset` of the size of the network's images.
        """
        parent = self.parent()
        if parent is None:
            return None
        space, own = self.task.space.space, self.make_judge().start(architecture)
        return own or inheriting(space, parent, architecture, scale, dataset, self.task.seed)

    def deployed(self, architecture, scale):
        """Returns the `keras.Model` whose cost is that of an architecture at `scale`.

        Raises:
            ValueError: it cannot be built.
        """
        space = self.task.space.space
        if not self.detector_classes:
            return space.build(architecture, scale)
        return ssdlite.detector(space.feature_maps(architecture, scale), self.detector_classes)

    def calibration(self, image_size):
        """Returns images of this size to calibrate a network on, float32 [n, size, size, 3] in [-1, 1], or None."""
        return self.task.images.calibration_images(image_size) if self.number_type == "int8" else None


@dataclasses.dataclass(frozen=True)
class AccuracyJob:
    """Asks for the `nas_tf.training.train.Trained` of an architecture, with the arguments of `Judge.accuracy`."""

    tokens: tuple[int, ...]
    max_steps: int | None = None
    repeat: int = 0
    rung: int | None = None

    def run(self, evaluator):
        rung = {} if self.rung is None else {"rung": self.rung}
        return evaluator.judge.accuracy(self.tokens, self.max_steps, self.repeat, **rung)


@dataclasses.dataclass(frozen=True)
class RehearsalJob:
    """Asks for the `nas_tf.training.train.Trained` of a few steps, of a child whose outputs are looked at first."""

    tokens: tuple[int, ...]
    max_steps: int

    def run(self, evaluator):
        evaluator.check_outputs(self.tokens)
        return evaluator.judge.accuracy(self.tokens, self.max_steps)


@dataclasses.dataclass(frozen=True)
class CostJob:
    """Asks for the `nas_tf.trial.Cost` of an architecture's deployment network."""

    tokens: tuple[int, ...]

    def run(self, evaluator):
        return evaluator.cost(self.tokens)


@dataclasses.dataclass(frozen=True)
class PublishedCostJob:
    """Asks for the `nas_tf.trial.Cost` of a published network, or None if the device cannot estimate it."""

    name: str

    def run(self, evaluator):
        return evaluator.published_cost(self.name)


class Evaluator:
    """Judge and device in one process.

    Args:
        setup: the `Setup`.
        hold_still: `hold_still()` returns a context in which nothing else of the run computes.
        device: a `nas_tf.devices.Device` in place of the one that the setup makes here.
    """

    def __init__(self, setup, hold_still=contextlib.nullcontext, device=None):
        self._setup, self._hold_still, self._given_device = setup, hold_still, device
        self._space = setup.task.space.space
        self._calibration = functools.lru_cache(maxsize=4)(setup.calibration)

    @functools.cached_property
    def judge(self):
        """The `nas_tf.judges.Judge`, already prepared."""
        judge = self._setup.make_judge()
        judge.prepare(pathlib.Path(self._setup.judge_folder))
        return judge

    @functools.cached_property
    def _device(self):
        return self._given_device or self._setup.make_device()

    def check_outputs(self, tokens):
        """Raises `UserError` if the child of some tokens does not return probabilities.

        Raises:
            InfeasibleArchitecture: the child cannot be built.
            UserError: the outputs have another shape, are no probabilities or are not finite.
        """
        import numpy as np

        task = self._setup.task
        keras = fresh_keras(task.seed)
        child = build_child(task, tokens)
        scale = self._space.scale_of(child_of(task, tokens), task.proxy_scale)
        size, classes = scale.image_size, scale.num_classes
        images = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype("float32")
        outputs = child(images, training=False)
        for each in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
            wrong = _not_probabilities(keras.ops.convert_to_numpy(each), (2, classes))
            if wrong:
                raise UserError(
                    f"Expected the networks of {task.space.name} to return probabilities [batch, {classes}], finite "
                    f"and of sum 1 in each row. Received: {wrong}. End them in Dense(scale.num_classes, "
                    "activation='softmax')"
                )
        del child
        keras.backend.clear_session()

    def cost(self, tokens):
        """Returns the `nas_tf.trial.Cost` of the deployment network, with its latency if there is a device.

        Raises:
            InfeasibleArchitecture: the network cannot be built, converted or run by the device.
            EvaluationError: the device did not answer.
        """
        doing("building")
        architecture, scale = self._space.decode(tokens), self._setup.task.deploy_scale
        keras = fresh_keras(self._setup.task.seed)
        try:
            model = self._setup.deployed(architecture, scale)
        except ValueError as error:
            raise InfeasibleArchitecture(f"The network cannot be built at {scale}: {described(error)}") from error
        return self._cost(keras, model, architecture, timings=1)

    def published_cost(self, name):
        """Returns the `nas_tf.trial.Cost` of a published network, or None if the device cannot estimate it.

        Of one that is no architecture of the family there is no detector, and it is None, too. It is the middle one of
        three timings: where it is the target, all trials are held against it.

        Raises:
            InfeasibleArchitecture: it cannot be built as small as the deployment scale, converted or run by the device.
            UserError: no published network has that name.
        """
        doing("building")
        module = importlib.import_module(self._setup.task.published)
        architecture = module.architecture(name)
        is_estimator = self._device is not None and not isinstance(self._device, Meter)
        if is_estimator:
            own_kind = type(self._space.decode((0,) * len(self._space.decisions)))
            if not isinstance(architecture, own_kind) or not self._device.knows(architecture):
                return None
        keras = fresh_keras(self._setup.task.seed)
        by_space = is_estimator or self._setup.detector_classes
        if by_space and architecture is None:
            return None
        build = self._setup.deployed if by_space else module.build
        try:
            model = build(architecture if by_space else name, self._setup.task.deploy_scale)
        except UserError as error:
            raise InfeasibleArchitecture(str(error)) from error
        return self._cost(keras, model, architecture, timings=_PUBLISHED_TIMINGS)

    def _cost(self, keras, model, architecture, timings):
        from nas_tf import complexity

        figures = {
            "num_params": complexity.num_params(model),
            "mult_adds": complexity.mult_adds(model),
            "peak_activation_bytes": complexity.peak_activation_bytes(model),
        }
        if isinstance(self._device, Meter):
            figures |= self._measure(model, timings)
        elif self._device is not None:
            figures["latency"] = Latency.estimate(self._device.estimate([architecture])[0])
        del model
        keras.backend.clear_session()
        return Cost(**figures)

    def _measure(self, model, timings):
        from nas_tf.export import to_tflite

        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            path = os.path.join(folder, "child.tflite")
            doing("converting")
            tflite_bytes = to_tflite(model, path, 1, self._setup.number_type, self._calibration(model.input_shape[1]))
            with self._hold_still() if self._device.shares_host else contextlib.nullcontext():
                doing("timing")
                found = sorted((self._device.measure(path) for _ in range(timings)), key=lambda each: each.latency_ms)
                return {"tflite_bytes": tflite_bytes, "latency": found[timings // 2]}


def _existing(paths):
    return list(dict.fromkeys(os.path.abspath(path) for path in paths if path and os.path.exists(path)))


def _not_probabilities(values, shape):
    """Returns what is wrong with outputs that should be probabilities of that shape, in words, or None."""
    import numpy as np

    if values.shape != shape:
        return f"shape {list(values.shape)} for a batch of {shape[0]}"
    values = values.astype("float64")
    if not np.isfinite(values).all():
        return "values that are not finite"
    if values.min() < -_TOLERANCE or values.max() > 1 + _TOLERANCE:
        return f"values from {values.min():.3g} to {values.max():.3g}"
    sums = values.sum(axis=1)
    if np.abs(sums - 1).max() > _TOLERANCE:
        return f"rows of sum {sums[np.abs(sums - 1).argmax()]:.3g}"
    return None
