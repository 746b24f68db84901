"""One file that holds an algorithm's state: arrays and one JSON text, no pickle. Shared by the parts of this folder."""

import json
import os
import pathlib
import zipfile

import numpy as np

from nas_tf.trial import UserError


def write(path, identity, state, arrays=()):
    """Writes one file at `path`, which holds either its old content or all of the new one, never less.

    Args:
        identity: a JSON dict that names the algorithm, its settings and its decisions; `read` asks for the same.
        state: a JSON dict.
        arrays: NumPy arrays, read back in this order.
    """
    path = pathlib.Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    text = json.dumps({"identity": identity, "state": state, "arrays": len(arrays)})
    try:
        with open(unfinished, "wb") as file:
            np.savez(file, text=np.array(text), **{f"array_{i}": array for i, array in enumerate(arrays)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path, identity):
    """The `(state, arrays)` that `write` was given.

    Raises:
        UserError: the file is missing or damaged, or was written under another identity.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content = json.loads(str(file["text"]))
            arrays = [file[f"array_{i}"] for i in range(content["arrays"])]
        state, found = content["state"], content["identity"]
    except FileNotFoundError as error:
        raise UserError(f"Expected the saved state of {identity['algorithm']!r}. There is no file {path}") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"Expected the saved state of {identity['algorithm']!r}. Received: a damaged file, {path} "
            f"({type(error).__name__}: {error}). Delete it, and the search starts from its recorded trials"
        ) from error
    for name, expected in json.loads(json.dumps(identity)).items():
        if found.get(name) != expected:
            raise UserError(
                f"{path} was saved by an algorithm with another {name}. Expected: {expected}. "
                f"Received: {found.get(name)}. Use the run's own settings, or a new run folder"
            )
    return state, arrays
