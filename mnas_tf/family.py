"""The MnasNet family: its settings and scales, for its own commands and for those of all families."""

import dataclasses

from mnas_tf import _networks
from mnas_tf.recipes import PLANS
from nas_tf.apps import train
from nas_tf.family import Family
from nas_tf.networks import folder
from nas_tf.search.settings import SearchSettings
from nas_tf.settings import CHILDREN, NETWORK, SEARCH, SHIPS, knob
from nas_tf.training.recipe import recipe_knob
from nas_tf.trial import UserError

SPACES = "mnas_tf.spaces"


@dataclasses.dataclass(frozen=True)
class MnasNetSearchSettings(SearchSettings):
    """The settings of every search, and this family's space and widths."""

    search_space: str = knob("mnasnet", "Search space.", folder=SPACES, group=SEARCH)
    proxy_width_multiplier: float = knob(
        0.5, "Factor on the filters of the children that are trained.", above=0, most=16, group=CHILDREN
    )
    deploy_width_multiplier: float = knob(
        1.0, "Factor on the filters of the network that ships.", above=0, most=16, group=SHIPS
    )


@dataclasses.dataclass(frozen=True)
class MnasNetTrainSettings(train.TrainSettings):
    """The settings of every training, and this family's space, width and recipes."""

    architecture: str = knob(
        "mnasnet_a1",
        "An architecture.json; block strings, separated by blanks or commas; or a published name.",
        path=True,
        group=NETWORK,
    )
    search_space: str = knob("mnasnet", "Search space whose builder makes the network.", folder=SPACES, group=NETWORK)
    recipe: str | None = recipe_knob(PLANS)
    width_multiplier: float = knob(1.0, "Factor on the filters.", above=0, most=16, group=NETWORK)
    activation: str = knob(
        "relu", "relu6 loses less when it is quantised to int8.", choices=("relu", "relu6"), group=NETWORK
    )
    squeeze_excite: bool = knob(
        True, "Keep squeeze-and-excitation, which loses when it is quantised to int8.", group=NETWORK
    )


def search_scales(settings, scale, num_classes):
    """Returns the proxy's scale and the deployment's."""
    proxy = {
        "width_multiplier": settings.proxy_width_multiplier,
        # Few steps: a moving average over 100 of them would still hold its initial values, and dropout only slows them.
        "bn_momentum": 0.9,
        "dropout_rate": 0.0,
        # A child shows every choice: no two filters become one, and a kernel reads more than its centre.
        "filter_multiple": 1,
        "least_map_size": 3,
    }
    deploy = {"width_multiplier": settings.deploy_width_multiplier, "bn_momentum": 0.9}
    known = {field.name for field in dataclasses.fields(scale)}  # a space of the user's own may have its own scale
    proxy = {name: value for name, value in proxy.items() if name in known}
    return (
        scale(settings.proxy_image_size, num_classes, **proxy),
        scale(settings.deploy_image_size, num_classes, **deploy),
    )


def train_scales(settings, scale, num_classes, plan, recipe):
    """Returns the scale at which a network ships and the one at which it is trained, which are the same here."""
    chosen = train.scale_settings(settings, plan)
    activation = "relu6" if settings.architecture in _networks.RELU6 else settings.activation
    if settings.architecture.startswith("mnasnet_small") and settings.dropout_rate is None:
        chosen["dropout_rate"] = 0.0  # as published
    both = scale(
        settings.image_size,
        num_classes,
        settings.width_multiplier,
        activation=activation,
        squeeze_excite=settings.squeeze_excite,
        **chosen,
    )
    return both, both


def read_architecture(text, space):
    """Returns the architecture that the path of a file, block strings or a published name mean.

    Raises:
        UserError: `text` is none of these.
    """
    from mnas_tf.spaces.mnasnet import MnasNet

    if text.endswith(".json"):
        return folder.read_architecture(text, space)
    published = {**_networks.ARCHITECTURES, "mobilenet_v2": _networks.MOBILENET_V2}
    if text in published:
        return published[text]
    if "_" not in text or not text.startswith("r"):
        raise UserError(
            "Expected --architecture to be an architecture.json, block strings such as r1_k3_s11_e1_i32_o16_noskip, "
            f"or one of {', '.join(published)}. Received: {text!r}"
        )
    return MnasNet.parse(text)


def scale_for_weights(path, architecture, scale):
    """Returns the scale that a file of weights needs: published networks are built as they were where they come from.

    Raises:
        UserError: the file is of another publisher than that of this architecture's weights, or of a network with ReLU
            where ReLU6 was asked for.
    """
    if not _networks.holds_published_weights(path):
        return scale
    _networks.check_kind(architecture, path)
    found = _networks.scale_for(architecture, scale)
    if (scale.activation, found.activation) == ("relu6", "relu"):
        raise UserError(f"{path} has weights of a network with ReLU. Received: --activation=relu6. Leave it out")
    return found


FAMILY = Family(
    space_folder=SPACES,
    published="mnas_tf.published",
    pretrained="mnas_tf.pretrained",
    plans=PLANS,
    search_settings=MnasNetSearchSettings,
    search_scales=search_scales,
    published_beside=("mnasnet_a1", "mobilenet_v2", "nasnet_mobile"),
    train_settings=MnasNetTrainSettings,
    train_scales=train_scales,
    read_architecture=read_architecture,
    read_weights=_networks.read_weights,
    scale_for_weights=scale_for_weights,
)
