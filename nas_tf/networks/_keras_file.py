"""Files of Keras may come from anybody: what they declare is bounded by what they hold before any of it is read."""

import contextlib
import math
import pathlib
import threading
import zipfile

from nas_tf.trial import UserError, first_line

_FLOOR_BYTES = 64 << 20
_MAX_EXPANSION = 20  # weights hardly shrink, and Keras does not compress them
_ELEMENT_BYTES = 4  # float32


def check(path):
    """Raises `UserError` if a `.keras`, `.weights.h5` or `.h5` file is damaged or declares far more than it holds.

    What counts are the members of the archive and the arrays of the HDF5 file, whose memory is taken before they are
    read. Keras has such a check too, from 4 GiB on.
    """
    import h5py

    path = pathlib.Path(path)
    try:
        if path.suffix != ".keras":
            with h5py.File(path, "r") as file:
                _check_arrays(file, path)
            return
        with zipfile.ZipFile(path) as archive:
            _check_size(sum(member.file_size for member in archive.infolist()), path)
            with archive.open("model.weights.h5") as member, h5py.File(member, "r") as file:
                _check_arrays(file, path)
    except UserError:
        raise
    except Exception as error:  # h5py and zipfile raise their own kinds
        raise UserError(f"{path} is damaged, or no file of Keras: {first_line(error)}") from error


@contextlib.contextmanager
def bounded(path):
    """Inside it, in this thread, Keras makes no variable once all of them are far more than the file holds.

    Its configuration says how large the layers are, and whatever else it names, and Keras makes them before it reads a
    weight. Not bounded are arrays that are no variables.

    Raises:
        UserError: the variables together are larger than that.
    """
    import keras

    path, make, thread, declared = pathlib.Path(path), keras.Variable.__init__, threading.get_ident(), 0

    def make_bounded(variable, initializer, shape=None, *arguments, **named):
        nonlocal declared
        if threading.get_ident() == thread:
            # A size may be anything that JSON holds: a text, times a number, would be a long text.
            declared += _ELEMENT_BYTES * math.prod(abs(int(size)) for size in shape or ())
            _check_size(declared, path)
        make(variable, initializer, shape, *arguments, **named)

    keras.Variable.__init__ = make_bounded
    try:
        yield
    except Exception:
        _check_size(declared, path)  # Keras may have said it in its own words
        raise
    finally:
        keras.Variable.__init__ = make


def _check_arrays(file, path):
    import h5py

    total = 0

    def add(name, item):
        nonlocal total
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise UserError(f"{path} reads other files: its array {name!r} lies outside of it")
            total += item.size * item.dtype.itemsize

    file.visititems(add)
    _check_size(total, path)


def _check_size(declared, path):
    most = _FLOOR_BYTES + _MAX_EXPANSION * path.stat().st_size
    if declared > most:
        raise UserError(
            f"{path} has {path.stat().st_size:,} bytes and declares {declared:,}. Expected at most {most:,}: such a "
            "file fills the memory"
        )
