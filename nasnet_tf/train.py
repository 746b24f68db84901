"""Trains one network of searched or published cells and writes its folder: architecture.json, model.keras, TFLite,
SavedModel and pictures of the cells.

nasnet-train --architecture=runs/cells/best/architecture.json --dataset=image_folder --data_dir=flowers/ --out_dir=net
nasnet-train --architecture=nasnet_a --recipe=cifar --stem=cifar --cells=6 --filters=32 --image_size=32 --out_dir=a
nasnet-train --initial_weights=imagenet --dataset=image_folder --data_dir=flowers/ --out_dir=flowers_net

The same command on the same --out_dir goes on where it stopped, and ends as if it had not.
"""

import dataclasses
import typing

from nas_tf import finish, train_command
from nas_tf.flags import knob
from nas_tf.trial import UserError
from nasnet_tf import _keras_weights
from nasnet_tf.recipes import PLANS


@dataclasses.dataclass(frozen=True)
class Settings(train_command.Settings):
    architecture: str = knob("nasnet_a", "An architecture.json with two cells, or the published nasnet_a.")
    search_space: str = knob("nasnet", "Search space whose builder makes the network.", folder="nasnet_tf.spaces")
    cells: int = knob(4, "Normal cells a stage (N).")
    filters: int = knob(44, "Filters in the first stage (F); the papers' N @ P has P = 24 F.")
    stem: typing.Literal["cifar", "imagenet"] = knob("imagenet", "One convolution, or one and two Reduction cells.")
    activation: typing.Literal["relu", "relu6"] = knob("relu", "relu6 loses less when it is quantised to int8.")
    recipe: typing.Literal["quick", "cosine", "adamw", "cifar", "imagenet"] = knob(
        "quick",
        "quick: SGD, one cosine, 10 epochs; cosine: the same with label smoothing, 30; adamw: with RandAugment and "
        "averaged weights, 50; cifar: the paper's, with cutout, auxiliary loss 0.4, ScheduledDropPath, gradient "
        "clipping, 600; imagenet: the paper's, with RMSProp, label smoothing, auxiliary loss, averaged weights, 312.",
    )
    drop_path_keep: float | None = knob(
        None, "Probability to keep a path at the end of training in the deepest cell; default: the recipe's."
    )
    drop_path: typing.Literal["v1", "v2", "v3", "constant"] = knob(
        "v3", "Drop path's schedule: over training (v1), with depth (v2), both (v3: NASNet's last), or constant."
    )


def read_architecture(text, space):
    """The architecture that a file or a published name gives.

    Raises:
        UserError: it is neither.
    """
    from nasnet_tf import published

    if text.endswith(".json"):
        value = finish.read_description(text)
        return space.architecture(value.get("architecture", value) if isinstance(value, dict) else value)
    if text not in published.ARCHITECTURES:
        raise UserError(
            "Expected --architecture to be an architecture.json, or one of "
            f"{', '.join(published.ARCHITECTURES)}. Received: {text!r}"
        )
    return published.ARCHITECTURES[text]


def scales(settings, scale, num_classes, plan, recipe):
    ships = scale(
        settings.image_size, num_classes, settings.cells, settings.filters, settings.stem,
        activation=settings.activation, **train_command.scale_settings(settings, plan),
    )  # fmt: skip
    training = {**plan.train_scale, "drop_path": settings.drop_path, "auxiliary_head": recipe.auxiliary_weight > 0}
    if settings.drop_path_keep is not None:
        training["drop_path_keep"] = settings.drop_path_keep
    return ships, dataclasses.replace(ships, **training)


def scale_for(path, scale):
    """NASNet-A large, 6 cells of 168 filters, has a wider stem and another input to some cells in Keras's weights."""
    if path.endswith(".weights.h5") or not (path == "imagenet" or path.endswith(".h5")):
        return scale
    large = {"stem_filters": 96, "skip_reduction_input": True} if (scale.cells, scale.filters) == (6, 168) else {}
    return dataclasses.replace(scale, bn_epsilon=1e-3, **large)


TRAINER = train_command.Trainer(
    settings=Settings,
    space_folder="nasnet_tf.spaces",
    read_architecture=read_architecture,
    scales=scales,
    plans=PLANS,
    reader=_keras_weights.read,
    scale_for=scale_for,
)


def train(settings, machine=None, parts=None):
    """`nas_tf.train_command.train` of this family."""
    return train_command.train(TRAINER, settings, machine, parts)


def cli():
    train_command.cli(TRAINER, __doc__)


if __name__ == "__main__":
    cli()
