"""Made-up images as people and as TFDS keep them.

They are of one colour each, (50 x label, number, 100 for train or 200 for test), which resizing keeps: pixels tell
which image stands where.
"""

import os
import zipfile

from PIL import Image

CLASSES = ("cat", "dog", "eel")
TRAIN_SIZES, TEST_SIZES = (40, 20, 10), (8, 4, 2)
SIZE = 8


def colour(label, number, split):
    return (50 * label, number, {"train": 100, "test": 200}[split])


def write_images(folder, split, sizes, shape=(9, 12)):
    """Writes `folder/{class}/{number}.png`; gives the paths with their labels."""
    examples = []
    for label, count in enumerate(sizes):
        (folder / CLASSES[label]).mkdir(parents=True)
        for number in range(count):
            path = folder / CLASSES[label] / f"{number:03}.png"
            Image.new("RGB", shape, colour(label, number, split)).save(path)
            examples.append((path, label))
    return examples


def write_zip(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def write_tfds(name, data_dir, examples, features=None):
    """Has TFDS write `{split: [example]}` as it writes any data set of its own."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    features = features or {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=CLASSES),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name,
        "1.0.0",
        tfds.features.FeaturesDict(features),
        data_dir=data_dir,
        split_datasets={split: list(enumerate(each)) for split, each in examples.items()},
    )
    return data_dir


def tfds_examples(pairs):
    return [{"image": os.fspath(path), "label": label} for path, label in pairs]
