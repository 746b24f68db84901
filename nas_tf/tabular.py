"""Files in which every network of a space is known."""

import json
import math
import pathlib

from nas_tf.trial import UserError

_MOST_BYTES = 256 << 20


def read_table(path):
    """Returns a dict from each architecture's text to a dict of what is known of it.

    The file is JSON: `fields`, names of which the first is `architecture`, and `rows` of their values. A field that
    ends in `_percent` is an accuracy and one that ends in `_ms` a latency.

    Raises:
        UserError: there is no such file, or it has another form.
    """
    path = pathlib.Path(path)
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise UserError(
            f"Expected a JSON file of all networks, at most {_MOST_BYTES >> 20} MB. Received: {str(path)!r}"
        )
    try:
        content = json.loads(path.read_text())
        fields, rows = content["fields"], content["rows"]
        table = {row[0]: dict(zip(fields[1:], map(_number, row[1:]), strict=True)) for row in rows}
        if fields[0] != "architecture" or not all(isinstance(name, str) for name in table):
            raise ValueError(f"the first field is {fields[0]!r}")
        if len(table) < len(rows):
            raise ValueError("an architecture is listed twice")
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise UserError(
            f"Expected {path} to hold fields, the first of them architecture, and rows of their values. "
            f"Received: {error!r}"
        ) from error
    return table


def check_known(space, flag):
    """Raises `UserError` unless a space knows its networks: `known(architecture)` and `known_digest`, of its table."""
    if not (hasattr(space, "known") and hasattr(space, "known_digest")):
        raise UserError(
            f"{flag} needs a search space with a table of all its networks, such as nasbench201. Received: "
            f"--search_space={space.name}"
        )


def the_field(values, ending, what):
    """Returns the name of the one field of a network that ends so.

    Raises:
        UserError: there is none, or there are several.
    """
    found = [name for name in values if name.endswith(ending)]
    if len(found) != 1:
        raise UserError(f"Expected a table with one field of {what}, *{ending}. Received: {', '.join(values)}")
    return found[0]


def _number(value):
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)
