"""The train command of a family: its flags, and the training that they ask for. What differs stands in `Trainer`."""

import dataclasses
import json
import pathlib
import typing

from nas_tf import finish, flags, training_report, weights
from nas_tf.distribution import Machine
from nas_tf.files import check_writable
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.training import Log, evaluate
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    """The knobs of every training; a family adds its space, its scale and its recipes."""

    architecture: str = knob("", "Network to train.")
    dataset: str = knob("digits", "Images.", folder="nas_tf.datasets")
    data_dir: str = knob("", "Folder or zip of the images, where the data set needs one.")
    out_dir: str = knob("", "Folder to write; the same command goes on where it stopped.")
    image_size: int = knob(224, "Height and width of the images in pixels.")
    num_samples: int = knob(0, "Training images, drawn by class; 0: all.")
    epochs: int | None = knob(None, "Epochs; default: the recipe's.")
    batch_size: int | None = knob(None, "Images in a step, over all devices; default: the recipe's.")
    learning_rate: float | None = knob(None, "Peak of the schedule; default: the recipe's.")
    weight_decay: float | None = knob(None, "Weight decay; default: the recipe's.")
    label_smoothing: float | None = knob(None, "Probability that labels give away evenly; default: the recipe's.")
    bn_momentum: float | None = knob(
        None, "Momentum of batch normalisation; default: the recipe's. 0.99 suits thousands of steps."
    )
    dropout_rate: float | None = knob(None, "Dropout in front of the classifier; default: the recipe's.")
    initial_weights: str = knob(
        "", "Weights to begin with: a trained network's folder, a .keras or .weights.h5 file, or published ones of the "
        "family (README.md); a head with other classes is trained anew."
    )  # fmt: skip
    evaluate_only: bool = knob(False, "Only print the accuracy of --initial_weights on the validation and test images.")
    checkpoint_minutes: float = knob(10.0, "Minutes between checkpoints; there is one after every epoch, too.")
    seed: int = knob(0, "Decides splits, initial weights and the order of images.")

    def __post_init__(self):
        if self.evaluate_only:
            if not self.initial_weights:
                raise UserError("--evaluate_only needs --initial_weights, what to evaluate. Received: none")
        elif not self.out_dir:
            raise UserError("Expected --out_dir, the folder to write. Received: none")
        if not self.checkpoint_minutes > 0:
            raise UserError(f"Expected --checkpoint_minutes > 0. Received: {self.checkpoint_minutes}")


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What one family's training is made of.

    `settings` extends `Settings`; `read_architecture(text, space)` gives what `--architecture` names;
    `scales(settings, Scale, num_classes, plan, recipe)` the scale that ships and the one to train at;
    `plans` are the family's recipes by name. `reader` and `scale_for` are for weights of other programs: the first
    reads a file of them (`nas_tf.weights.load`), the second, `scale_for(path, scale)`, gives the scale they need.
    """

    settings: type
    space_folder: str
    read_architecture: typing.Callable
    scales: typing.Callable
    plans: dict
    reader: typing.Callable
    scale_for: typing.Callable


def train(trainer, settings, machine=None, parts=None):
    """Trains as `settings` say, and gives the description that it wrote to `architecture.json`; with `evaluate_only`
    gives the accuracies alone.

    Raises:
        nas_tf.trial.UserError: something that the caller has to mend.
    """
    machine = machine or Machine()
    machine.start()
    parts = parts or {}
    space_part = Part(trainer.space_folder, settings.search_space, parts.get(settings.search_space, {}))
    dataset_part = Part("nas_tf.datasets", settings.dataset, parts.get(settings.dataset, {}))
    import_keras()

    def make_dataset(image_size):
        return dataset_part.module.make(
            dataset_part.config, data_dir=settings.data_dir or None, image_size=image_size,
            num_samples=settings.num_samples, seed=settings.seed,
        )  # fmt: skip

    if settings.evaluate_only and _holds_a_network(settings.initial_weights):
        return _evaluate(*_read_network(settings.initial_weights, settings.image_size, make_dataset))
    space, plan = space_part.space, trainer.plans[settings.recipe]
    architecture = trainer.read_architecture(settings.architecture, space)
    recipe = plan.recipe.with_settings(
        settings, "epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing"
    )
    dataset = make_dataset(settings.image_size)
    scale, train_scale = (
        _scale_for(trainer, settings.initial_weights, each)
        for each in trainer.scales(settings, space_part.module.Scale, dataset.num_classes, plan, recipe)
    )

    def build(scale):
        return space.build(architecture, scale)

    def start(model, head="any"):
        return weights.load(model, settings.initial_weights, reader=trainer.reader, head=head)

    if settings.evaluate_only:
        model = build(scale)
        start(model, head="same")
        return _evaluate(model, dataset)
    folder = pathlib.Path(settings.out_dir)
    _check_free(folder, settings)
    check_writable(folder)
    asked = json.loads(json.dumps({
        **{name: value for name, value in dataclasses.asdict(settings).items() if name not in _MAY_CHANGE},
        **dataclasses.asdict(machine), "architecture": architecture.fingerprint, "parts": parts,
        "num_examples": dataset.describe()["num_examples"],
    }))  # fmt: skip
    log = Log(folder / "checkpoint.npz", settings.checkpoint_minutes, asked, machine.is_chief)
    model, outcome = finish.train_network(
        build, scale, dataset, recipe, settings.seed, train_scale, machine=machine, log=log,
        start=start if settings.initial_weights else None,
    )  # fmt: skip
    description = {
        **finish.describe(space_part, architecture, scale, dataset), **outcome,
        "data": {"part": dataset_part.to_json(), "data_dir": settings.data_dir, "num_samples": settings.num_samples,
                 "seed": settings.seed},
    }  # fmt: skip
    if machine.is_chief:
        training_report.write_csv(folder / "training.csv", outcome["history"])
        training_report.draw(folder / "training.png", outcome["history"], str(architecture))
        description = finish.write_network(folder, model, description, space)
        log.path.unlink(missing_ok=True)
    return description


def _holds_a_network(path):
    return pathlib.Path(path).is_dir() or path.endswith(".keras")


def _read_network(path, image_size, make_dataset):
    """`(keras.Model, Dataset)`: the network in a trained network's folder or a `.keras` file, and images of its size,
    or of `image_size` where it takes any.

    Raises:
        UserError: the network is missing or damaged, or its head has other classes than the images.
    """
    if pathlib.Path(path).is_dir():
        model, description = finish.read_network(path)
    else:
        model, description = finish.read_keras(path), {}
    dataset = make_dataset(model.inputs[0].shape[1] or image_size)
    num_classes, known = model.outputs[0].shape[-1], description.get("class_names")
    if num_classes != dataset.num_classes:
        raise UserError(f"Expected images of {num_classes} classes, as {path} has. Received: {dataset.num_classes}")
    for one, other in zip(known or (), dataset.class_names):
        if one != other:
            raise UserError(f"Expected images of class {one!r}, as {path} has. Received: {other!r} in its place")
    return model, dataset


def _evaluate(model, dataset):
    return {name: evaluate(model, getattr(dataset, name)()) for name in ("validation", "test")}


def _scale_for(trainer, path, scale):
    """The scale, as the network of these initial weights was built in what no flag says."""
    built = pathlib.Path(path) / "architecture.json"
    if not path or not built.is_file():
        return trainer.scale_for(path, scale)
    theirs = finish.read_description(built, "initial_weights").get("scale", {})
    kept = ("padding", "input_normalization", "bn_epsilon")
    return dataclasses.replace(
        scale, **{name: theirs[name] for name in kept if name in theirs and hasattr(scale, name)}
    )


_MAY_CHANGE = ("out_dir", "checkpoint_minutes", "data_dir", "evaluate_only")


def _check_free(folder, settings):
    if (folder / "architecture.json").exists():
        raise UserError(f"--out_dir={settings.out_dir} holds a network already. Choose another, or remove it")


def scale_settings(settings, plan):
    """dict of a plan's settings of `Scale`, with what flags say otherwise."""
    asked = {name: getattr(settings, name) for name in ("bn_momentum", "dropout_rate")}
    return {**plan.scale, **{name: value for name, value in asked.items() if value is not None}}


def cli(trainer, usage):
    """Defines the flags of a family's training, parses the command line and runs it."""
    folders = (trainer.space_folder, "nas_tf.datasets")

    def main():
        settings, machine = flags.read(trainer.settings), flags.read(Machine)
        names = (settings.search_space, settings.dataset)
        parts = {name: flags.read_part(folder, name).settings for folder, name in zip(folders, names)}
        result = train(trainer, settings, machine, parts)
        accuracy = result if settings.evaluate_only else result["accuracy"]
        what = settings.initial_weights if settings.evaluate_only else settings.out_dir
        print(f"{what}: validation accuracy {accuracy['validation']:.4f}, test accuracy {accuracy['test']:.4f}")

    flags.define(trainer.settings)
    flags.define(Machine)
    for folder in folders:
        flags.define_parts(folder)
    flags.run(main, usage)
