"""COCO's JSON: images, annotations and categories (cocodataset.org, "Data format")."""

import json

from nas_tf.detection.annotations import example
from nas_tf.trial import UserError, first_line

_MOST_BYTES = 1 << 30  # COCO's own largest file has 470 MB


def read(files, path):
    """Returns the parsed JSON of an annotation file.

    Args:
        files: the `nas_tf.datasets._image_files.ImageFiles` it is in.
        path: its path there.

    Raises:
        UserError: it is no JSON object with images, annotations and categories.
    """
    shown = files.path(path)
    try:
        with files.open(path, _MOST_BYTES) as file:
            value = json.load(file)
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        for name in ("images", "annotations", "categories"):
            if not isinstance(value.get(name), list) or not all(isinstance(each, dict) for each in value[name]):
                raise ValueError(f"no list {name!r} of objects")
    except Exception as error:  # zipfile, zlib, json and the reader of files each raise their own kinds
        raise UserError(
            f"Expected COCO's JSON with images, annotations and categories. Received: {shown}: {first_line(error)}"
        ) from error
    return value


def categories(value, where):
    """Returns a dict from the id of each category to its name, in the order of ids.

    Raises:
        UserError: a category has no id or name, or two share one.
    """
    found = {}
    for each in value["categories"]:
        number, name = each.get("id"), each.get("name")
        if not isinstance(number, int) or not isinstance(name, str) or number in found or name in found.values():
            raise UserError(f"Expected categories, each with an id and a name of its own. Received: {each} in {where}")
        found[number] = name
    if not found:
        raise UserError(f"Expected categories of objects. Received: none in {where}")
    return dict(sorted(found.items()))


def examples(value, names, where, find, damages):
    """Returns a list of `Example`s, in the order of the file names.

    Args:
        value: what `read` returned.
        names: dict from category id to label.
        where: the file, for messages.
        find: `find(file_name)` returns the path of an image.
        damages: the `nas_tf.detection.annotations.Damages`.

    Raises:
        UserError: an image is described wrongly, or an annotation is of no image.
    """
    images = {}
    for each in value["images"]:
        if "id" not in each or not isinstance(each.get("file_name"), str):
            raise UserError(f"Expected images, each with an id and a file_name. Received: {str(each)[:80]} in {where}")
        if each["id"] in images:
            raise UserError(f"Expected images with ids of their own. Received: id {each['id']} twice in {where}")
        images[each["id"]] = (each, [])
    for each in value["annotations"]:
        if each.get("image_id") not in images:
            raise UserError(f"Expected annotations of images. Received: image_id={each.get('image_id')!r} in {where}")
        image, objects = images[each["image_id"]]
        if each.get("category_id") not in names:
            damages.of_category(each.get("category_id"), image["file_name"])
            continue
        box = each.get("bbox")
        left, top, width, height = box if isinstance(box, list) and len(box) == 4 else (None,) * 4
        try:
            corners = left, top, left + width, top + height
        except TypeError:
            corners = (None,) * 4
        objects.append((*corners, names[each["category_id"]], bool(each.get("iscrowd"))))
    found = [
        example(find(image["file_name"]), image.get("width"), image.get("height"), objects, damages)
        for image, objects in images.values()
    ]
    return sorted(found, key=lambda each: each.name)
