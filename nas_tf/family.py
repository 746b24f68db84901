"""What a family of networks is, and which families are installed, for commands that serve all of them.

setup.cfg names each family: an entry point of the group `nas_tf.families`, which is its `Family`.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
import typing

from nas_tf import plugins
from nas_tf.plugins import Part
from nas_tf.rewards import Objective
from nas_tf.settings import Settings
from nas_tf.training.recipe import Plan, ProxyRecipe
from nas_tf.trial import UserError

GROUP = "nas_tf.families"
_NOT_OF_SCALES = ("deploy_number_type", "deploy_head", "deploy_head_classes")


@dataclasses.dataclass(frozen=True)
class Family:
    """What one family's search and training are made of.

    Attributes:
        space_folder: plug-in folder of its search spaces.
        published: name of its module of published networks, which has `architecture(name)`, `build(name, scale)` and
            `Scale`. If `Scale` has a `width_multiplier`, it also has `ONE_WIDTH`, the names of networks of one width.
            If its networks can inherit, it has `parent(text)`, which returns the
            `nas_tf.networks.parent.ParentNetwork` that `--parent` names.
        plans: its recipes by name (`nas_tf.training.recipe.Plan`).
        search_settings: dataclass that extends `nas_tf.search.settings.SearchSettings` by its space and scales.
        search_scales: `search_scales(settings, Scale, num_classes)` returns the proxy's scale and the deployment's.
        published_beside: the published networks whose cost is measured beside a search.
        train_settings: dataclass that extends `nas_tf.apps.train.TrainSettings` by its space and scale.
        train_scales: `train_scales(settings, Scale, num_classes, plan, recipe)` returns the scale at which a network
            ships and the one at which it is trained.
        read_architecture: `read_architecture(text, space)` returns what `--architecture` names.
        read_weights: reads a file of another program's weights (`nas_tf.networks.weights.load`).
        scale_for_weights: `scale_for_weights(path, architecture, scale)` returns the scale that such weights need.
        objective, proxy: the defaults of a search's flags.
        pretrained: name of its module of networks with published weights, which has `NAMES`, `widths(name)`,
            `why_not` and `weights_file(name, width, folder)`, `build(name, scale, path)` and `Scale`; empty: none.
    """

    space_folder: str
    published: str
    plans: dict[str, Plan]
    search_settings: type
    search_scales: typing.Callable
    published_beside: tuple[str, ...]
    train_settings: type
    train_scales: typing.Callable
    read_architecture: typing.Callable
    read_weights: typing.Callable
    scale_for_weights: typing.Callable
    objective: Objective = dataclasses.field(default_factory=Objective)
    proxy: ProxyRecipe = dataclasses.field(default_factory=ProxyRecipe)
    pretrained: str = ""

    def parent(self, text):
        """Returns the `nas_tf.networks.parent.ParentNetwork` that `--parent` names.

        Raises:
            UserError: there is no such network, or the family's networks cannot inherit.
        """
        read = getattr(self.published_module, "parent", None)
        if read is None:
            raise UserError(
                f"Networks of {self.space_folder} inherit from none: leave --parent out. Received: {text!r}"
            )
        return read(text)

    def space(self, name, settings=None):
        """Returns the `nas_tf.plugins.Part` of one of its search spaces."""
        return Part(self.space_folder, name, settings or {})

    @property
    def published_module(self):
        """Its module of published networks."""
        return importlib.import_module(self.published)


@functools.cache
def families():
    """Returns a tuple of the installed families, in alphabetical order of their entry points.

    Raises:
        UserError: no family is installed.
    """
    points = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)
    if not points:
        raise UserError(
            f"Expected installed families, entry points of the group {GROUP}. Install the project again: "
            "pip install --editable ."
        )
    return tuple(point.load() for point in points)


def space_names():
    """Returns a tuple of the names of all families' search spaces."""
    return tuple(name for family in families() for name in plugins.names(family.space_folder))


def family_of(space_name):
    """Returns the family that has a search space of this name. A `.py` file belongs to the family whose `Scale` it has.

    Raises:
        UserError: no family has it.
    """
    for family in families():
        if space_name in plugins.names(family.space_folder):
            return family
        if space_name.endswith(".py"):
            scale = plugins.load(family.space_folder, space_name).Scale
            if scale.__module__.startswith(f"{family.space_folder}."):
                return family
    raise UserError(f"Expected a search space, one of {', '.join(space_names())}. Received: {space_name!r}")


def space_from_file(value, where, own=""):
    """Returns the `Part` of a search space that a file describes, as `Part.to_json` does, and loads nothing.

    Args:
        value: what the file holds.
        where: the file, for messages.
        own: the user's own space, if a flag of this command names one; only that one may the file name.

    Raises:
        UserError: it is no such part, or a file that this command does not name.
    """
    try:
        part = Part(**value)
    except TypeError as error:
        raise UserError(f"{where} is damaged: it describes no search space") from error
    known = tuple(family.space_folder for family in families())
    if part.folder not in known or not isinstance(part.name, str) or not isinstance(part.settings, dict):
        raise UserError(f"{where} names no search space of {', '.join(known)}. Received: {str(value)[:200]}")
    plugins.refuse_from_file(part.folder, part.name, where, "search_space", own)
    settings = {name: tuple(each) if isinstance(each, list) else each for name, each in part.settings.items()}
    return dataclasses.replace(part, settings=settings)


def family_of_published(name):
    """Returns the family that has a published network called `name`.

    Raises:
        UserError: no family has it.
    """
    refused = []
    for family in families():
        try:
            family.published_module.architecture(name)
            return family
        except UserError as error:
            refused.append(str(error))
    raise UserError(" ".join(refused))


def deploy_settings():
    """Returns a frozen dataclass of the settings `deploy_...` of all families: the scale at which networks ship."""
    fields = {}
    for family in families():
        for field in dataclasses.fields(family.search_settings):
            if field.name.startswith("deploy_") and field.name not in _NOT_OF_SCALES:
                knob = dataclasses.field(default=field.default, metadata=field.metadata)
                fields.setdefault(field.name, (field.name, field.type, knob))
    return dataclasses.make_dataclass("DeploySettings", fields.values(), frozen=True, bases=(Settings,))


def deploy_scale(family, scale_type, values, num_classes):
    """Returns the family's deployment scale.

    Args:
        family: the `Family`.
        scale_type: the `Scale` of its search space.
        values: an instance of `deploy_settings()`.
        num_classes: classes of the network.
    """
    mine = {field.name for field in dataclasses.fields(family.search_settings)}
    chosen = {name: value for name, value in dataclasses.asdict(values).items() if name in mine}
    return family.search_scales(family.search_settings(run_dir="-", **chosen), scale_type, num_classes)[1]
