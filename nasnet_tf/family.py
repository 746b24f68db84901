"""The NASNet family: its settings and scales, for its own commands and for those of all families."""

import dataclasses

from nas_tf.apps import train
from nas_tf.family import Family
from nas_tf.networks import folder
from nas_tf.rewards import Objective
from nas_tf.search.settings import SearchSettings
from nas_tf.settings import CHILDREN, DEVICE, NETWORK, SEARCH, SHIPS, TRAINING, knob
from nas_tf.training.recipe import ProxyRecipe, recipe_knob
from nas_tf.trial import UserError
from nasnet_tf import _keras_weights
from nasnet_tf.recipes import PLANS

SPACES = "nasnet_tf.spaces"
STEMS = ("cifar", "imagenet")


@dataclasses.dataclass(frozen=True)
class NASNetSearchSettings(SearchSettings):
    """The settings of every search, and this family's space and how its cells are stacked."""

    search_space: str = knob("nasnet", "Search space.", folder=SPACES, group=SEARCH)
    device: str = knob(
        "none", "Where latency comes from; none: nowhere.", folder="nas_tf.devices", also=("none",), group=DEVICE
    )
    proxy_cells: int = knob(
        2, "Normal cells in a stage (N) of the children that are trained.", least=1, most=100, group=CHILDREN
    )
    proxy_filters: int = knob(
        16, "Filters in the first stage (F) of the children that are trained.", least=1, most=4096, group=CHILDREN
    )
    proxy_stem: str = knob("cifar", "Stem of the children that are trained.", choices=STEMS, group=CHILDREN)
    deploy_cells: int = knob(
        4, "Normal cells in a stage (N) of the network that ships.", least=1, most=100, group=SHIPS
    )
    deploy_filters: int = knob(
        44, "Filters in the first stage (F) of the network that ships.", least=1, most=4096, group=SHIPS
    )
    deploy_stem: str = knob("imagenet", "Stem of the network that ships.", choices=STEMS, group=SHIPS)


@dataclasses.dataclass(frozen=True)
class NASNetTrainSettings(train.TrainSettings):
    """The settings of every training, and this family's space, how its cells are stacked, and its recipes."""

    architecture: str = knob(
        "nasnet_a", "An architecture.json with two cells, or the published nasnet_a.", path=True, group=NETWORK
    )
    search_space: str = knob("nasnet", "Search space whose builder makes the network.", folder=SPACES, group=NETWORK)
    cells: int = knob(4, "Normal cells in a stage (N).", least=1, most=100, group=NETWORK)
    filters: int = knob(
        44, "Filters in the first stage (F); the papers' N @ P has P = 24 F.", least=1, most=4096, group=NETWORK
    )
    stem: str = knob("imagenet", "One convolution, or one and two Reduction cells.", choices=STEMS, group=NETWORK)
    activation: str = knob(
        "relu", "relu6 loses less when it is quantised to int8.", choices=("relu", "relu6"), group=NETWORK
    )
    recipe: str | None = recipe_knob(PLANS)
    drop_path_keep: float | None = knob(
        None,
        "Probability to keep a path at the end of training in the deepest cell; default: the recipe's.",
        above=0,
        most=1,
        group=TRAINING,
    )
    drop_path: str = knob(
        "v3",
        "Drop path's schedule: over training (v1), with depth (v2), both (v3: NASNet's last), or constant.",
        choices=("v1", "v2", "v3", "constant"),
        group=TRAINING,
    )


def search_scales(settings, scale, num_classes):
    """Returns the proxy's scale and the deployment's."""
    # Few steps: a moving average over 100 of them would still hold its initial values.
    return tuple(
        scale(image_size, num_classes, cells, filters, stem, bn_momentum=0.9)
        for image_size, cells, filters, stem in (
            (settings.proxy_image_size, settings.proxy_cells, settings.proxy_filters, settings.proxy_stem),
            (settings.deploy_image_size, settings.deploy_cells, settings.deploy_filters, settings.deploy_stem),
        )
    )


def train_scales(settings, scale, num_classes, plan, recipe):
    """Returns the scale at which a network ships and the one at which it is trained."""
    ships = scale(
        settings.image_size,
        num_classes,
        settings.cells,
        settings.filters,
        settings.stem,
        activation=settings.activation,
        **train.scale_settings(settings, plan),
    )
    training = {**plan.train_scale, "drop_path": settings.drop_path, "auxiliary_head": recipe.auxiliary_weight > 0}
    if settings.drop_path_keep is not None:
        training["drop_path_keep"] = settings.drop_path_keep
    return ships, dataclasses.replace(ships, **training)


def read_architecture(text, space):
    """Returns the architecture that the path of a file or a published name means.

    Raises:
        UserError: `text` is neither.
    """
    from nasnet_tf import published

    if text.endswith(".json"):
        return folder.read_architecture(text, space)
    if text not in published.ARCHITECTURES:
        raise UserError(
            "Expected --architecture to be an architecture.json, or one of "
            f"{', '.join(published.ARCHITECTURES)}. Received: {text!r}"
        )
    return published.ARCHITECTURES[text]


def scale_for_weights(path, architecture, scale):
    """Returns the scale that a file of weights needs.

    In Keras's weights, NASNet-A large (6 cells, 168 filters) has a wider stem and another input to some cells.
    """
    if path.endswith(".weights.h5") or not (path == "imagenet" or path.endswith(".h5")):
        return scale
    large = {"stem_filters": 96, "skip_reduction_input": True} if (scale.cells, scale.filters) == (6, 168) else {}
    return dataclasses.replace(scale, bn_epsilon=1e-3, **large)


FAMILY = Family(
    space_folder=SPACES,
    published="nasnet_tf.published",
    plans=PLANS,
    search_settings=NASNetSearchSettings,
    search_scales=search_scales,
    published_beside=("nasnet_a", "mobilenet_v2"),
    train_settings=NASNetTrainSettings,
    train_scales=train_scales,
    read_architecture=read_architecture,
    read_weights=_keras_weights.read,
    scale_for_weights=scale_for_weights,
    objective=Objective(reward="accuracy", target_latency_of="nasnet_a"),
    proxy=ProxyRecipe(proxy_learning_rate=0.025),
)
