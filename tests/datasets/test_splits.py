"""What is said of splits before anything is trained: their sizes, their largest class, their identity, their copies."""

import hashlib
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from image_support import CLASSES, TEST_SIZES, TRAIN_SIZES, tfds_examples, write_images, write_tfds, write_zip
from support import CIFAR10_JPEG
from toy_networks import PARTS

from nas_tf import plugins
from nas_tf.datasets import Dataset, Source, _image_files
from nas_tf.datasets._partition import drawn_fractions
from nas_tf.trial import UserError

NAMES = plugins.names("nas_tf.datasets")
CLOTHING = CIFAR10_JPEG.with_name("clothing.zip")


@pytest.fixture
def toy():
    part = plugins.Part("nas_tf.datasets", str(PARTS / "toy_dataset.py"))
    return part.make(data_dir=None, image_size=8, num_samples=0, seed=0)


@pytest.fixture
def pets(tmp_path):
    """A folder with images of `train` and `test`, no two of them alike."""
    root = tmp_path / "pets"
    write_images(root / "train", "train", TRAIN_SIZES)
    write_images(root / "test", "test", TEST_SIZES)
    return root


@pytest.mark.parametrize(
    "num_images,num_validation",
    [
        (50_000, 5_000),
        (10_000, 1_000),
        (9_999, 1_000),  # a tenth is less than 1,000
        (5_000, 1_000),
        (4_000, 800),  # 1,000 would leave less than four fifths
        (70, 14),
    ],
)
def test_the_default_validation_split(num_images, num_validation):
    fractions = drawn_fractions({"test": 0.1, "validation": None}, num_images)
    assert fractions["validation"] * num_images == pytest.approx(num_validation)
    assert fractions["test"] == 0.1
    assert drawn_fractions({"validation": 0.3}, num_images) == {"validation": 0.3}
    assert drawn_fractions({}, num_images) == {}


@pytest.mark.parametrize("name", ["image_folder", "tfds"])
def test_the_validation_split_of_few_images(make, name):
    dataset = make(name)
    assert dataset.describe()["num_examples"] == {"train": 56, "validation": 14, "test": 14}
    assert "validation (0.2)" in dataset.describe()["splits"]
    dataset = make(name, validation_fraction=0.1)
    assert dataset.describe()["num_examples"] == {"train": 63, "validation": 7, "test": 14}
    assert "validation (0.1)" in dataset.describe()["splits"]


def test_the_validation_split_of_some_thousand_images(make, folder, tmp_path):
    content = (folder / "train" / "cat" / "000.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(6000):
            archive.writestr(f"{'even' if number % 2 == 0 else 'odd'}/{number}.png", content)
    facts = make("image_folder", data_dir=tmp_path / "many.zip").describe()
    assert facts["num_examples"] == {"train": 4400, "validation": 1000, "test": 600}
    assert "test (0.1), validation (0.166667)" in facts["splits"]


@pytest.mark.parametrize("name", ["image_folder", "tfds"])
def test_something_remains_for_training(make, name, tmp_path):
    examples = write_images(tmp_path / "train", "train", TRAIN_SIZES)
    data_dir = write_tfds("pets", tmp_path / "made", {"train": tfds_examples(examples)}) if name == "tfds" else tmp_path
    with pytest.raises(UserError) as caught:
        make(name, data_dir=data_dir, test_fraction=0.85)
    assert "together < 1. Received: test_fraction=0.85, validation_fraction=0.2" in str(caught.value)
    # The split that is not drawn takes nothing away.
    assert make(name, test_fraction=0.85).describe()["num_examples"]["train"] == 56


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_those_of_the_images_and_need_none_of_them(make, name, monkeypatch):
    dataset = make(name, num_samples=23)
    expected = {split: dataset.read(split).labels for split in ("train", "validation", "test")}
    dataset = make(name, num_samples=23)
    monkeypatch.setattr(type(dataset), "read", lambda self, split: pytest.fail("images were read"))
    for split, labels in expected.items():
        known = dataset.labels(split)
        assert known is None or (known.dtype == np.int32 and known.tolist() == labels.tolist())
        share = max(labels.tolist().count(label) for label in labels) / len(labels)
        assert dataset.largest_class(split) == (1 / dataset.num_classes if known is None else share)


def test_the_largest_class_of_a_split(make):
    # 8 of 14 images show a cat, in the fifth of the training images and in the test folder.
    for name in ("image_folder", "tfds"):
        assert make(name).largest_class() == make(name).largest_class("test") == 8 / 14
    assert make("image_folder", max_memory_mb=0).largest_class("test") == 8 / 14
    # Of scikit-learn's 1,797 digits 183 are a 3, and each split of 359 has its share to within one image.
    for split in ("validation", "test"):
        assert make("digits").largest_class(split) == pytest.approx(183 / 1797, abs=1 / 359)


def test_the_largest_class_where_labels_are_not_known(make, toy):
    for dataset in (make("tfds", max_memory_mb=0), toy):
        assert dataset.labels("validation") is None
        assert dataset.largest_class() == dataset.largest_class("test") == 1 / 3


def test_the_largest_class_of_a_split_without_images(toy, monkeypatch):
    monkeypatch.setattr(type(toy), "labels", lambda self, split: np.empty(0, np.int32))
    assert toy.largest_class("test") == 1 / 3


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_the_description_and_the_largest_classes(make, name):
    dataset = make(name)
    facts = json.loads(json.dumps(dataset.facts()))
    shares = facts.pop("largest_class")
    assert facts == dataset.describe()
    assert shares == {split: dataset.largest_class(split) for split in ("validation", "test")}


@pytest.mark.parametrize("name", NAMES)
def test_the_digest_is_that_of_the_data(make, name):
    digest = make(name).describe()["digest"]
    assert len(digest) == 16 and int(digest, 16) >= 0
    assert make(name, image_size=12, num_samples=23, seed=5).describe()["digest"] == digest
    if name != "digits":
        assert make(name, max_memory_mb=0, validation_fraction=0.3).describe()["digest"] == digest


def test_the_digest_of_a_folder_does_not_depend_on_its_place(make, pets, tmp_path):
    def digest(data_dir):
        return make("image_folder", data_dir=data_dir).describe()["digest"]

    expected = digest(pets)
    assert digest(os.fspath(tmp_path)) == digest(write_zip(pets, tmp_path / "pets.zip")) == expected
    moved = shutil.copytree(pets, tmp_path / "elsewhere" / "animals")
    assert digest(moved) == expected
    (moved / "train" / "notes.txt").write_text("no image")
    assert digest(moved) == expected
    image = moved / "train" / "cat" / "000.png"
    with image.open("ab") as file:
        file.write(b"\0")  # one byte longer
    longer = digest(moved)
    shutil.copy(pets / "train" / "cat" / "000.png", image)
    assert digest(moved) == expected
    image.rename(image.with_name("new.png"))
    renamed = digest(moved)
    image.with_name("new.png").unlink()
    assert len({expected, longer, renamed, digest(moved)}) == 4


@pytest.mark.real
def test_the_digest_of_a_tfds_data_set(make, folder, tfds_folder, tmp_path):
    digest = make("tfds").describe()["digest"]
    assert make("tfds", data_dir=tfds_folder / "pets" / "1.0.0").describe()["digest"] == digest
    moved = shutil.copytree(tfds_folder, tmp_path / "moved")
    assert make("tfds", data_dir=moved).describe()["digest"] == digest
    examples = [(path, CLASSES.index(path.parent.name)) for path in sorted((folder / "train").rglob("*.png"))]
    fewer = {"train": tfds_examples(examples[:-1]), "test": tfds_examples(examples[::5])}
    assert make("tfds", data_dir=write_tfds("pets", tmp_path / "other", fewer)).describe()["digest"] != digest


def copy_files(root, pairs):
    for original, copy in pairs:
        shutil.copy(root / original, root / copy)


@pytest.mark.parametrize("zipped", [False, True])
def test_copies_of_training_images_are_counted(make, pets, tmp_path, zipped):
    write_images(pets / "val", "test", TEST_SIZES)  # as the test images, which is no harm
    copy_files(pets, [("train/cat/007.png", "val/cat/a.png"), ("train/cat/007.png", "val/cat/b.png")])
    copy_files(pets, [("train/dog/003.png", "val/eel/c.png"), ("train/dog/003.png", "test/dog/d.png")])
    data_dir = write_zip(pets, tmp_path / "pets.zip") if zipped else pets
    for num_samples in (0, 3):
        dataset = make("image_folder", data_dir=data_dir, num_samples=num_samples, allow_test_in_train=True)
        assert dataset.copies() == {"validation": 3, "test": 1}


@pytest.mark.parametrize("zipped", [False, True])
def test_test_images_among_the_training_images_are_refused(make, pets, tmp_path, zipped):
    copy_files(pets, [("train/cat/007.png", f"test/cat/{name}.png") for name in ("a", "b")])
    copy_files(pets, [("train/eel/009.png", "test/dog/c.png")])
    above = "pets/" if zipped else ""
    # None is drawn for validation, so that both images stay training images.
    write_images(pets / "val", "test", TEST_SIZES)
    data_dir = write_zip(pets, tmp_path / "pets.zip") if zipped else pets
    dataset = make("image_folder", data_dir=data_dir)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            dataset.copies()
        assert str(caught.value) == (
            "Expected test images that are not trained on. Received: 3 of 17 test images that are also training "
            f"images, the first '{above}test/cat/a.png' = '{above}train/cat/007.png'. Remove them, or give "
            "--allow_test_in_train"
        )


def test_a_folder_without_copies(make, pets):
    dataset = make("image_folder", data_dir=pets)
    assert dataset.copies() == {}
    assert dataset.summary() == f"image_folder: 56 train, 14 validation, 14 test images of 3 classes, from {pets}"


def test_copies_are_said(make, pets):
    write_images(pets / "val", "test", TEST_SIZES)
    copy_files(pets, [("train/cat/007.png", "val/cat/a.png"), ("train/dog/003.png", "test/dog/d.png")])
    assert make("image_folder", data_dir=pets, allow_test_in_train=True).summary() == (
        f"image_folder: 70 train, 15 validation, 15 test images of 3 classes, from {pets}; "
        "1 of 15 validation images are training images too; 1 of 15 test images are training images too"
    )
    with pytest.raises(UserError, match="Expected test images that are not trained on"):
        make("image_folder", data_dir=pets).summary()


def test_copies_within_drawn_splits(make, tmp_path):
    # One picture 10 times: of its class 2 are drawn for validation and 1 for testing.
    write_images(tmp_path, "train", (10, 10))
    for number in range(1, 10):
        shutil.copy(tmp_path / "cat" / "000.png", tmp_path / "cat" / f"{number:03}.png")
    assert make("image_folder", data_dir=tmp_path).copies() == {"validation": 2, "test": 1}


def test_files_of_one_size_are_copies_only_if_their_content_is_one(make, pets):
    write_images(pets / "val", "test", TEST_SIZES)
    content = (pets / "train" / "cat" / "000.png").read_bytes()
    (pets / "train" / "cat" / "one.png").write_bytes(content + b"1")
    (pets / "val" / "cat" / "two.png").write_bytes(content + b"2")
    assert make("image_folder", data_dir=pets).copies() == {}
    (pets / "val" / "cat" / "two.png").write_bytes(content + b"1")
    assert make("image_folder", data_dir=pets).copies() == {"validation": 1}


def test_only_files_of_one_size_are_read_and_only_once(make, pets, monkeypatch):
    write_images(pets / "val", "test", TEST_SIZES)
    for number, path in enumerate(sorted(pets.rglob("*.png"))):
        with path.open("ab") as file:
            file.write(bytes(20 * number))  # PNGs of one colour differ by less
    copy_files(pets, [("train/dog/003.png", "val/cat/a.png")])
    opened = []
    open_file = _image_files._Folder.open
    monkeypatch.setattr(
        _image_files._Folder, "open", lambda self, name: (opened.append(name), open_file(self, name))[1]
    )
    dataset = make("image_folder", data_dir=pets)
    assert all(name.startswith("test/") for name in opened)  # making one reads no other image
    opened.clear()
    assert dataset.copies() == dataset.copies() == {"validation": 1}
    assert sorted(opened) == ["train/dog/003.png", "val/cat/a.png"]


def test_a_damaged_zip_is_said_where_copies_are_counted(make, pets, tmp_path):
    write_images(pets / "val", "test", TEST_SIZES)
    copy_files(pets, [("train/dog/003.png", "val/cat/a.png")])
    path = write_zip(pets, tmp_path / "pets.zip")
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("pets/train/dog/003.png")
    content = bytearray(path.read_bytes())
    content[member.header_offset + 30 + len(member.filename) + member.file_size // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"1 of 99 that cannot, the first '.*train/dog/003\.png' \(Bad CRC-32"):
        make("image_folder", data_dir=path).copies()


def test_a_link_that_leads_nowhere(make, pets):
    (pets / "train" / "cat" / "lost.png").symlink_to(pets / "gone.png")
    dataset = make("image_folder", data_dir=pets)
    for ask in (dataset.describe, dataset.copies):
        with pytest.raises(UserError, match=r"1 of .* that cannot, the first '.*lost\.png' \(No such file"):
            ask()
    (pets / "test" / "cat" / "lost.png").symlink_to(pets / "gone.png")
    with pytest.raises(UserError, match=r"2 of 86 that cannot, the first '.*lost\.png' \(No such file"):
        make("image_folder", data_dir=pets)


def test_data_sets_that_do_not_compare_images(make, toy):
    assert toy.copies() == make("digits").copies() == make("tfds").copies() == {}
    assert type(toy).copies is Dataset.copies


def test_the_flag_that_allows_test_images_in_train():
    part = plugins.Part("nas_tf.datasets", "image_folder", {"allow_test_in_train": True})
    assert part.flags() == {"allow_test_in_train": True}
    assert part.config.allow_test_in_train and not part.module.Config().allow_test_in_train


@pytest.mark.skipif(not CLOTHING.exists(), reason=f"needs {CLOTHING}")
def test_photographs_of_clothes(make, tmp_path):
    with zipfile.ZipFile(CLOTHING) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        sizes = {split: [m for m in files if m.filename.startswith(f"{split}/")] for split in ("validation", "test")}
        classes = {split: [m.filename.split("/")[1] for m in members] for split, members in sizes.items()}
        archive.extractall(tmp_path)
    assert len({member.CRC for member in files}) == len(files)  # no two photographs are one
    zipped, dataset = make("image_folder", data_dir=CLOTHING), make("image_folder", data_dir=tmp_path)
    assert zipped.copies() == dataset.copies() == {}
    assert zipped.describe()["digest"] == dataset.describe()["digest"]
    for split, names in classes.items():
        assert dataset.largest_class(split) == max(map(names.count, names)) / len(names)


@pytest.mark.parametrize(
    "name,settings", [("image_folder", {}), ("digits", {}), ("tfds", {}), ("tfds", {"max_memory_mb": 0})]
)
def test_the_race_is_run_on_images_that_nothing_else_has(make, name, settings):
    """Portions never meet, told by the images' own digests; validation and test stay what they are without a race."""
    plain, dataset = make(name, **settings), make(name, race_fraction=0.2, **settings)
    digests = {split: image_digests(dataset, split) for split in ("train", "validation", "test", "race")}
    total = sum(map(len, digests.values()))
    assert len(set().union(*digests.values())) == total == sum(plain.describe()["num_examples"].values())
    assert dataset.describe()["num_examples"] == {split: len(each) for split, each in digests.items()}
    for split in ("validation", "test"):
        assert image_digests(plain, split) == digests[split]
    num_train = plain.describe()["num_examples"]["train"]
    assert len(digests["race"]) == pytest.approx(
        0.2 * (total if name == "digits" else num_train + len(digests["validation"])), abs=1
    )
    few = make(name, race_fraction=0.2, num_samples=20, **settings)
    assert image_digests(few, "race") == digests["race"] and len(image_digests(few, "train")) == 20
    assert dataset.race().num_examples == len(digests["race"])


def image_digests(dataset, split):
    return {
        hashlib.sha256(np.asarray(image).tobytes()).digest()
        for batch, _ in dataset.read(split).batches(16)
        for image in batch
    }


def test_a_data_set_that_divides_off_no_race_is_refused():
    source = Source(plugins.Part("nas_tf.datasets", str(PARTS / "toy_dataset.py")), "", 0, race_fraction=0.2)
    with pytest.raises(UserError, match=r"`make` takes race_fraction\. Received: .*toy_dataset\.py"):
        source.make(8)
