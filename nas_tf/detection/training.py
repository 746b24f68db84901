"""One detector from settings to its folder: what nas-detect train does."""

import dataclasses
import pathlib

from nas_tf import complexity
from nas_tf.detection import backbone as backbones
from nas_tf.detection.data import read_data
from nas_tf.detection.evaluate import evaluate
from nas_tf.detection.folder import DetectorDescription, has_detector, read_detector, write_detector
from nas_tf.detection.nms import Suppression
from nas_tf.detection.recipes import RECIPES
from nas_tf.detection.train import train
from nas_tf.files import alone, check_writable
from nas_tf.networks.folder import has_description
from nas_tf.quiet import count, fresh_keras, import_keras
from nas_tf.reports.detection import precision_lines, write_history
from nas_tf.training import read_count
from nas_tf.training.checkpoint import read_place
from nas_tf.training.train import Log
from nas_tf.trial import UserError

# Settings that decide no weights: where things lie, and what only other commands read.
_MAY_CHANGE = (
    "data_dir",
    "out_dir",
    "checkpoint_minutes",
    "device",
    "number_types",
    "licence",
    "draw_score",
    "parent",
    "initial_weights",
    "architecture",
    "search_space",
)


def train_detector(settings, suppression=None, say=print, backbone=None):
    """Trains a detector and writes its folder; the same call goes on where it stopped.

    Args:
        settings: the `nas_tf.detection.settings.DetectSettings`.
        suppression: the `nas_tf.detection.nms.Suppression` by which it is judged; None: the default.
        say: takes each line of text.
        backbone: the `nas_tf.detection.backbone.Backbone`; None: the one that the settings ask for.

    Returns:
        The `nas_tf.detection.folder.DetectorDescription` of the detector.

    Raises:
        UserError: the caller has to change something.
        InfeasibleArchitecture: training diverged, or does not fit into memory.
    """
    folder, suppression = _free_folder(settings), suppression or Suppression()
    plan = RECIPES[settings.recipe]
    recipe = plan.recipe.with_settings(settings, "epochs", "batch_size", "learning_rate", "weight_decay")
    data = read_data(settings.data_dir, settings.seed)
    say(data.summary())
    scale = {**plan.scale, **({"bn_momentum": settings.bn_momentum} if settings.bn_momentum is not None else {})}
    import_keras()
    backbone = backbone or backbones.choose(
        settings.architecture,
        settings.parent or "",
        settings.initial_weights,
        settings.image_size,
        settings.scale,
        settings.search_space,
        scale,
    )
    with alone(folder, "nas-detect"):
        asked = {
            **{name: value for name, value in dataclasses.asdict(settings).items() if name not in _MAY_CHANGE},
            "suppression": dataclasses.asdict(suppression),
            "network": backbone.architecture.fingerprint,
            "network scale": dataclasses.asdict(backbone.scale),
            "weights": backbone.digest,
            "data": data.describe()["digest"],
        }
        return _trained(settings, suppression, say, folder, recipe, data, backbone, asked)


def _free_folder(settings):
    if not settings.out_dir:
        raise UserError("Expected --out_dir, the folder of the detector. Received: none")
    folder = pathlib.Path(settings.out_dir)
    for holds, what in ((has_detector, "detector"), (has_description, "network")):
        if holds(folder):
            raise UserError(f"--out_dir={settings.out_dir} holds a {what} already. Choose another, or remove it")
    check_writable(folder)
    return folder


def _trained(settings, suppression, say, folder, recipe, data, backbone, asked):
    fresh_keras(settings.seed)
    detector = backbone.detector(len(data.class_names))
    log = Log(folder / "checkpoint.npz", settings.checkpoint_minutes, asked)
    begun = read_place(log.path)
    weights = begun["asked"].get("weights in words", "") if begun else ""
    if backbone.start and not begun:
        values, weights = backbone.start(data)
        backbones.put(detector, values)
    log = dataclasses.replace(log, asked={**asked, "weights in words": weights})
    history = train(
        detector,
        data,
        recipe,
        loss=settings.loss,
        suppression=suppression,
        seed=settings.seed,
        log=log,
        progress="training the detector",
    )
    say(f"trained for {count(recipe.epochs, 'epoch')}{f', from {weights}' if weights else ''}")
    precision = {"validation": evaluate(detector, data, "validation", suppression)}
    if data.splits["test"]:
        read_count.note(folder, "the trained detector")
        precision["test"] = evaluate(detector, data, "test", suppression)
    description = DetectorDescription(
        text=str(backbone.architecture),
        space=backbone.space.to_json(),
        architecture=backbone.architecture.to_json(),
        fingerprint=backbone.architecture.fingerprint,
        scale=dataclasses.asdict(backbone.scale),
        image_size=settings.image_size,
        class_names=data.class_names,
        weights=weights or "random",
        recipe=dataclasses.asdict(recipe),
        loss=settings.loss,
        suppression=dataclasses.asdict(suppression),
        data=data.describe(),
        seed=settings.seed,
        num_params=complexity.num_params(detector),
        mult_adds=complexity.mult_adds(detector),
        precision=precision,
        history=tuple(history),
    )
    write_history(folder / "training.csv", history)
    description = write_detector(folder, detector, description)
    log.path.unlink(missing_ok=True)
    for line in precision_lines(precision, data.class_names):
        say(line)
    say(f"{description.num_params / 1e6:.2f} M parameters, {description.mult_adds / 1e6:,.0f} M multiply-adds")
    say(read_count.said(folder))
    return description


def evaluate_detector(folder, data_dir, seed, suppression=None, say=print):
    """Returns a dict from split to the `nas_tf.detection.evaluate.MeanPrecision` of a detector.

    Args:
        folder: of the detector.
        data_dir, seed: as of `nas_tf.detection.data.read_data`.
        suppression: the `Suppression`; None: the detector's own.
        say: takes each line of text.

    Raises:
        UserError: the folder or the data are damaged, or the data have other classes.
    """
    detector, description = read_detector(folder)
    suppression = suppression or Suppression(**description.suppression)
    data = read_data(data_dir, seed)
    check_classes(data, description, folder)
    say(data.summary())
    found = {name: evaluate(detector, data, name, suppression) for name in ("validation", "test") if data.splits[name]}
    if "test" in found:
        read_count.note(folder, "the trained detector")
    for line in precision_lines(found, data.class_names):
        say(line)
    say(read_count.said(folder))
    return found


def check_classes(data, description, folder):
    """Raises `UserError` unless annotated images have the classes of a detector, in their order."""
    if data.class_names != description.class_names:
        raise UserError(
            f"Expected objects of the classes that {folder} learned: {', '.join(description.class_names[:5])}. "
            f"Received: {', '.join(data.class_names[:5])}"
        )
