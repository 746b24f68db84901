"""Searches a mobile network for accuracy within a measured latency (MnasNet, arXiv 1807.11626).

mnas-search --run_dir=runs/flowers --dataset=image_folder --data_dir=flowers/ --num_trials=200

Each trial trains a child at the proxy scale and times its deployment network, converted to TFLite, on --device. The
same command on the same --run_dir goes on where it stopped.
"""

import dataclasses

from mnas_tf.recipes import PLANS
from nas_tf import command, run
from nas_tf.flags import knob


@dataclasses.dataclass(frozen=True)
class Settings(run.Settings):
    """The knobs of every search, and this family's space and widths."""

    search_space: str = knob("mnasnet", "Search space.", folder="mnas_tf.spaces")
    proxy_width_multiplier: float = knob(0.5, "Factor on the filters of the children that are trained.")
    deploy_width_multiplier: float = knob(1.0, "Factor on the filters of the network that ships.")


def scales(settings, scale, num_classes):
    # Few steps: a moving average over 100 of them would still hold its initial values, and dropout only slows them.
    proxy = {"width_multiplier": settings.proxy_width_multiplier, "bn_momentum": 0.9, "dropout_rate": 0.0}
    deploy = {"width_multiplier": settings.deploy_width_multiplier, "bn_momentum": 0.9}
    return (
        scale(settings.proxy_image_size, num_classes, **proxy),
        scale(settings.deploy_image_size, num_classes, **deploy),
    )


FAMILY = command.Family(
    settings=Settings,
    space_folder="mnas_tf.spaces",
    scales=scales,
    published="mnas_tf.published",
    plans=PLANS,
    references=("mnasnet_a1", "mobilenet_v2", "nasnet_mobile"),
)


def search(settings, objective=None, limits=None, proxy=None, parts=None, say=print):
    """`nas_tf.command.search` of this family."""
    return command.search(FAMILY, settings, objective, limits, proxy, parts, say)


def cli():
    command.cli(FAMILY, __doc__)


if __name__ == "__main__":
    cli()
