"""What a folder was begun with. It is recorded once everything has been checked, and other settings are refused later.

Values are JSON: what was asked is compared as it would be read back from its file.
"""

import json
import pathlib

from nas_tf.files import read_json, write_json
from nas_tf.trial import UserError


def differences(made, asked, may_change=()):
    """list[str]: each name whose value differs between two dicts, with both values, but for those that may change."""
    asked = as_json(asked)
    return [
        f"{name}={_text(asked.get(name))} (was {_text(made.get(name))})"
        for name in sorted((made.keys() | asked.keys()) - set(may_change))
        if made.get(name) != asked.get(name)
    ]


def refuse_other_settings(where, made, asked, may_change=(), instead="choose another folder"):
    """Raises `UserError` where `asked` differs from what `where` was begun with, naming each setting that does.

    Args:
        where: the folder or file, as the message names it.
        made: dict of JSON values with which it was begun.
        asked: dict of the values asked for now.
        may_change: names of which the values may differ.
        instead: what the user can do other than giving the same settings.
    """
    found = differences(made, asked, may_change)
    if found:
        raise UserError(f"{where} was begun with other settings: {'; '.join(found)}. Give those again, or {instead}")


def begin(path, asked, may_change=(), instead="choose another folder"):
    """Records `asked` in the JSON file at `path`, or refuses it where other settings are recorded there. To be called
    once all else has been checked.

    Raises:
        UserError: the folder of `path` was begun with other settings.
    """
    path = pathlib.Path(path)
    made = read_json(path)
    if made is not None:
        refuse_other_settings(path.parent, made, asked, may_change, instead)
    write_json(path, asked)


def as_json(value):
    """`value` as it would be read back from JSON."""
    return json.loads(json.dumps(value))


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)
