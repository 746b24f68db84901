"""Trains one network of searched or published cells and writes its folder: architecture.json, model.keras, TFLite,
SavedModel and pictures of the cells.

nasnet-train --architecture=runs/cells/best/architecture.json --dataset=image_folder --data_dir=flowers/ --out_dir=net
nasnet-train --architecture=nasnet_a --recipe=cifar --stem=cifar --cells=6 --filters=32 --image_size=32 --out_dir=a
"""

import dataclasses
import typing

from nas_tf import finish, flags
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.trial import UserError
from nasnet_tf.recipes import PLANS

PART_FOLDERS = ("nasnet_tf.spaces", "nas_tf.datasets")


@dataclasses.dataclass(frozen=True)
class Settings:
    architecture: str = knob("nasnet_a", "An architecture.json with two cells, or the published nasnet_a.")
    search_space: str = knob("nasnet", "Search space whose builder makes the network.", folder="nasnet_tf.spaces")
    dataset: str = knob("digits", "Images.", folder="nas_tf.datasets")
    data_dir: str = knob("", "Folder or zip of the images, where the data set needs one.")
    out_dir: str = knob("", "Folder to write.")
    image_size: int = knob(224, "Height and width of the images in pixels.")
    cells: int = knob(4, "Normal cells a stage (N).")
    filters: int = knob(44, "Filters in the first stage (F); the papers' N @ P has P = 24 F.")
    stem: typing.Literal["cifar", "imagenet"] = knob("imagenet", "One convolution, or one and two Reduction cells.")
    num_samples: int = knob(0, "Training images, drawn by class; 0: all.")
    recipe: typing.Literal["quick", "cifar", "imagenet"] = knob(
        "quick",
        "quick: SGD, one cosine; cifar: the paper's, with cutout, auxiliary loss 0.4, ScheduledDropPath, gradient "
        "clipping; imagenet: the paper's, with RMSProp, label smoothing, auxiliary loss, averaged weights.",
    )
    epochs: int | None = knob(None, "Epochs; default: the recipe's (10, 600, 312).")
    batch_size: int | None = knob(None, "Images in a step; default: 32.")
    learning_rate: float | None = knob(None, "Peak of the schedule; default: the recipe's.")
    drop_path_keep: float | None = knob(
        None, "Probability to keep a path at the end of training in the deepest cell; default: the recipe's."
    )
    drop_path: typing.Literal["v1", "v2", "v3", "constant"] = knob(
        "v3", "Drop path's schedule: over training (v1), with depth (v2), both (v3: NASNet's last), or constant."
    )
    seed: int = knob(0, "Decides splits, initial weights and the order of images.")


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


def train(settings, parts=None):
    """Trains as `settings` say and gives the description that it wrote to `architecture.json`."""
    parts = parts or {}
    space, dataset = (
        Part(folder, name, parts.get(name, {}))
        for folder, name in zip(PART_FOLDERS, (settings.search_space, settings.dataset))
    )
    architecture, plan = read_architecture(settings.architecture, space.space), PLANS[settings.recipe]
    asked = {name: getattr(settings, name) for name in ("epochs", "batch_size", "learning_rate")}
    recipe = dataclasses.replace(plan.recipe, **{name: value for name, value in asked.items() if value is not None})
    keep = plan.drop_path_keep if settings.drop_path_keep is None else settings.drop_path_keep

    def scales(num_classes):
        scale = space.module.Scale(
            settings.image_size, num_classes, settings.cells, settings.filters, settings.stem,
            dropout_rate=plan.dropout_rate, bn_momentum=plan.bn_momentum, bn_epsilon=plan.bn_epsilon,
        )  # fmt: skip
        auxiliary = recipe.auxiliary_weight > 0
        return scale, dataclasses.replace(
            scale, auxiliary_head=auxiliary, drop_path_keep=keep, drop_path=settings.drop_path
        )

    return finish.train_and_write(settings, space, dataset, architecture, recipe, scales)


def main():
    settings = flags.read(Settings)
    names = (settings.search_space, settings.dataset)
    parts = {name: flags.read_part(folder, name).settings for folder, name in zip(PART_FOLDERS, names)}
    accuracy = train(settings, parts)["accuracy"]
    print(f"{settings.out_dir}: validation accuracy {accuracy['validation']:.4f}, test accuracy {accuracy['test']:.4f}")


def cli():
    flags.define(Settings)
    for folder in PART_FOLDERS:
        flags.define_parts(folder)
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
