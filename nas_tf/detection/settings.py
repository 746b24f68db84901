"""The settings of nas-detect."""

import dataclasses

from nas_tf.detection.loss import LOSSES
from nas_tf.detection.recipes import RECIPES
from nas_tf.reports.model_card import LICENCE
from nas_tf.settings import DEVICE, FILES, IMAGES, NETWORK, RUN, TRAINING, Settings, knob
from nas_tf.trial import UserError

_ABOUT = "; ".join(f"{name}: {plan.about}" for name, plan in RECIPES.items())
DETECTOR_TYPES = ("float32", "float16", "int8")


@dataclasses.dataclass(frozen=True)
class ShipTask(Settings):
    """What nas-ship makes of a search's best networks."""

    task: str = knob(
        "classification",
        "detection: SSDLite detectors, trained on --detection_data_dir and chosen by their mean average precision.",
        choices=("classification", "detection"),
        group=RUN,
    )
    detection_data_dir: str = knob(
        "",
        "With --task=detection: folder or zip of images with COCO's .json or Pascal VOC's .xml annotations.",
        path=True,
        group=IMAGES,
    )
    detection_recipe: str = knob("short", f"With --task=detection: {_ABOUT}.", choices=tuple(RECIPES), group=TRAINING)

    def __post_init__(self):
        super().__post_init__()
        if self.task == "detection" and not self.detection_data_dir:
            raise UserError("--task=detection needs --detection_data_dir, annotated images. Received: none")


@dataclasses.dataclass(frozen=True)
class DetectSettings(Settings):
    """The settings of training, judging, exporting and using a detector."""

    data_dir: str = knob(
        "", "Folder or zip of images with COCO's .json or Pascal VOC's .xml annotations.", path=True, group=IMAGES
    )
    image_size: int = knob(320, "Height and width of the images in pixels.", least=32, most=4096, group=IMAGES)
    architecture: str = knob(
        "",
        "Network to build on: the folder of a trained network, an architecture.json, block strings or a published "
        "name; default: the --parent's.",
        path=True,
        group=NETWORK,
    )
    parent: str | None = knob(
        None,
        "Trained network whose weights it begins with, of whatever architecture: a published name, a file of weights "
        "or the folder of a network.",
        path=True,
        group=NETWORK,
    )
    initial_weights: str = knob(
        "",
        "Weights of the very architecture to begin with: a trained network's folder, a .keras or .weights.h5 file, or "
        "published ones of the family.",
        path=True,
        group=NETWORK,
    )
    scale: tuple[str, ...] = knob(
        (), "How large the network is built, as in width_multiplier=0.5, or cells=6,filters=168.", group=NETWORK
    )
    search_space: str = knob(
        "", "Search space of the network, where that is a file of your own or not its family's first.", path=True,
        group=NETWORK,
    )  # fmt: skip
    device: str = knob(
        "host", "Where export times the files; none: nowhere.", folder="nas_tf.devices", also=("none",), group=DEVICE
    )
    out_dir: str = knob(
        "", "Folder to write: of the detector, of export's files, of the pictures that predict draws.", path=True,
        group=RUN,
    )  # fmt: skip
    checkpoint_minutes: float = knob(
        10.0, "Minutes between checkpoints; there is one after every epoch, too.", above=0, group=RUN
    )
    seed: int = knob(
        0, "Decides splits that the data do not name, initial weights and the order of images.", least=0, group=RUN
    )
    recipe: str = knob("short", f"{_ABOUT}.", choices=tuple(RECIPES), group=TRAINING)
    epochs: int | None = knob(None, "Epochs; default: the recipe's.", least=1, group=TRAINING)
    batch_size: int | None = knob(None, "Images in a step; default: the recipe's.", least=1, group=TRAINING)
    learning_rate: float | None = knob(None, "Peak of the schedule; default: the recipe's.", above=0, group=TRAINING)
    weight_decay: float | None = knob(None, "Weight decay; default: the recipe's.", least=0, group=TRAINING)
    bn_momentum: float | None = knob(
        None, "Momentum of batch normalisation; default: the recipe's.", least=0, below=1, group=TRAINING
    )
    loss: str = knob(
        LOSSES[0],
        "hard_negatives: three anchors of background for each with an object; focal: all anchors, easy ones little.",
        choices=LOSSES,
        group=TRAINING,
    )
    number_types: tuple[str, ...] = knob(
        ("float32", "int8"),
        "Types of the TFLite files; int8 is calibrated on training images of --data_dir.",
        choices=DETECTOR_TYPES,
        required="at least one type",
        group=FILES,
    )
    licence: str = knob(LICENCE, "Licence, in the files' metadata.", group=FILES)
    draw_score: float = knob(0.3, "Score from which predict prints and draws an object.", least=0, most=1, group=FILES)

    def __post_init__(self):
        super().__post_init__()
        if self.parent and self.initial_weights:
            raise UserError(
                "Expected --parent or --initial_weights, not both. Received: "
                f"--parent={self.parent} --initial_weights={self.initial_weights}"
            )
