"""The train command of a family: its flags, and the training that they ask for."""

import dataclasses
import os
import pathlib

from nas_tf import datasets, flags, plugins
from nas_tf.accuracy import chance_of, num_examples_of
from nas_tf.datasets import Source
from nas_tf.files import check_writable
from nas_tf.networks import weights
from nas_tf.networks.folder import (
    describe,
    has_description,
    read_description,
    read_keras,
    read_network,
    write_network,
)
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.reports import training as report
from nas_tf.reports.numbers import share
from nas_tf.settings import IMAGES, NETWORK, RUN, TRAINING, Settings, knob
from nas_tf.training import read_count
from nas_tf.training.evaluate import evaluate
from nas_tf.training.machine import Machine
from nas_tf.training.network import train_network
from nas_tf.training.parent import inheriting, read_teacher
from nas_tf.training.train import Log
from nas_tf.training.unlabelled import WithUnlabelled
from nas_tf.trial import UserError

_PARTS_MAY = ("allow_test_in_train", "max_memory_mb")
_MAY_CHANGE = ("out_dir", "checkpoint_minutes", "data_dir", "evaluate_only")
# Fields of `Scale` that no flag sets, because the initial weights decide them.
_OF_THE_WEIGHTS = ("padding", "input_normalization", "bn_epsilon")


@dataclasses.dataclass(frozen=True)
class TrainSettings(Settings):
    """The settings of every training. A family adds its space, its scale and its recipes."""

    architecture: str = knob("", "Network to train.", path=True, group=NETWORK)
    dataset: str = knob(
        "", "Images; default: image_folder with a --data_dir, else digits.", folder="nas_tf.datasets", group=IMAGES
    )
    data_dir: str = knob("", "Folder or zip of the images, where the data set needs one.", path=True, group=IMAGES)
    out_dir: str = knob("", "Folder to write; the same command goes on where it stopped.", path=True, group=RUN)
    image_size: int = knob(224, "Height and width of the images in pixels.", least=1, most=4096, group=IMAGES)
    num_samples: int = knob(0, "Training images, drawn by class; 0: all.", least=0, group=IMAGES)
    epochs: int | None = knob(None, "Epochs; default: the recipe's.", least=1, group=TRAINING)
    batch_size: int | None = knob(
        None, "Images in a step, over all devices; default: the recipe's.", least=1, group=TRAINING
    )
    learning_rate: float | None = knob(None, "Peak of the schedule; default: the recipe's.", above=0, group=TRAINING)
    weight_decay: float | None = knob(None, "Weight decay; default: the recipe's.", least=0, group=TRAINING)
    label_smoothing: float | None = knob(
        None, "Probability that labels give away evenly; default: the recipe's.", least=0, below=1, group=TRAINING
    )
    frozen_fraction: float | None = knob(
        None,
        "Share of the multiply-adds whose early layers stay frozen and are computed once, images being mirrored at "
        "most; default: the recipe's.",
        least=0,
        below=1,
        group=TRAINING,
    )
    bn_momentum: float | None = knob(
        None,
        "Momentum of batch normalisation; default: the recipe's. 0.99 suits thousands of steps.",
        least=0,
        below=1,
        group=TRAINING,
    )
    dropout_rate: float | None = knob(
        None, "Dropout in front of the classifier; default: the recipe's.", least=0, below=1, group=TRAINING
    )
    initial_weights: str = knob(
        "",
        "Weights to begin with: a trained network's folder, a .keras or .weights.h5 file, or published ones of the "
        "family (docs/training.md); a head with other classes is trained anew.",
        path=True,
        group=NETWORK,
    )
    parent: str | None = knob(
        None,
        "Trained network of another architecture to inherit from: a published name, a file of weights or the folder of "
        "a network.",
        path=True,
        group=NETWORK,
    )
    teacher: str | None = knob(
        None,
        "Trained network, a folder or a .keras file, whose answers are learned too; it has the same classes and takes "
        "images in [-1, 1].",
        path=True,
        group=TRAINING,
    )
    unlabelled_dir: str | None = knob(
        None,
        "Folder or zip of more images, which only the --teacher labels.",
        path=True,
        group=IMAGES,
    )
    evaluate_only: bool = knob(
        False, "Only print the accuracy of --initial_weights on the validation and test images.", group=RUN
    )
    checkpoint_minutes: float = knob(
        10.0, "Minutes between checkpoints; there is one after every epoch, too.", above=0, group=RUN
    )
    seed: int = knob(0, "Decides splits, initial weights and the order of images.", least=0, group=RUN)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "dataset", datasets.chosen(self.dataset, self.data_dir))
        if self.recipe is None:
            begins = self.parent or self.initial_weights
            object.__setattr__(self, "recipe", "finetune" if begins else "quick")
        if self.parent and self.initial_weights:
            raise UserError(
                "Expected --parent or --initial_weights, not both: a network begins with the weights of one other. "
                f"Received: --parent={self.parent} --initial_weights={self.initial_weights}"
            )
        if self.evaluate_only:
            if not self.initial_weights:
                raise UserError("--evaluate_only needs --initial_weights, what to evaluate. Received: none")
        elif not self.out_dir:
            raise UserError("Expected --out_dir, the folder to write. Received: none")


def train(family, settings, machine=None, parts=None, say=print):
    """Trains a network and writes its folder, or only evaluates one. The test images are read once, after training.

    Args:
        family: the `nas_tf.family.Family`.
        settings: an instance of its `train_settings`.
        machine: `nas_tf.training.machine.Machine`; None: the default.
        parts: dict from a part's name to its settings.
        say: takes each line of text.

    Returns:
        The `NetworkDescription` of the network; with `evaluate_only`, a dict from split to accuracy.

    Raises:
        nas_tf.trial.UserError: the caller has to change something.
    """
    machine, parts = machine or Machine(), plugins.expand_all(parts)
    machine.start()
    space_part = family.space(settings.search_space, parts.get(settings.search_space))
    dataset_part = Part("nas_tf.datasets", settings.dataset, parts.get(settings.dataset, {}))
    images = Source(dataset_part, settings.data_dir, settings.seed)
    import_keras()
    if settings.evaluate_only and _holds_a_network(settings.initial_weights):
        return _evaluate(*_read_network(settings, images), settings.initial_weights, say)
    if settings.unlabelled_dir and not settings.teacher:
        raise UserError(
            f"--unlabelled_dir needs a --teacher, which labels its images. Received: {settings.unlabelled_dir!r} alone"
        )
    parent = family.parent(settings.parent) if settings.parent else None
    space, plan = space_part.space, family.plans[settings.recipe]
    is_parents = parent and not settings.architecture
    architecture = parent.architecture if is_parents else family.read_architecture(settings.architecture, space)
    recipe = plan.recipe.with_settings(
        settings, "epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing", "frozen_fraction"
    )
    own_size = space.image_size(architecture)
    if own_size and own_size != settings.image_size:
        say(f"the network is made for images of {own_size} px, and not of --image_size={settings.image_size}")
    dataset = images.make(own_size or settings.image_size, settings.num_samples)
    scale, train_scale = (
        parent.scale(each) if parent else _scale_for(family, settings.initial_weights, architecture, each)
        for each in family.train_scales(settings, space_part.module.Scale, dataset.num_classes, plan, recipe)
    )
    scale, train_scale = space.scale_of(architecture, scale), space.scale_of(architecture, train_scale)

    def build(scale):
        return space.build(architecture, scale)

    def load(model, head="any"):
        return weights.load(model, settings.initial_weights, reader=family.read_weights, head=head)

    if settings.evaluate_only:
        model = build(scale)
        load(model, head="same")
        return _evaluate(model, dataset, settings.initial_weights, say)
    parts = {
        name: {key: each for key, each in chosen.items() if key not in _PARTS_MAY} for name, chosen in parts.items()
    }
    start = load if settings.initial_weights else None
    if parent:
        start = inheriting(space, parent, architecture, train_scale, dataset, settings.seed)
    teacher = read_teacher(settings.teacher, dataset) if settings.teacher else None
    asked = _asked(settings, machine, architecture, parts, dataset)
    asked |= {"weights": parent.digest} if parent else {}
    log = _make_log(settings, asked, machine.is_chief)
    say(dataset.summary())
    trained_on = dataset
    if settings.unlabelled_dir:
        trained_on = WithUnlabelled(dataset, settings.unlabelled_dir, settings.image_size)
        say(f"{trained_on.num_unlabelled:,} more images, which the teacher labels, from {settings.unlabelled_dir}")
    model, training = train_network(
        build,
        scale,
        trained_on,
        recipe,
        settings.seed,
        train_scale,
        machine=machine,
        log=log,
        start=start,
        teacher=teacher,
    )
    description = training.described(describe(space_part, architecture, scale, dataset))
    if machine.is_chief:
        read_count.note(log.path.parent, "the trained network")
    description = dataclasses.replace(
        description,
        data=images.to_json(settings.num_samples),
        accuracy=dataclasses.replace(description.accuracy, test=evaluate(model, dataset.test(), recipe.batch_size)),
    )
    if machine.is_chief:
        description = _write(model, description, space, log)
        _say_accuracies(settings.out_dir, dataclasses.asdict(description.accuracy), description.dataset, say)
        say(read_count.said(log.path.parent))
    return description


def _make_log(settings, asked, is_chief):
    """Returns the `Log` of a training in `--out_dir`, which must be writable and free.

    Raises:
        UserError: the folder cannot be written, or holds a network already.
    """
    folder = pathlib.Path(settings.out_dir)
    if has_description(folder):
        raise UserError(f"--out_dir={settings.out_dir} holds a network already. Choose another, or remove it")
    if (folder / "trials.sqlite").exists():
        raise UserError(f"--out_dir={settings.out_dir} is the folder of a search. Choose another for a training")
    check_writable(folder)
    return Log(folder / "checkpoint.npz", settings.checkpoint_minutes, asked, is_chief)


def _write(model, description, space, log):
    """Writes the folder of a trained network and its curves; returns the description that the folder holds."""
    folder = log.path.parent
    report.write_csv(folder / "training.csv", description.history, description.dataset)
    report.draw(folder / "training.png", description.history, description.text, description.dataset)
    description = write_network(folder, model, description, space)
    log.path.unlink(missing_ok=True)
    return description


def _asked(settings, machine, architecture, parts, dataset):
    """Returns a JSON-ready dict of all that decides a training's weights."""
    chosen = {name: value for name, value in dataclasses.asdict(settings).items() if name not in _MAY_CHANGE}
    return {
        **chosen,
        **dataclasses.asdict(machine),
        "architecture": architecture.fingerprint,
        "parts": parts,
        "data": {name: dataset.describe().get(name) for name in ("num_examples", "digest")},
    }


def _holds_a_network(path):
    return pathlib.Path(path).is_dir() or path.endswith(".keras")


def _read_network(settings, images):
    """Returns `(keras.Model, Dataset)` of `--initial_weights`.

    The images have the size that the network takes, or `--image_size` if it takes any.

    Raises:
        UserError: the network is missing or damaged, or its head has other classes than the images.
    """
    path = settings.initial_weights
    if pathlib.Path(path).is_dir():
        model, description = read_network(path)
        known = description.class_names
    else:
        model, known = read_keras(path), ()
    dataset = images.make(model.inputs[0].shape[1] or settings.image_size, settings.num_samples)
    num_classes = model.outputs[0].shape[-1]
    if num_classes != dataset.num_classes:
        raise UserError(f"Expected images of {num_classes} classes, as {path} has. Received: {dataset.num_classes}")
    for one, other in zip(known, dataset.class_names):
        if one != other:
            raise UserError(f"Expected images of class {one!r}, as {path} has. Received: {other!r} in its place")
    return model, dataset


def _evaluate(model, dataset, path, say):
    folder = pathlib.Path(path) if pathlib.Path(path).is_dir() else pathlib.Path(path).parent
    is_counted = has_description(folder) and os.access(folder, os.W_OK)
    if is_counted:
        read_count.note(folder, pathlib.Path(path).name)
    found = {name: evaluate(model, dataset.read(name)) for name in ("validation", "test")}
    _say_accuracies(path, found, dataset.facts(), say)
    if is_counted:
        say(read_count.said(folder))
    return found


def _say_accuracies(what, accuracies, facts, say):
    chance = chance_of(facts)
    words = [
        f"{split} accuracy {share(accuracies[split], num_examples_of(facts, split))} %"
        for split in ("validation", "test")
    ]
    say(f"{what}: {', '.join(words)}")
    if chance and not chance.is_beaten_by(accuracies["validation"]):
        say(f"this is no better than guessing: {chance}")


def _scale_for(family, path, architecture, scale):
    """Returns the scale, with the fields that the initial weights decide as in their network."""
    if not path or not has_description(path):
        return family.scale_for_weights(path, architecture, scale)
    theirs = read_description(path).scale
    kept = {name: theirs[name] for name in _OF_THE_WEIGHTS if name in theirs and hasattr(scale, name)}
    if theirs.get("activation") == "relu6" and hasattr(scale, "activation"):
        kept["activation"] = (
            "relu6"  # the default is "relu"; where relu6 was asked for and is not there, loading says so
        )
    return dataclasses.replace(scale, **kept)


def scale_settings(settings, plan):
    """Returns a dict of a plan's settings of `Scale`, with those that flags set."""
    asked = {name: getattr(settings, name) for name in ("bn_momentum", "dropout_rate")}
    return {**plan.scale, **{name: value for name, value in asked.items() if value is not None}}


def cli(family, usage):
    """Defines the flags of a family's training, parses the command line and runs it."""
    folders = (family.space_folder, "nas_tf.datasets")

    def main():
        settings, machine = flags.read(family.train_settings), flags.read(Machine)
        names = (settings.search_space, settings.dataset)
        parts = {name: flags.read_part(folder, name).settings for folder, name in zip(folders, names)}
        train(family, settings, machine, parts)

    flags.define(family.train_settings)
    flags.define(Machine)
    for folder in folders:
        flags.define_parts(folder)
    flags.run(main, usage)
