"""A training's whole state in one file: every variable of the network and of its optimizer, and the place reached."""

import io
import json
import pathlib

import numpy as np

from nas_tf.files import parse_json, write_file
from nas_tf.trial import UserError, first_line

_PLACE = "place"


def save(path, model, place):
    """Writes a checkpoint, whole or not at all.

    Args:
        path: of the file.
        model: the compiled `keras.Model`.
        place: JSON-ready dict, which `read_place` returns.
    """
    arrays = values(model)
    arrays[_PLACE] = np.frombuffer(json.dumps(place).encode(), np.uint8)
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_file(path, content.getvalue())


def read_place(path):
    """Returns the dict that was saved with the checkpoint at `path`, or None if there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    return parse_json(_read(path)[_PLACE].tobytes()) if pathlib.Path(path).exists() else None


def restore(path, model):
    """Puts the checkpoint's values into the compiled `model`, whose optimizer is built.

    Raises:
        UserError: the file is damaged, or belongs to another network or optimizer.
    """
    saved, variables = _read(path), dict(_variables(model))
    del saved[_PLACE]
    for name in sorted(variables.keys() | saved.keys()):
        expected, received = (tuple(each[name].shape) if name in each else "none" for each in (variables, saved))
        if expected != received:
            raise UserError(
                f"{path} is of another training: expected variable {name} of shape {expected}. Received: {received}. "
                "Remove it to begin anew"
            )
    put(model, saved)


def values(model):
    """Returns a dict of the values of all variables of the compiled `model` and of its optimizer."""
    import keras

    return {name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(model)}


def put(model, arrays):
    """Puts back what `values` returned."""
    for name, variable in _variables(model):
        variable.assign(arrays[name])


def _variables(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [(f"{i:05d}_{variable.name}", variable) for i, variable in enumerate(variables)]


def _read(path):
    """Returns a dict of the arrays in a checkpoint. It is read whole, because each array has a checksum."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        arrays[_PLACE]
    except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
        raise UserError(f"{path} is no whole checkpoint: {first_line(error)}. Remove it to begin anew") from error
    return arrays
