"""The settings of nas-ship."""

import dataclasses

from nas_tf.export import NUMBER_TYPES
from nas_tf.reports.model_card import LICENCE
from nas_tf.settings import DEVICE, FILES, IMAGES, NETWORK, PLACES, RUN, TRAINING, Settings, knob

BASELINES = ("mnasnet_a1", "mobilenet_v2")


@dataclasses.dataclass(frozen=True)
class ShipSettings(Settings):
    """The settings of a chain. All others are the run's own."""

    top_k: int = knob(5, "Best trials to train in full.", least=1, group=RUN)
    recipe: str = knob(
        "",
        "Recipe of the run's family, as in its train command; default: finetune if there is a parent, else cosine.",
        group=TRAINING,
    )
    parent: str | None = knob(
        None,
        "Trained network whose weights the search's networks begin with, where the run has none: a published name, a "
        "file of weights or the folder of a network.",
        path=True,
        group=TRAINING,
    )
    epochs: int | None = knob(None, "Epochs; default: the recipe's.", least=1, group=TRAINING)
    batch_size: int | None = knob(None, "Images in a step; default: the recipe's.", least=1, group=TRAINING)
    learning_rate: float | None = knob(None, "Peak of the schedule; default: the recipe's.", above=0, group=TRAINING)
    frozen_fraction: float | None = knob(
        None,
        "Share of the multiply-adds whose early layers stay frozen and are computed once; default: the recipe's.",
        least=0,
        below=1,
        group=TRAINING,
    )
    num_samples: int = knob(0, "Training images, drawn by class; 0: all.", least=0, group=TRAINING)
    search_space: str = knob(
        "",
        "The run's search space, if that is a file of your own: only a file named here is run.",
        path=True,
        group=NETWORK,
    )
    dataset: str = knob(
        "",
        "The run's data set, if that is a file of your own or a TFDS name with a namespace: only what is named here is "
        "run.",
        path=True,
        group=IMAGES,
    )
    data_dir: str = knob("", "Where the run's images are now; empty: where they were.", path=True, group=IMAGES)
    allow_test_in_train: bool = knob(
        False, "Go on although test images are among the training images too.", group=IMAGES
    )
    device: str = knob(
        "",
        "Device that times the files, with its own flags; empty: the run's as it was, or this machine if that times "
        "none.",
        folder="nas_tf.devices",
        group=DEVICE,
    )
    number_types: tuple[str, ...] = knob(
        NUMBER_TYPES, "Types of the TFLite files.", choices=NUMBER_TYPES, required="at least one type", group=FILES
    )
    baselines: tuple[str, ...] = knob(
        BASELINES,
        "Published networks trained the same way from random weights, at the width of equal latency. Where imports are "
        "raced, these two are left out.",
        group=RUN,
    )
    imports: tuple[str, ...] = knob(
        ("all",),
        "Published networks with weights to fine-tune and race against the search's; all, or none.",
        group=RUN,
    )
    num_imports: int = knob(
        3, "How many of them are raced, the best with a classifier in closed form.", least=1, group=RUN
    )
    tries: int = knob(
        3,
        "How often every network of a race is trained: 1, at the better of two learning rates after a few steps; 2, at "
        "both; 3, and once with the parent as teacher.",
        least=1,
        most=3,
        group=RUN,
    )
    race_seeds: int = knob(
        3, "Seeds with which the best of the search and the best import are trained.", least=1, group=RUN
    )
    workers: str = knob(
        "inline",
        "Where the networks of a race are trained: inline, one after the other here; another place, all of a stage at "
        "once.",
        folder="nas_tf.search.workers",
        group=PLACES,
    )
    num_workers: int = knob(0, "How many at once elsewhere; 0: as many as there is room for.", least=0, group=PLACES)
    weights_dir: str = knob(
        "", "Folder with published weights, used before any are fetched (docs/training.md).", path=True, group=RUN
    )
    quantization_friendly: bool = knob(
        False, "ReLU6 in place of ReLU and no squeeze-and-excitation, which int8 takes better.", group=NETWORK
    )
    licence: str = knob(LICENCE, "Text of the model card's licence section.", group=FILES)
    checkpoint_minutes: float = knob(
        10.0, "Minutes between checkpoints; there is one after every epoch, too.", above=0, group=RUN
    )
    out_dir: str = knob("", "Folder to write; empty: `ship` in the run's folder.", path=True, group=RUN)
