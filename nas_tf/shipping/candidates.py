"""Networks trained in full at the scale at which they ship, and timed."""

import dataclasses
import os
import pathlib
import tempfile
import typing

from nas_tf import accuracy, complexity
from nas_tf.datasets import Dataset
from nas_tf.devices import Meter
from nas_tf.export import to_keras
from nas_tf.files import digest, read_json, write_json
from nas_tf.networks.description import NetworkDescription
from nas_tf.networks.folder import describe, is_whole
from nas_tf.reports import training as report
from nas_tf.reports.numbers import milliseconds
from nas_tf.search.evaluation import Setup
from nas_tf.shipping._converting import to_tflite_recycled
from nas_tf.training.machine import Machine
from nas_tf.training.network import train_network
from nas_tf.training.recipe import Plan
from nas_tf.training.train import Log
from nas_tf.trial import DivergedTraining, Trial

TEST_ACCURACY = "test.json"  # in a network's folder, once the test images have been read for it
DESCRIPTION = "network.json"  # in the same folder: what it is, once it is trained
_TIMINGS = 3  # of each network, because networks that were timed hours apart are compared
_FRIENDLY = {"activation": "relu6", "squeeze_excite": False}


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What all networks of a chain are trained with, and what times them.

    Attributes:
        setup: the search's `nas_tf.search.evaluation.Setup`.
        plan: the recipe and what of a scale belongs to it.
        machine: what they are trained on.
        dataset: the images at the deployment size, of which `num_samples` are trained on (0: all).
        device: what times files.
        quantization_friendly: whether they are built for int8.
        checkpoint_minutes: minutes between checkpoints.
        say: takes each line of text.
    """

    setup: Setup
    plan: Plan
    machine: Machine
    dataset: Dataset
    num_samples: int
    device: Meter
    quantization_friendly: bool
    checkpoint_minutes: float
    say: typing.Callable

    def scales(self, architecture=None):
        """Returns the scales at which a network ships and is trained, for images of its own size if it has one."""
        scale = self.setup.task.deploy_scale
        fields = {field.name for field in dataclasses.fields(scale)}
        asked = {name: value for name, value in self.friendly.items() if name in fields}
        scales = self.plan.scales(dataclasses.replace(scale, **asked))
        if architecture is None:
            return scales
        return tuple(self.setup.task.space.space.scale_of(architecture, each) for each in scales)

    @property
    def num_validation(self):
        """int: how many validation images there are."""
        return accuracy.num_examples_of(self.dataset.describe())

    @property
    def friendly(self):
        """dict of settings of `Scale` for networks that int8 takes well, empty unless these are asked for."""
        return _FRIENDLY if self.quantization_friendly else {}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network that was trained, or whose training failed. `trial` is None for a published network."""

    name: str
    folder: pathlib.Path
    description: NetworkDescription
    trial: Trial | None = None


def train_trial(workshop, folder, trial):
    """Trains the network of a trial in `folder`, unless that was done before, and returns its `Candidate`."""
    task = workshop.setup.task
    space, architecture = task.space.space, task.space.space.decode(trial.tokens)
    scale, train_scale = workshop.scales(architecture)
    if scale.image_size != task.deploy_scale.image_size:
        workshop = dataclasses.replace(workshop, dataset=task.images.make(scale.image_size, workshop.num_samples))
    start = workshop.setup.start(architecture, train_scale, workshop.dataset)
    description = describe(task.space, architecture, scale, workshop.dataset)
    description = train(
        workshop,
        folder,
        lambda scale: space.build(architecture, scale),
        (scale, train_scale),
        dataclasses.replace(description, trial=trial.id),
        start,
    )
    return Candidate(f"trial {trial.id}", folder, description, trial)


def train(workshop, folder, build, scales, description, start=None, teacher=None, seed=None, name=None, timed=True):
    """Trains a network and times it, unless that was done before.

    Args:
        workshop: the `Workshop`.
        folder: keeps checkpoint, curves, `model.keras` and the description.
        build: `build(scale)` returns the `keras.Model` at a scale.
        scales: the scales at which it ships and is trained.
        description: its `NetworkDescription` before it is trained.
        start: `start(model)` puts weights into it first (`nas_tf.training.network.train_network`); or None.
        teacher: `keras.Model` that it learns from too, or None.
        seed: decides initial weights and the order of images; None: the search's.
        name: what it is called while it is trained; None: the folder's name.
        timed: False for a network that is timed later, beside others.

    Returns:
        The `NetworkDescription`, with a `failure` if the training diverged.
    """
    found = read_json(folder / DESCRIPTION)
    if found is not None:
        known = NetworkDescription.from_json(found, str(folder / DESCRIPTION))
        if is_whole(folder, known):
            return known
        workshop.say(f"{folder / 'model.keras'} is damaged: {folder.name} is trained anew")
        (folder / TEST_ACCURACY).unlink(missing_ok=True)
    setup, (scale, train_scale) = workshop.setup, scales
    asked = {name: workshop.dataset.describe().get(name) for name in ("num_examples", "digest")}
    log = Log(folder / "checkpoint.npz", workshop.checkpoint_minutes, asked)
    try:
        model, training = train_network(
            build,
            scale,
            workshop.dataset,
            workshop.plan.recipe,
            setup.task.seed if seed is None else seed,
            train_scale,
            machine=workshop.machine,
            log=log,
            start=start,
            progress=f"training {name or folder.name}",
            teacher=teacher,
        )
    except DivergedTraining as error:
        workshop.say(f"{name or folder.name} is left out: {error}")
        return _save(folder, dataclasses.replace(description, failure=str(error)))
    latency = time_network(workshop.device, model) if timed else None
    judged = None
    if timed and setup.number_type != "float32" and description.trial is not None:
        judged = time_network(workshop.device, model, setup.number_type, setup.calibration(model.input_shape[1]))
    description = dataclasses.replace(
        training.described(description),
        num_params=complexity.num_params(model),
        mult_adds=complexity.mult_adds(model),
        latency=latency,
        latency_judged=judged,
        data=setup.task.images.to_json(workshop.num_samples),
    )
    report.write_csv(folder / "training.csv", training.history, description.dataset)
    report.draw(folder / "training.png", training.history, description.text, description.dataset)
    to_keras(model, folder / "model.keras")
    description = dataclasses.replace(description, files={"model.keras": digest(folder / "model.keras")})
    _save(folder, description)
    log.path.unlink(missing_ok=True)
    reached = accuracy.text(description.accuracy.validation, workshop.num_validation)
    timing = f", {milliseconds(latency.latency_ms)}" if latency else ""
    workshop.say(f"{name or folder.name}: {reached} of the validation images right{timing}")
    return description


def time_network(device, model, number_type="float32", calibration=None):
    """Returns the `nas_tf.trial.Latency` of a network as a file of that type: the middle one of three timings."""
    with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
        path = os.path.join(folder, "network.tflite")
        to_tflite_recycled(model, path, 1, number_type, calibration)
        timings = [device.measure(path) for _ in range(_TIMINGS)]
        return sorted(timings, key=lambda timing: timing.latency_ms)[_TIMINGS // 2]


def _save(folder, description):
    write_json(folder / DESCRIPTION, description.to_json())
    return description
