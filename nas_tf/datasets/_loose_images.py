"""Images of no data set, one after the other: a file, or all in a folder or a .zip."""

import os
import pathlib
import zipfile

from nas_tf.datasets import _decoding
from nas_tf.datasets._image_files import ImageFiles, UnreadableImage, open_files, printable
from nas_tf.trial import UserError

_MAX_MEGAPIXELS = 178.0


class _File(ImageFiles):
    """One file."""

    def __init__(self, path):
        super().__init__(os.path.dirname(path) or ".")
        self.tree[""].append(os.path.basename(path))

    def open(self, name, most=None):
        self._bounded_size(name)
        return open(os.path.join(self.root, name), "rb")

    def num_bytes(self, name):
        return os.path.getsize(os.path.join(self.root, name))


def loose_images(paths, image_size, fit):
    """Yields images with their names, in the order of `paths`; those of a folder or a .zip by name.

    Args:
        paths: list of images, folders and .zip files.
        image_size: height and width in pixels.
        fit: as in `nas_tf.datasets._decoding.decode`.

    Yields:
        (str, uint8 [image_size, image_size, 3] or None, None or why the image cannot be read).

    Raises:
        UserError: a path is none of these, or there is no image in it. Raised before the first image.
    """
    decode = _decoding.decode
    return _each(paths, lambda files, name: decode(files, name, image_size, fit, _MAX_MEGAPIXELS))


def whole_images(paths):
    """Yields what `loose_images` does, with images of the size that they are stored in: uint8 [height, width, 3]."""
    return _each(paths, lambda files, name: _decoding.decode_whole(files, name, _MAX_MEGAPIXELS))


def _each(paths, decode):
    for files, names in [_files(path) for path in paths]:
        for name in names:
            shown = printable(files.path(name).removeprefix("./"))
            try:
                yield shown, decode(files, name), None
            except UnreadableImage as error:
                yield shown, None, str(error)


def _files(path):
    """Returns the `ImageFiles` at a path, and a list of the names of the images among them."""
    shown = repr(printable(path))
    if not os.path.exists(path):
        raise UserError(f"Expected images, folders or .zip files. There is no {shown}")
    if os.path.isdir(path) or (pathlib.Path(path).is_file() and zipfile.is_zipfile(path)):
        files = open_files(path)
    elif os.path.isfile(path) and _decoding.suffix_of(path):
        files = _File(path)
    else:
        raise UserError(
            f"Expected images ({', '.join(sorted(_decoding.SUFFIXES))}), folders or .zip files. Received: {shown}"
        )
    names = [f"{directory}/{name}".lstrip("/") for directory in sorted(files.tree) for name in files.tree[directory]]
    names = _decoding.readable_among(names)
    if not names:
        raise UserError(f"Expected images that can be read here ({', '.join(_decoding.formats())}). {shown} has none")
    return files, names
