"""Records what a folder was begun with, once everything has been checked, and refuses other settings later.

What may change is for each caller to say: `nas_tf.search.run_folder` for a search, `nas_tf.shipping.chain` for
nas-ship, `nas_tf.training.train` and `nas_tf.apps.train` for a training, `nas_tf.latency_tables.builder` for a table.

Values are JSON: what is asked for is compared as it would be read back from its file.
"""

import json
import pathlib

from nas_tf.files import read_json, write_json
from nas_tf.trial import UserError

_LONGEST = 80  # characters of a value in a message
_MOST = 8  # settings that a message names


def differences(made, asked, may_change=()):
    """Returns a list of text for each name whose value differs between two dicts, except for those that may change."""
    asked, found = as_json(asked), []
    for name in sorted((made.keys() | asked.keys()) - set(may_change)):
        was, now = made.get(name), asked.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            found += [f"{name} {difference}" for difference in differences(was, now)]
        elif was != now:
            found.append(f"{name}={_text(now)} (was {_text(was)})")
    return found


def refuse_other_settings(where, made, asked, may_change=(), instead="choose another folder"):
    """Raises `UserError` if `asked` differs from what `where` was begun with. It names each setting that does.

    Args:
        where: the folder or file, as the message names it.
        made: dict of the JSON values with which it was begun.
        asked: dict of the values that are asked for now.
        may_change: names whose values may differ.
        instead: what the user can do other than give the same settings.
    """
    found = differences(made, asked, may_change)
    if found:
        more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
        named = "; ".join(found[:_MOST]) + more
        raise UserError(f"{where} was begun with other settings: {named}. Give those again, or {instead}")


def begin(path, asked, may_change=(), instead="choose another folder"):
    """Records `asked` in the JSON file at `path`, or refuses it if other settings are recorded there.

    Call it once all else has been checked.

    Args:
        path: of the JSON file.
        asked: dict of the values that are asked for now.
        may_change: names whose values may differ.
        instead: what the user can do other than give the same settings.

    Raises:
        UserError: the folder of `path` was begun with other settings.
    """
    path = pathlib.Path(path)
    made = read_json(path)
    if made is not None:
        refuse_other_settings(path.parent, made, asked, may_change, instead)
    write_json(path, asked)


def as_json(value):
    """Returns `value` as it would be read back from JSON."""
    return json.loads(json.dumps(value))


def _text(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
