"""The families that are installed, for commands that serve all of them: each names itself in setup.cfg, as an entry
point of the group `nas_tf.families` that is its `nas_tf.command.Family`."""

import dataclasses
import functools
import importlib
import importlib.metadata

from nas_tf import plugins
from nas_tf.trial import UserError

GROUP = "nas_tf.families"


@functools.cache
def families():
    """tuple of `nas_tf.command.Family`, in alphabetical order of their entry points.

    Raises:
        UserError: none is installed.
    """
    points = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)
    if not points:
        raise UserError(f"Expected installed families, entry points of the group {GROUP}. Install the project anew: "
                        "pip install --editable .")  # fmt: skip
    return tuple(point.load() for point in points)


def space_names():
    """tuple[str, ...]: the search spaces of all families."""
    return tuple(name for family in families() for name in plugins.names(family.space_folder))


def family_of(space_name):
    """The family whose search space is called so; a `.py` file is of the family whose `Scale` it takes.

    Raises:
        UserError: there is none.
    """
    for family in families():
        if space_name in plugins.names(family.space_folder):
            return family
        if space_name.endswith(".py"):
            scale = plugins.load(family.space_folder, space_name).Scale
            if scale.__module__.startswith(f"{family.space_folder}."):
                return family
    raise UserError(f"Expected a search space, one of {', '.join(space_names())}. Received: {space_name!r}")


def published(name):
    """The module of published networks that has one called `name`.

    Raises:
        UserError: none has.
    """
    refused = []
    for family in families():
        module = importlib.import_module(family.published)
        try:
            module.architecture(name)
            return module
        except UserError as error:
            refused.append(str(error))
    raise UserError(" ".join(refused))


def deploy_settings():
    """A frozen dataclass of the settings `deploy_...` of every family: the scale at which networks ship."""
    fields = {}
    for family in families():
        for field in dataclasses.fields(family.settings):
            if field.name.startswith("deploy_") and field.name != "deploy_number_type":
                knob = dataclasses.field(default=field.default, metadata=field.metadata)
                fields.setdefault(field.name, (field.name, field.type, knob))
    return dataclasses.make_dataclass("DeploySettings", fields.values(), frozen=True)


def deploy_scale(family, scale_type, values, num_classes):
    """The family's deployment scale for an instance of `deploy_settings()`."""
    mine = {field.name for field in dataclasses.fields(family.settings)}
    chosen = {name: value for name, value in dataclasses.asdict(values).items() if name in mine}
    return family.scales(family.settings(run_dir="-", **chosen), scale_type, num_classes)[1]
