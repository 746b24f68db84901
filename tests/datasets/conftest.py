"""Data sets of every part, of images made up here."""

import pytest
from image_support import CLASSES, SIZE, TEST_SIZES, TRAIN_SIZES, tfds_examples, write_images, write_tfds

from nas_tf import plugins


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images") / "pets"
    write_images(root / "train", "train", TRAIN_SIZES)
    write_images(root / "test", "test", TEST_SIZES)
    return root


@pytest.fixture(scope="session")
def tfds_folder(folder, tmp_path_factory):
    pairs = {
        split: [(path, CLASSES.index(path.parent.name)) for path in sorted((folder / split).rglob("*.png"))]
        for split in ("train", "test")
    }
    return write_tfds("pets", tmp_path_factory.mktemp("tfds"), {k: tfds_examples(v) for k, v in pairs.items()})


@pytest.fixture
def make(request):
    """make(part, ...) -> Dataset; a data set that needs data of the user's gets those made up here."""

    def make(part, /, image_size=SIZE, num_samples=0, seed=0, data_dir=None, race_fraction=0.0, **settings):
        if part == "image_folder":
            data_dir = data_dir or request.getfixturevalue("folder")
        elif part == "tfds":
            data_dir = data_dir or request.getfixturevalue("tfds_folder")
            settings = {"name": "pets", **settings}
        part = plugins.Part("nas_tf.datasets", part, settings)
        return part.module.make(
            part.config,
            data_dir=data_dir,
            image_size=image_size,
            num_samples=num_samples,
            seed=seed,
            race_fraction=race_fraction,
        )

    return make
