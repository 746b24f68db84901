"""Searches a Normal and a Reduction cell on small images, to be stacked for large ones (NASNet, arXiv 1707.07012).

nasnet-search --run_dir=runs/cells --dataset=image_folder --data_dir=flowers/ --num_trials=200
nasnet-search --run_dir=runs/fast_cells --device=host --reward=soft --target_latency_of=nasnet_a

Each trial trains a child at the proxy scale; with --device its deployment network is timed there, and with a --reward
other than accuracy that latency counts. The same command on the same --run_dir goes on where it stopped.
"""

import dataclasses
import typing

from nas_tf import command, run
from nas_tf.flags import knob
from nas_tf.recipe import ProxyRecipe
from nas_tf.rewards import Objective
from nasnet_tf.recipes import PLANS


@dataclasses.dataclass(frozen=True)
class Settings(run.Settings):
    """The knobs of every search, and this family's space and how its cells are stacked."""

    search_space: str = knob("nasnet", "Search space.", folder="nasnet_tf.spaces")
    device: str = knob("none", "Where latency comes from; none: nowhere.", folder="nas_tf.devices")
    proxy_cells: int = knob(2, "Normal cells a stage (N) of the children that are trained.")
    proxy_filters: int = knob(16, "Filters in the first stage (F) of the children that are trained.")
    proxy_stem: typing.Literal["cifar", "imagenet"] = knob("cifar", "Stem of the children that are trained.")
    deploy_cells: int = knob(4, "Normal cells a stage (N) of the network that ships.")
    deploy_filters: int = knob(44, "Filters in the first stage (F) of the network that ships.")
    deploy_stem: typing.Literal["cifar", "imagenet"] = knob("imagenet", "Stem of the network that ships.")


def scales(settings, scale, num_classes):
    # Few steps: a moving average over 100 of them would still hold its initial values.
    return tuple(
        scale(image_size, num_classes, cells, filters, stem, bn_momentum=0.9)
        for image_size, cells, filters, stem in (
            (settings.proxy_image_size, settings.proxy_cells, settings.proxy_filters, settings.proxy_stem),
            (settings.deploy_image_size, settings.deploy_cells, settings.deploy_filters, settings.deploy_stem),
        )
    )


FAMILY = command.Family(
    settings=Settings,
    space_folder="nasnet_tf.spaces",
    scales=scales,
    published="nasnet_tf.published",
    plans=PLANS,
    references=("nasnet_a", "mobilenet_v2"),
    objective=Objective(reward="accuracy", target_latency_of="nasnet_a"),
    proxy=ProxyRecipe(proxy_learning_rate=0.025),
)


def search(settings, objective=None, limits=None, proxy=None, parts=None, say=print):
    """`nas_tf.command.search` of this family."""
    return command.search(FAMILY, settings, objective, limits, proxy, parts, say)


def cli():
    command.cli(FAMILY, __doc__)


if __name__ == "__main__":
    cli()
