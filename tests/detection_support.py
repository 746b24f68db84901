"""Annotated images for tests of detection: coloured rectangles on grey, in COCO's and Pascal VOC's form."""

import io
import json
import zipfile

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30)}
NAMES = tuple(COLOURS)
# Blocks of a network with maps at strides 8, 16 and 32 that traces in seconds.
BLOCKS = (
    "r1_k3_s11_e1_i8_o8_noskip r1_k3_s22_e2_i8_o8 r1_k3_s22_e2_i8_o8 r1_k3_s22_e2_i8_o16 r1_k3_s22_e2_i16_o16 head32"
)


def make_images(count, size=64, seed=0):
    """A list of `(uint8 image, list of (label, (left, top, width, height)))`; every fourth image has no object."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        image, objects = rng.integers(90, 160, (size, size, 3)).astype("uint8"), []
        for _ in range(rng.integers(1, 3) if number % 4 else 0):
            width, height = (int(each) for each in rng.integers(size // 4, size // 2, 2))
            left, top = int(rng.integers(0, size - width)), int(rng.integers(0, size - height))
            label = int(rng.integers(len(NAMES)))
            image[top : top + height, left : left + width] = COLOURS[NAMES[label]]
            objects.append((label, (left, top, width, height)))
        found.append((image, objects))
    return found


def coco(images):
    """COCO's value of some images, whose files are `NNN.png`."""
    annotations = [
        {"image_id": number, "category_id": 10 * (label + 1), "bbox": list(box), "iscrowd": 0}
        for number, (_, objects) in enumerate(images)
        for label, box in objects
    ]
    return {
        "images": [
            {"id": number, "file_name": f"{number:03d}.png", "width": image.shape[1], "height": image.shape[0]}
            for number, (image, _) in enumerate(images)
        ],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, 1)],
        "categories": [{"id": 10 * (label + 1), "name": name} for label, name in enumerate(NAMES)],
    }


def voc(image, objects, name):
    """Pascal VOC's XML of one image."""
    boxes = "".join(
        f"<object><name>{NAMES[label]}</name><difficult>0</difficult><bndbox><xmin>{left + 1}</xmin>"
        f"<ymin>{top + 1}</ymin><xmax>{left + width}</xmax><ymax>{top + height}</ymax></bndbox></object>"
        for label, (left, top, width, height) in objects
    )
    height, width, _ = image.shape
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{boxes}</annotation>"


def png(image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def write_coco(path, splits, change=lambda value, split: value):
    """Writes a folder, or a .zip, of images in COCO's form.

    Args:
        path: of the folder or .zip.
        splits: dict from split to its images (`make_images`); the split `""` is that of data which name none.
        change: `change(value, split)` returns what to write in place of COCO's value.
    """
    files = {}
    for split, images in splits.items():
        folder = f"{split}/" if split else ""
        files[f"annotations/instances{'_' if split else ''}{split}.json"] = json.dumps(change(coco(images), split))
        files |= {f"{folder}{number:03d}.png": png(image) for number, (image, _) in enumerate(images)}
    return write(path, files)


def write_voc(path, images, lists=None):
    """Writes a folder of images in Pascal VOC's form; `lists` is a dict from split to the numbers of its images."""
    files = {}
    for number, (image, objects) in enumerate(images):
        files[f"JPEGImages/{number:03d}.png"] = png(image)
        files[f"Annotations/{number:03d}.xml"] = voc(image, objects, f"{number:03d}.png")
    for split, numbers in (lists or {}).items():
        files[f"ImageSets/Main/{split}.txt"] = "".join(f"{number:03d}\n" for number in numbers)
    return write(path, files)


def write(path, files):
    """Writes a dict from name to content into a folder, or into a .zip, and returns its path."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
