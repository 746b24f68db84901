"""Trains one network of the MnasNet family and writes its folder: architecture.json, model.keras, TFLite, SavedModel.

mnas-train --architecture=runs/first/best/architecture.json --dataset=image_folder --data_dir=flowers/ --out_dir=net
mnas-train --architecture=mnasnet_a1 --image_size=96 --epochs=20 --out_dir=a1
"""

import dataclasses

from nas_tf import finish, flags
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.recipe import Recipe
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    architecture: str = knob(
        "mnasnet_a1", "An architecture.json; block strings, separated by blanks or commas; or a published name."
    )
    search_space: str = knob("mnasnet", "Search space whose builder makes the network.", folder="mnas_tf.spaces")
    dataset: str = knob("digits", "Images.", folder="nas_tf.datasets")
    data_dir: str = knob("", "Folder or zip of the images, where the data set needs one.")
    out_dir: str = knob("", "Folder to write.")
    image_size: int = knob(224, "Height and width of the images in pixels.")
    width_multiplier: float = knob(1.0, "Factor on the filters.")
    num_samples: int = knob(0, "Training images, drawn by class; 0: all.")
    epochs: int = knob(10, "Epochs.")
    batch_size: int = knob(32, "Images in a step.")
    learning_rate: float = knob(0.02, "Peak of the cosine schedule.")
    weight_decay: float = knob(1e-4, "Weight decay of the kernels.")
    label_smoothing: float = knob(0.0, "Probability that labels give away evenly.")
    bn_momentum: float = knob(0.9, "Momentum of batch normalisation; 0.99 suits thousands of steps.")
    seed: int = knob(0, "Decides splits, initial weights and the order of images.")


def read_architecture(text, space):
    """The architecture that a file, block strings or a published name give.

    Raises:
        UserError: it is none of these.
    """
    from mnas_tf import published
    from mnas_tf.spaces.mnasnet import MnasNet

    if text.endswith(".json"):
        value = finish.read_description(text)
        return space.architecture(value.get("architecture", value) if isinstance(value, dict) else value)
    if text in published.ARCHITECTURES:
        return published.ARCHITECTURES[text]
    if "_" not in text or not text.startswith("r"):
        raise UserError(
            "Expected --architecture to be an architecture.json, block strings such as r1_k3_s11_e1_i32_o16_noskip, "
            f"or one of {', '.join(published.ARCHITECTURES)}. Received: {text!r}"
        )
    return MnasNet.parse(text)


def train(settings, parts=None):
    """Trains as `settings` say and gives the description that it wrote to `architecture.json`."""
    parts = parts or {}
    space = Part("mnas_tf.spaces", settings.search_space, parts.get(settings.search_space, {}))
    dataset = Part("nas_tf.datasets", settings.dataset, parts.get(settings.dataset, {}))
    architecture = read_architecture(settings.architecture, space.space)
    names = ("epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing")
    recipe = Recipe(**{name: getattr(settings, name) for name in names})

    def scales(num_classes):
        scale = space.module.Scale(
            settings.image_size, num_classes, settings.width_multiplier, bn_momentum=settings.bn_momentum
        )
        return scale, scale

    return finish.train_and_write(settings, space, dataset, architecture, recipe, scales)


def main():
    settings = flags.read(Settings)
    parts = {settings.dataset: flags.read_part("nas_tf.datasets", settings.dataset).settings,
             settings.search_space: flags.read_part("mnas_tf.spaces", settings.search_space).settings}  # fmt: skip
    accuracy = train(settings, parts)["accuracy"]
    print(f"{settings.out_dir}: validation accuracy {accuracy['validation']:.4f}, test accuracy {accuracy['test']:.4f}")


def cli():
    flags.define(Settings)
    for folder in ("mnas_tf.spaces", "nas_tf.datasets"):
        flags.define_parts(folder)
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
