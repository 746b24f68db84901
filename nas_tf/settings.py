"""One setting: its default, its help and its bounds. `nas_tf.flags` makes flags of settings; this module uses no absl.

Settings are the fields of a frozen dataclass that extends `Settings`. `knob` declares a field. Its bounds are checked
whenever an instance is made, from flags, from a file or from Python, and a `~` in front of a path is expanded.
"""

import dataclasses
import math
import numbers
import operator
import os
import types
import typing

from nas_tf.trial import UserError

# Titles of the groups in which --help lists settings. Those of `VISIT` come first, in the order of a visit; the others
# follow as the command defines them.
IMAGES = "Your images"
NETWORK = "The network"
TARGET = "Your target"
DEVICE = "Your device"
RUN = "The run"
VISIT = (IMAGES, NETWORK, TARGET, DEVICE, RUN)
SEARCH = "How it searches"
PLACES = "Where trials are evaluated"
CHILDREN = "The children, small networks that are trained in the search"
SHIPS = "The network that ships"
TRAINING = "How networks are trained"
FILES = "The files"
_BOUNDS = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def knob(
    default=dataclasses.MISSING,
    help="",
    *,
    least=None,
    most=None,
    above=None,
    below=None,
    choices=None,
    required=None,
    folder=None,
    also=None,
    flag=None,
    group=None,
    program=None,
    runs_code=None,
    path=None,
    decides=None,
):
    """Returns a dataclass field that is a setting. Numbers must be finite in any case.

    Args:
        default: its value if none is given. Left out, a value must be given. None stands for "not given" and is never
            checked.
        help: the help text of its flag.
        least, most: the smallest and the largest number allowed.
        above, below: numbers that the value must lie above, and below.
        choices: the values allowed; for a tuple, the values of its elements.
        required: refuses an empty value, and says in words what is expected, as in `"the folder of the run"`.
        folder: plug-in folder, such as `"nas_tf.devices"`, whose parts the setting chooses from.
        also: values allowed beside those parts, as in `("none",)`.
        flag: the whole name of its flag, if that is not the prefix and the field's name.
        group: title of the group of its flag in --help; by default what its dataclass's docstring says first.
        program: whether it is the path of a program that is run, which is never taken from a file.
        path: whether it is the path of something else, or may be one: another spelling of it is the same value.
        runs_code: says of a value whether it names code to fetch and run, which is never taken from a file.
        decides: False for a setting that changes no measurement, and so may change when a search goes on.
    """
    given = {
        "help": help,
        "least": least,
        "most": most,
        "above": above,
        "below": below,
        "choices": choices,
        "required": required,
        "folder": folder,
        "also": also,
        "flag": flag,
        "group": group,
        "program": program,
        "runs_code": runs_code,
        "path": path,
        "decides": decides,
    }
    return dataclasses.field(
        default=default, metadata={name: value for name, value in given.items() if value is not None}
    )


class Settings:
    """The base of every dataclass of settings. An instance whose values are out of bounds cannot be made.

    Its paths have no `~` any more. A subclass that checks more, such as two settings against each other, extends
    `__post_init__`.

    Raises:
        UserError: a value is out of its bounds.
    """

    def __post_init__(self):
        expand(self)
        check(self)


def expand(settings):
    """Replaces `~` in front of the paths among the fields of a dataclass instance by the user's home folder."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        expanded = _expanded(field, value)
        if expanded is not value:
            object.__setattr__(settings, field.name, expanded)  # most instances are frozen


def _expanded(field, value):
    if isinstance(value, tuple):
        return tuple(_expanded(field, each) for each in value)
    return os.path.expanduser(value) if is_path(field, value) else value


def is_path(field, value):
    """Returns whether `value`, a setting declared by `field`, is a path, or may be one.

    A part is one if it is a `.py` file.
    """
    if not isinstance(value, (str, os.PathLike)):
        return False
    declared = field.metadata
    is_own_part = "folder" in declared and os.fspath(value).endswith(".py")
    return bool(declared.get("path") or declared.get("program") or is_own_part)


def check(settings):
    """Raises `UserError` if a field of the dataclass instance `settings` is out of the bounds of its `knob`."""
    # The flags of a part's `Config` follow the name of its file.
    kind = type(settings)
    prefix = kind.__module__.rpartition(".")[2] + "_" if kind.__name__ == "Config" else ""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        expected = _broken_bound(field.type, field.default, field.metadata, value)
        if expected:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            raise UserError(f"Expected --{flag_name(field, prefix)}{expected}. Received: {shown or 'none'}")


def flag_name(field, prefix=""):
    """Returns the flag of a dataclass field: prefix and name, unless its knob has the whole name (`flag="table"`)."""
    return field.metadata.get("flag", prefix + field.name)


def configure(config_type, settings, name):
    """Returns `config_type(**settings)`, the settings of the part called `name`.

    Raises:
        UserError: a setting is unknown, or its value is refused.
    """
    known = {field.name for field in dataclasses.fields(config_type)}
    for setting in settings:
        if setting not in known:
            raise UserError(f"{name!r} has settings {sorted(known)}. Received: {setting!r}")
    config = config_type(**settings)
    expand(config)  # a part of the user's own need not extend `Settings`
    check(config)
    return config


def _broken_bound(kind, default, bounds, value):
    """Returns what was expected instead of `value`, in words, or None if it keeps its bounds."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and (default is None or type(None) in kinds):
        return None
    expected = _broken_kind(next(each for each in kinds if each is not type(None)), value)
    if expected:
        return f" to be {expected}"
    if bounds.get("required") and not value:
        return f", {bounds['required']}"
    if "choices" in bounds:
        values = value if isinstance(value, tuple) else (value,)
        known = all(each in bounds["choices"] for each in values)
        what = "to hold only" if isinstance(value, tuple) else "to be one of"
        return None if known else f" {what} {', '.join(map(str, bounds['choices']))}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    if not math.isfinite(value):
        return " to be a finite number"
    declared = {name: bounds[name] for name in _BOUNDS if name in bounds}
    if all(_BOUNDS[name][1](value, bound) for name, bound in declared.items()):
        return None
    return " to be " + " and ".join(f"{_BOUNDS[name][0]} {bound:g}" for name, bound in declared.items())


def _broken_kind(kind, value):
    """Returns in words what a value of that type is, or None if `value` is one. Settings in files may be anything."""
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        wrong = [_broken_kind(element, each) for each in value] if isinstance(value, (tuple, list)) else [""]
        return next(("a list" if not words else f"a list, each {words}" for words in wrong if words is not None), None)
    known = {
        bool: ("true or false", bool),
        int: ("a whole number" if isinstance(value, numbers.Real) else "a number", numbers.Integral),
        float: ("a number", numbers.Real),
        str: ("text", (str, os.PathLike)),
    }
    words, allowed = known.get(kind, ("", object))
    is_switch = isinstance(value, bool) and kind in (int, float)
    return words if is_switch or not isinstance(value, allowed) else None
