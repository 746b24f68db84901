"""Makes annotated scenes to train a detector on: CIFAR-10 images pasted at random places and sizes on backgrounds.

python -m benchmarks.scenes --data_dir=cifar10_jpeg.zip --out=scenes.zip

Objects of three classes; a background is an image of another class, much enlarged and under noise. Train and validation
scenes are made of train images, each used once, test scenes of test images. The zip is in COCO's form.
"""

import dataclasses
import io
import json
import os
import pathlib
import sys
import zipfile

import numpy as np

from nas_tf import flags
from nas_tf.settings import Settings, knob
from nas_tf.trial import UserError

CLASSES = ("automobile", "cat", "ship")
_LEAST_SHARE, _MOST_SHARE = 0.18, 0.55  # of an object's side in the scene's
_MOST_STRETCH = 1.35
_MOST_SHARED = 0.15  # of the smaller box's area
_NOISE = 12.0  # deviation, of 255
_DATE = (2026, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "cifar10_jpeg.zip.", path=True, required="the zip of CIFAR-10 as JPEG images")
    out: str = knob("scenes.zip", "The zip to write.", path=True)
    train: int = knob(1400, "Training scenes.", least=1)
    validation: int = knob(200, "Validation scenes.", least=1)
    test: int = knob(400, "Test scenes.", least=1)
    size: int = knob(128, "Height and width of a scene in pixels.", least=32)
    most_objects: int = knob(4, "Objects in a scene at most; one at least.", least=1)
    seed: int = knob(0, "Decides all of it.", least=0)


def make_scenes(knobs):
    """Writes the zip, whole or not at all, and returns a dict from split to the numbers of its scenes and objects."""
    counts, out = {}, pathlib.Path(knobs.out)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(knobs.data_dir) as source, zipfile.ZipFile(temporary, "w") as target:
            pools = {folder: _Pool(source, folder, knobs.seed) for folder in ("train", "test")}
            for number, split in enumerate(("train", "validation", "test")):
                rng = np.random.default_rng((knobs.seed, number))
                pool = pools["test" if split == "test" else "train"]
                counts[split] = _write_split(target, split, getattr(knobs, split), pool, knobs, rng)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return counts


class _Pool:
    """The images of a folder of CIFAR-10: objects once each, backgrounds as often as they are drawn."""

    def __init__(self, source, folder, seed):
        self._source, rng = source, np.random.default_rng((seed, len(folder)))
        names = sorted(name for name in source.namelist() if name.endswith(".jpg") and f"/{folder}/" in f"/{name}")
        by_class = {each: [name for name in names if f"/{each}/" in name] for each in CLASSES}
        if not all(by_class.values()):
            raise UserError(f"Expected images of {', '.join(CLASSES)} in {folder}/. Received: {source.filename}")
        self._objects = {each: iter(rng.permutation(found)) for each, found in by_class.items()}
        self._backgrounds = [name for name in names if not any(f"/{each}/" in name for each in CLASSES)]

    def object(self, kind):
        name = next(self._objects[kind], None)
        if name is None:
            raise UserError(f"Expected fewer scenes: every image of {kind} is used")
        return self._open(name)

    def background(self, rng):
        return self._open(self._backgrounds[rng.integers(len(self._backgrounds))])

    def _open(self, name):
        from PIL import Image

        return Image.open(io.BytesIO(self._source.read(name))).convert("RGB")


def _write_split(target, split, count, pool, knobs, rng):
    images, annotations = [], []
    for number in range(count):
        scene, objects = make_scene(pool, knobs.size, knobs.most_objects, rng)
        name, content = f"{number:05d}.jpg", io.BytesIO()
        scene.save(content, "JPEG", quality=92)
        target.writestr(zipfile.ZipInfo(f"scenes/{split}/{name}", _DATE), content.getvalue())
        images.append({"id": number, "file_name": name, "width": knobs.size, "height": knobs.size})
        for label, (left, top, width, height) in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    value = {"images": images, "annotations": annotations, "categories": categories}
    target.writestr(zipfile.ZipInfo(f"scenes/annotations/instances_{split}.json", _DATE), json.dumps(value))
    return count, len(annotations)


def make_scene(pool, size, most_objects, rng):
    """Returns `(PIL image, list of (label, (left, top, width, height)))` of one scene, in pixels."""
    from PIL import Image

    side = rng.integers(12, 25)
    left, top = rng.integers(0, 32 - side + 1, 2)
    crop = pool.background(rng).crop((left, top, left + side, top + side))
    field = np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC), "float32")
    noisy = np.clip(field + rng.normal(0, _NOISE, field.shape), 0, 255).astype("uint8")
    scene, objects = Image.fromarray(noisy), []
    for _ in range(rng.integers(1, most_objects + 1)):
        box = _place(size, [each for _, each in objects], rng)
        if box is not None:
            label = int(rng.integers(len(CLASSES)))
            pasted = pool.object(CLASSES[label]).resize(box[2:], Image.Resampling.BICUBIC)
            scene.paste(pasted, box[:2])
            objects.append((label, box))
    return scene, objects


def _place(size, taken, rng):
    """Returns a box (left, top, width, height) that hides no other by more than a little, or None."""
    for _ in range(30):
        side, stretch = rng.uniform(_LEAST_SHARE, _MOST_SHARE) * size, rng.uniform(1 / _MOST_STRETCH, _MOST_STRETCH)
        width, height = int(side * stretch**0.5), int(side / stretch**0.5)
        left, top = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
        box = left, top, width, height
        if all(_shared(box, other) <= _MOST_SHARED for other in taken):
            return box
    return None


def _shared(one, other):
    sides = [min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) for i in (0, 1)]
    return max(sides[0], 0) * max(sides[1], 0) / min(one[2] * one[3], other[2] * other[3])


def main():
    for split, (scenes, objects) in make_scenes(flags.read(Knobs)).items():
        print(f"{split}: {scenes:,} scenes, {objects:,} objects")
    print(f"command: python -m benchmarks.scenes {' '.join(sys.argv[1:])}")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
