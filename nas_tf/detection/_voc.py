"""Pascal VOC's XML: a file of objects for each image (host.robots.ox.ac.uk/pascal/VOC, development kit)."""

import xml.etree.ElementTree

from nas_tf.detection.annotations import example
from nas_tf.trial import UserError, first_line

_MOST_BYTES = 4 << 20


def read(files, path):
    """Returns `(file name of the image, (width, height) in pixels, list of objects)` of an annotation file.

    An object is `(left, top, right, bottom, name of its class, ignored)`, corners in pixels from 0 on. VOC counts from
    1, and its right and bottom pixels belong to the object.

    Args:
        files: the `nas_tf.datasets._image_files.ImageFiles` it is in.
        path: its path there.

    Raises:
        UserError: it is no such file.
    """
    shown = files.path(path)
    try:
        if files.num_bytes(path) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES:,} bytes")
        with files.open(path) as file:
            content = file.read()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ValueError("a document type, which annotations have no need of")
        root = xml.etree.ElementTree.fromstring(content)
        size = tuple(int(float(_text(root, f"size/{side}"))) for side in ("width", "height"))
        name = _text(root, "filename", "")
        return name, size, [_object(each) for each in root.iter("object")]
    except Exception as error:  # zipfile, zlib, the parser and the reader of files each raise their own kinds
        raise UserError(
            f"Expected Pascal VOC's XML with a size and objects. Received: {shown}: {first_line(error)}"
        ) from error


def _object(element):
    low = [_number(element, f"bndbox/{name}") for name in ("xmin", "ymin")]
    high = [_number(element, f"bndbox/{name}") for name in ("xmax", "ymax")]
    if None not in low:
        low = [each - 1 for each in low]
    return (*low, *high, _text(element, "name"), _text(element, "difficult", "0").strip() == "1")


def _number(element, path):
    """Returns the number at a path, or None: a damaged box is counted, and damages nothing else."""
    try:
        return float(_text(element, path))
    except ValueError:
        return None


def _text(element, path, otherwise=None):
    text = element.findtext(path, otherwise)
    if text is None:
        raise ValueError(f"no {path}")
    return text.strip()


def examples(found, names, find, damages):
    """Returns a list of `Example`s, in the order of the file names.

    Args:
        found: list of what `read` returned.
        names: dict from the name of a class to its label; an object of another one counts as damaged.
        find: `find(file_name)` returns the path of an image.
        damages: the `nas_tf.detection.annotations.Damages`.
    """
    made = []
    for name, (width, height), objects in found:
        known = []
        for *corners, kind, ignored in objects:
            if kind in names:
                known.append((*corners, names[kind], ignored))
            else:
                damages.of_category(kind, name)
        made.append(example(find(name), width, height, known, damages))
    return sorted(made, key=lambda each: each.name)
