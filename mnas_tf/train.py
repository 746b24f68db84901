"""Trains one network of the MnasNet family and writes its folder: architecture.json, model.keras, TFLite, SavedModel.

mnas-train --architecture=runs/first/best/architecture.json --dataset=image_folder --data_dir=flowers/ --out_dir=net
mnas-train --architecture=mnasnet_a1 --image_size=96 --epochs=20 --out_dir=a1
mnas-train --architecture=mnasnet_a1 --dataset=tfds --tfds_name=imagenet2012 --recipe=imagenet --out_dir=a1_imagenet
mnas-train --architecture=mnasnet_b1 --initial_weights=mnasnet_100.safetensors --dataset=image_folder \\
    --data_dir=flowers/ --recipe=cosine --out_dir=flowers_b1

The same command on the same --out_dir goes on where it stopped, and ends as if it had not.
"""

import dataclasses
import typing

from mnas_tf import _pytorch_weights
from mnas_tf.recipes import PLANS
from nas_tf import finish, train_command
from nas_tf.flags import knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Settings(train_command.Settings):
    architecture: str = knob(
        "mnasnet_a1", "An architecture.json; block strings, separated by blanks or commas; or a published name."
    )
    search_space: str = knob("mnasnet", "Search space whose builder makes the network.", folder="mnas_tf.spaces")
    recipe: typing.Literal["quick", "cosine", "adamw", "imagenet"] = knob(
        "quick",
        "quick: SGD, one cosine, 10 epochs; cosine: the same with label smoothing, 30; adamw: with RandAugment and "
        "averaged weights, 50; imagenet: the paper's, with RMSProp, warm-up, averaged weights, 350.",
    )
    width_multiplier: float = knob(1.0, "Factor on the filters.")
    activation: typing.Literal["relu", "relu6"] = knob("relu", "relu6 loses less when it is quantised to int8.")
    squeeze_excite: bool = knob(True, "Keep squeeze-and-excitation, which loses when it is quantised to int8.")


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


def scales(settings, scale, num_classes, plan, recipe):
    chosen = train_command.scale_settings(settings, plan)
    if settings.architecture.startswith("mnasnet_small") and settings.dropout_rate is None:
        chosen["dropout_rate"] = 0.0  # as published
    both = scale(
        settings.image_size, num_classes, settings.width_multiplier, activation=settings.activation,
        squeeze_excite=settings.squeeze_excite, **chosen,
    )  # fmt: skip
    return both, both


def scale_for(path, scale):
    return _pytorch_weights.scale_for(scale) if path.endswith(".safetensors") else scale


TRAINER = train_command.Trainer(
    settings=Settings,
    space_folder="mnas_tf.spaces",
    read_architecture=read_architecture,
    scales=scales,
    plans=PLANS,
    reader=_pytorch_weights.read,
    scale_for=scale_for,
)


def train(settings, machine=None, parts=None):
    """`nas_tf.train_command.train` of this family."""
    return train_command.train(TRAINER, settings, machine, parts)


def cli():
    train_command.cli(TRAINER, __doc__)


if __name__ == "__main__":
    cli()
