"""Every mistake in the data is one clear line that names the thing, what was expected and what to do."""

import os
import shutil
import zipfile

import numpy as np
import pytest
from image_support import CLASSES, TEST_SIZES, TRAIN_SIZES, tfds_examples, write_images, write_tfds, write_zip
from PIL import Image

from nas_tf import plugins
from nas_tf.trial import UserError

NAMES = plugins.names("nas_tf.datasets")


def make(part, data_dir, /, image_size=8, num_samples=0, seed=0, **settings):
    part = plugins.Part("nas_tf.datasets", part, settings)
    return part.module.make(part.config, data_dir=data_dir, image_size=image_size, num_samples=num_samples, seed=seed)


def assert_refused(words, function, *arguments, **keywords):
    with pytest.raises(UserError) as caught:
        function(*arguments, **keywords)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pets"
    write_images(root / "train", "train", TRAIN_SIZES)
    write_images(root / "test", "test", TEST_SIZES)
    return root


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argument, value, least", [("image_size", 0, 1), ("num_samples", -1, 0), ("seed", -1, 0)])
def test_arguments_out_of_range(folder, name, argument, value, least):
    words = (f"Expected {argument} >= {least}", f"Received: {argument}={value}")
    assert_refused(words, make, name, folder, **{argument: value})


@pytest.mark.parametrize("name", ["image_folder", "tfds"])
def test_settings_out_of_range(folder, name):
    words = ("Expected fractions > 0", "together < 1", "validation_fraction=0.5, test_fraction=0.5")
    assert_refused(words, make, name, folder, validation_fraction=0.5, test_fraction=0.5)
    assert_refused(("max_memory_mb to be at least 0", "Received: -1"), make, name, folder, max_memory_mb=-1)


def test_digits_reads_no_folder(folder):
    assert_refused(("'digits' reads no folder", str(folder), "--dataset=image_folder"), make, "digits", folder)


def test_fewer_samples_than_classes(folder):
    words = ("--proxy_samples", "0 for all images, or at least one for each of the {} classes", "num_samples=2")
    for name, data_dir, classes in (("digits", None, 10), ("image_folder", folder, 3)):
        assert_refused([word.format(classes) for word in words], make, name, data_dir, num_samples=2)


def test_no_data_dir():
    assert_refused(("'image_folder' needs --data_dir", "Received: none"), make, "image_folder", None)


def test_missing_folder(tmp_path):
    words = ("Expected --data_dir to be a folder of class folders", f"There is no {str(tmp_path / 'gone')!r}")
    assert_refused(words, make, "image_folder", tmp_path / "gone")


def test_empty_folder(tmp_path):
    words = ("Expected a sub-folder of images for each class", repr(str(tmp_path)), "no sub-folder, 0 images")
    assert_refused(words, make, "image_folder", tmp_path)
    assert_refused(("no sub-folder",), make, "image_folder", write_zip(tmp_path / "nothing", tmp_path / "empty.zip"))


def test_images_without_class_folders(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "cat.png")
    words = ("no sub-folder, 1 images", "Sort the images into one folder for each class")
    assert_refused(words, make, "image_folder", tmp_path)


def test_a_class_without_images(folder):
    (folder / "train" / "dog" / "notes.txt").write_text("no image")
    for path in (folder / "train" / "dog").glob("*.png"):
        path.unlink()
    words = ("Expected images (.jpg,", f"none in {str(folder / 'train' / 'dog')!r}, 1 other files", "delete the folder")
    assert_refused(words, make, "image_folder", folder)


def test_one_class(tmp_path):
    write_images(tmp_path, "train", (10,))
    assert_refused(("Expected at least two classes", "Received: one, 'cat'"), make, "image_folder", tmp_path)


def test_fewer_images_of_a_class_than_splits(tmp_path):
    write_images(tmp_path, "train", (10, 2))
    words = ("at least 3 images of every class, one each for test, validation, train", "Received: 2 of class 'dog'")
    assert_refused(words, make, "image_folder", tmp_path)


def test_a_test_folder_with_other_classes(folder):
    (folder / "test" / "dog").rename(folder / "test" / "dogs")
    words = (str(folder / "test"), "to be those of", str(folder / "train"), "missing 'dog', extra 'dogs'")
    assert_refused(words, make, "image_folder", folder)


def damaged_images():
    """(file name, content, reason) of files that are no whole image."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    for suffix in ("jpg", "png", "bmp", "webp"):
        name = f"cut.{suffix}"
        noise.save(name)
        with open(name, "rb") as file:
            content = file.read()
        yield name, content[: len(content) // 2], ""
    yield "text.jpg", b"this is no image", "not a JPEG, PNG, BMP, GIF, WEBP, "
    yield "empty.png", b"", "not a JPEG, PNG, BMP, GIF, WEBP, "


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("split, when", [("test", "made"), ("train", "read")])
def test_unreadable_images(folder, tmp_path, monkeypatch, zipped, split, when):
    monkeypatch.chdir(tmp_path)
    for name, content, reason in damaged_images():
        # Two in a class of its own, which leaves one for training and one for validation.
        shutil.rmtree(folder / split / "eel")
        (folder / split / "eel").mkdir()
        for number in range(2):
            (folder / split / "eel" / f"{number}{name}").write_bytes(content)
        data_dir = write_zip(folder, tmp_path / "pets.zip") if zipped else folder
        place = f"pets/{split}/eel/"
        # All splits are looked through: 70 + 14 images, of which the ten or two of a class have become two.
        count = "2 of 84" if split == "test" else "2 of 76"
        words = ("Expected images that can be decoded", f"Received: {count}", place, name, reason, "Replace or delete")
        if when == "made":
            assert_refused(words, make, "image_folder", data_dir)
        else:
            assert_refused(words, make("image_folder", data_dir).train)
            stream = make("image_folder", data_dir, max_memory_mb=0).validation()
            batches = stream.batches(stream.num_examples)
            assert_refused((place, name), lambda batches=batches: batches[0])


def test_a_zip_whose_member_declares_too_much(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("nas_tf.datasets._image_files._MAX_FILE_BYTES", 2**20)
    (folder / "test" / "cat" / "bomb.png").write_bytes(bytes(3 * 2**20))
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    words = ("1 of 85", "test/cat/bomb.png", "3 MiB, expected at most 1")
    assert_refused(words, make, "image_folder", tmp_path / "pets.zip")


def test_a_damaged_zip(folder, tmp_path):
    path = write_zip(folder, tmp_path / "pets.zip")
    path.write_bytes(path.read_bytes()[:1000])
    words = ("Expected --data_dir to be a folder, or a .zip that is whole", "pets.zip", "Copy or download it again")
    assert_refused(words, make, "image_folder", path)


def test_a_damaged_member_of_a_zip(folder, tmp_path):
    path = write_zip(folder, tmp_path / "pets.zip")
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("pets/test/eel/000.png")
    content = bytearray(path.read_bytes())
    content[member.header_offset + 30 + len(member.filename) + member.file_size // 2] ^= 255
    path.write_bytes(content)
    assert_refused(("1 of 84", "pets/test/eel/000.png", "Bad CRC-32"), make, "image_folder", path)


@pytest.mark.real
def test_tfds_data_that_are_not_there(tmp_path):
    words = ("Expected --tfds_name to be a TFDS data set", "name='no_such_set'", str(tmp_path), "no_such_set not found")
    assert_refused(words, make, "tfds", tmp_path, name="no_such_set")
    words = ("'cifar10'", str(tmp_path / "cifar10"), "--tfds_download", "tfds build cifar10", "--data_dir")
    assert_refused(words, make, "tfds", tmp_path)
    assert_refused(("cifar10:9.9.9", "9.9.9"), make, "tfds", tmp_path, name="cifar10:9.9.9")


@pytest.mark.real
def test_tfds_download_without_a_network(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def download_and_prepare(self):
        raise ConnectionError("no route to host\nmore about it")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download_and_prepare)
    words = ("'cifar10' could not be downloaded", "(ConnectionError: no route to host)", "Check the network")
    assert_refused(words, make, "tfds", tmp_path, download=True)


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    """Data sets that TFDS wrote, by name, each with its own fault: `unlabelled`, `far`, `lonely`; and `sound`."""
    import tensorflow_datasets as tfds

    root = tmp_path_factory.mktemp("faults")
    examples = tfds_examples(write_images(root / "images", "train", (6, 6, 6)))
    image, label = tfds.features.Image(shape=(None, None, 3)), tfds.features.ClassLabel(names=CLASSES)
    write_tfds("sound", root, {"train": examples, "test": examples[::2]})
    write_tfds("far", root, {"train": examples, "test": [{**each, "label": -1} for each in examples]})
    digits = [{"picture": each["image"], "label": each["label"]} for each in examples]
    write_tfds("unlabelled", root, {"train": digits}, {"picture": image, "label": label})
    write_tfds("lonely", root, {"train": examples[:10]})
    return root


@pytest.mark.real
def test_tfds_without_image_or_label(tfds_folder):
    words = ("features image (Image) and label (ClassLabel)", "unlabelled/1.0.0 with label (ClassLabel), picture (I")
    assert_refused(words, make, "tfds", tfds_folder, name="unlabelled")


@pytest.mark.real
@pytest.mark.parametrize("max_memory_mb", [0, 4096])
def test_tfds_labels_out_of_range(tfds_folder, max_memory_mb):
    words = ("Expected labels from 0 to 2", "far/1.0.0", "'test'", "Received: -1, and 18 of 18", "another split")
    assert_refused(words, make, "tfds", tfds_folder, name="far", max_memory_mb=max_memory_mb)


@pytest.mark.real
def test_tfds_splits(tfds_folder):
    words = ("Expected test_split to be one of", "train, test, or a slice", "Received: test_split='valid'")
    assert_refused(words, make, "tfds", tfds_folder, name="sound", test_split="valid")
    words = ("splits that differ", "train_split='train', test_split='train'")
    assert_refused(words, make, "tfds", tfds_folder, name="sound", test_split="train")
    words = ("Nothing can be drawn from a slice", "train_split='train[:10]'", "--tfds_validation_split")
    assert_refused(words, make, "tfds", tfds_folder, name="sound", train_split="train[:10]", max_memory_mb=0)


@pytest.mark.real
@pytest.mark.parametrize("max_memory_mb", [0, 4096])
def test_tfds_too_few_samples(tfds_folder, max_memory_mb):
    words = ("at least one for each of the 3 classes", "num_samples=2")
    assert_refused(words, make, "tfds", tfds_folder, name="sound", num_samples=2, max_memory_mb=max_memory_mb)
    words = ("at least 3 images of every class", "Received: 0 of class 'eel'")
    assert_refused(words, make, "tfds", tfds_folder, name="lonely") if max_memory_mb else None


@pytest.mark.real
def test_tfds_damaged_records(tfds_folder, tmp_path):
    shutil.copytree(tfds_folder / "sound", tmp_path / "sound")
    path = next((tmp_path / "sound" / "1.0.0").glob("*test.tfrecord*"))
    os.truncate(path, path.stat().st_size - 10)
    words = ("Expected a whole TFDS data set", str(path.parent), "Delete that folder and prepare the data set again")
    assert_refused(words, make, "tfds", tmp_path, name="sound")
