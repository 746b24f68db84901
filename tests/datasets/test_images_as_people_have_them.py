"""Folders and zips as people have them: odd names, odd places, odd files. Nothing is left out without a word."""

import io
import os
import pathlib
import re
import shutil
import socket
import struct
import tempfile
import threading
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from image_support import CLASSES, write_images, write_zip
from PIL import Image

from nas_tf import plugins
from nas_tf.datasets import _decoding
from nas_tf.datasets._image_files import open_files
from nas_tf.trial import UserError

PER_CLASS = 4


def image_bytes(number, format="PNG", size=(9, 12)):
    file = io.BytesIO()
    Image.new("RGB", size, (number, 0, 0)).save(file, format)
    return file.getvalue()


def write_members(path, names):
    """Writes a zip of an image under each name, no two alike; names are written as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(zipfile.ZipInfo(name), image_bytes(number))
    return path


def members(pattern, classes=("cat", "dog")):
    return [pattern.format(each, number) for each in classes for number in range(PER_CLASS)]


def fill(folder, classes=("cat", "dog"), count=PER_CLASS, first=0):
    for label, each in enumerate(classes):
        (folder / each).mkdir(parents=True)
        for number in range(count):
            (folder / each / f"{number}.png").write_bytes(image_bytes(first + label * count + number))
    return folder


def num_images(dataset):
    return sum(dataset.describe()["num_examples"].values())


def refused(function, *arguments, **keywords):
    """Calls a function that must raise a `UserError` of one line, and returns that line."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()
    return str(caught.value)


@pytest.fixture
def pets(tmp_path):
    """70 training and 14 test images of three classes."""
    write_images(tmp_path / "pets" / "train", "train", (40, 20, 10))
    write_images(tmp_path / "pets" / "test", "test", (8, 4, 2))
    return tmp_path / "pets"


@pytest.mark.parametrize(
    "pattern", ["./{}/{}.png", "/{}/{}.png", "pets\\{}\\{}.png", ".\\pets\\{}\\{}.png", "a//{}/{}.png"]
)
def test_names_of_zip_members(make, tmp_path, pattern):
    dataset = make("image_folder", data_dir=write_members(tmp_path / "pets.zip", members(pattern)))
    assert dataset.class_names == ("cat", "dog") and num_images(dataset) == 2 * PER_CLASS
    plain = make("image_folder", data_dir=write_members(tmp_path / "plain.zip", members("{}/{}.png")))
    assert dataset.describe()["digest"] == plain.describe()["digest"]
    assert np.array_equal(dataset.train().images, plain.train().images)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_counts_once_and_the_last_one_counts(make, tmp_path):
    names = members("{}/{}.png")
    path = write_members(tmp_path / "twice.zip", [*names, names[0], f"./{names[0]}"])
    dataset = make("image_folder", data_dir=path)
    assert num_images(dataset) == 2 * PER_CLASS
    pixels = {image[0, 0, 0] for split in ("train", "validation", "test") for image in dataset.read(split).images}
    assert pixels == {9, *range(1, 8)}  # images are numbered in their red
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert make("image_folder", data_dir=tmp_path / "unpacked").describe()["digest"] == dataset.describe()["digest"]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("wrapping", ["pets", "pets/pets", "a/b/c/d/e/f", "seg_train/seg_train", "train/train"])
def test_folders_wrapped_any_number_of_times(make, tmp_path, wrapping, zipped):
    fill(tmp_path / "root" / wrapping)
    data_dir = write_zip(tmp_path / "root", tmp_path / "pets.zip") if zipped else tmp_path / "root"
    dataset = make("image_folder", data_dir=data_dir)
    assert dataset.class_names == ("cat", "dog") and num_images(dataset) == 2 * PER_CLASS
    assert dataset.describe()["digest"] == make("image_folder", data_dir=fill(tmp_path / "plain")).describe()["digest"]


@pytest.mark.parametrize(
    "folders",
    [
        {"train": "train", "validation": "valid", "test": "test"},
        {"train": "Train", "validation": "Val"},
        {"train": "training_set", "test": "test_set"},
        {"train": "training_set/training_set", "test": "test_set/test_set"},
        {"train": "archive/seg_train/seg_train", "test": "archive/seg_test/seg_test"},
        {"train": "train2017", "validation": "val2017", "test": "test2017"},
        {"train": "images-train", "test": "images-testing"},
    ],
)
def test_names_of_split_folders(make, tmp_path, folders):
    counts = {"train": 10, "validation": 2, "test": 3}
    for split, folder in folders.items():
        fill(tmp_path / folder, count=counts[split], first=50 * len(split))
    found = make("image_folder", data_dir=tmp_path).describe()["num_examples"]
    for split in {"validation", "test"} & folders.keys():
        assert found[split] == 2 * counts[split]
    assert found["train"] + sum(found[split] for split in {"validation", "test"} - folders.keys()) == 20


def test_classes_whose_names_hold_a_splits_word(make, tmp_path):
    fill(tmp_path, ("train_station", "test_tube", "validation_stamp", "dog"))
    assert make("image_folder", data_dir=tmp_path).class_names == (
        "dog",
        "test_tube",
        "train_station",
        "validation_stamp",
    )


def test_images_in_sub_folders_of_a_class_are_used_and_said(make, tmp_path):
    fill(tmp_path)
    fill(tmp_path / "cat" / "young" / "2019", ("left", "right"), first=100)
    dataset = make("image_folder", data_dir=tmp_path)
    assert dataset.class_names == ("cat", "dog") and num_images(dataset) == 4 * PER_CLASS
    assert "images in sub-folders of class folders are used, in 'cat/young/2019/" in dataset.summary()


def test_images_outside_of_class_folders_are_counted_and_said(make, tmp_path):
    fill(tmp_path / "train")
    (tmp_path / "seg_pred").mkdir()
    for place in ("sample.png", "train/sample.png", "seg_pred/1.png"):
        (tmp_path / place).write_bytes(image_bytes(99))
    dataset = make("image_folder", data_dir=tmp_path)
    assert num_images(dataset) == 2 * PER_CLASS
    assert "3 images outside of the class folders are left out, in" in dataset.summary()
    assert "seg_pred" in dataset.summary()


@pytest.mark.parametrize("suffix, format", [("jfif", "JPEG"), ("tif", "TIFF"), ("TIFF", "TIFF"), ("avif", "AVIF")])
def test_more_kinds_of_images_are_read_where_pillow_can(make, tmp_path, suffix, format):
    if format not in _decoding.formats():
        pytest.skip(f"this Pillow reads no {format}")
    fill(tmp_path, ("cat",))
    (tmp_path / "dog").mkdir()
    for number in range(PER_CLASS):
        (tmp_path / "dog" / f"{number}.{suffix}").write_bytes(image_bytes(200, format))
    dataset = make("image_folder", data_dir=tmp_path)
    test = dataset.test()
    assert np.abs(test.images[test.labels == 1].astype(int) - (200, 0, 0)).max() <= 4  # lossy
    assert "left out" not in dataset.summary()


def test_a_tiff_of_32_bits_is_cut_off_and_not_wrapped(make, tmp_path):
    fill(tmp_path, ("cat",))
    (tmp_path / "dog").mkdir()
    for number in range(PER_CLASS):
        Image.fromarray(np.full((6, 6), 70_000, np.int32)).save(tmp_path / "dog" / f"{number}.tif")
    test = make("image_folder", data_dir=tmp_path).test()
    assert np.all(test.images[test.labels == 1] == 255)


def test_kinds_that_pillow_cannot_read_are_counted_and_said_by_class(make, tmp_path, monkeypatch):
    monkeypatch.setattr(_decoding, "formats", lambda: ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"))
    fill(tmp_path / "train", count=6)
    fill(tmp_path / "test", first=100)
    for number in range(60):
        (tmp_path / ("train" if number % 2 else "test") / "cat" / f"{number}.HEIC").write_bytes(b"heic")
    (tmp_path / "train" / "dog" / "a.avif").write_bytes(b"avif")
    dataset = make("image_folder", data_dir=tmp_path)
    assert "60 of 70 images of cat are .heic and left out" in dataset.summary()
    assert "1 of 11 images of dog are .avif and left out" in dataset.summary()
    assert dataset.describe()["files_ignored"] == 61
    shutil.rmtree(tmp_path / "test" / "dog")
    (tmp_path / "test" / "dog").mkdir()
    (tmp_path / "test" / "dog" / "a.heif").write_bytes(b"heif")
    line = refused(make, "image_folder", data_dir=tmp_path)
    assert "Expected images (.jpg," in line and ".heic" not in line and "none in" in line and "1 .heif" in line


def test_names_that_are_not_utf_8(make, tmp_path):
    root = os.fsencode(tmp_path / "root")
    for name in (b"caf\xe9", b"dog"):
        os.makedirs(root + b"/" + name)
        for number in range(PER_CLASS):
            with open(root + b"/" + name + b"/%d\xff.png" % number, "wb") as file:
                file.write(image_bytes(number + len(name) * 10))
    dataset = make("image_folder", data_dir=tmp_path / "root")
    assert dataset.class_names == ("caf\\udce9", "dog")
    dataset.train()
    str(dataset.facts()).encode()
    dataset.summary().encode()
    with open(root + b"/dog/\xfe.png", "wb"):
        pass
    summary = make("image_folder", data_dir=tmp_path / "root", skip_bad_images=True).summary()
    assert "dog/\\\\udcfe.png" in summary and summary.encode()


def test_names_in_a_zip_that_are_not_marked_as_utf_8(make, tmp_path):
    path = write_members(tmp_path / "old.zip", members("{}/{}.png", ("cafX", "dogYZ")))
    # Patched to one byte that is no UTF-8 (cp437: Θ), and to the two of "é" without the mark that they are UTF-8.
    path.write_bytes(path.read_bytes().replace(b"cafX", b"caf\xe9").replace(b"dogYZ", b"dog\xc3\xa9"))
    dataset = make("image_folder", data_dir=path)
    assert dataset.class_names == ("cafΘ", "dogé") and num_images(dataset) == 2 * PER_CLASS
    dataset.train()
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 9] |= 0x08  # marked as UTF-8, which it is not
    path.write_bytes(content)
    assert "Copy or download it again" in refused(make, "image_folder", data_dir=path)


def test_names_with_new_lines(make, tmp_path):
    fill(tmp_path, ("cat\nand kitten", "dog"))
    (tmp_path / "dog" / "a\nb.png").write_bytes(b"no image")
    dataset = make("image_folder", data_dir=tmp_path, skip_bad_images=True)
    assert dataset.class_names == ("cat\\nand kitten", "dog")
    assert "\n" not in dataset.summary() and "nb.png" in dataset.summary()


def test_composed_names_in_train_and_combining_ones_in_test(make, tmp_path):
    fill(tmp_path / "train", ("caf\u00e9", "dog"))
    fill(tmp_path / "test", ("cafe\u0301", "dog"), first=100)
    dataset = make("image_folder", data_dir=tmp_path)
    assert dataset.class_names == ("caf\u00e9", "dog")
    assert dataset.describe()["num_examples"]["test"] == 2 * PER_CLASS
    # Both in one folder are one class.
    fill(tmp_path / "train" / "more", ("cafe\u0301",), first=200)
    (tmp_path / "train" / "more" / "cafe\u0301").rename(tmp_path / "train" / "cafe\u0301")
    (tmp_path / "train" / "more").rmdir()
    assert num_images(make("image_folder", data_dir=tmp_path)) == 5 * PER_CLASS


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "litter", ["@eaDir", "lost+found", "$RECYCLE.BIN", "__MACOSX", ".DS_Store", "System Volume Information"]
)
def test_litter_is_no_class(make, tmp_path, litter, zipped):
    fill(tmp_path / "pets")
    for place in (tmp_path / "pets" / litter, tmp_path / "pets" / "cat" / litter):
        fill(place)
        if hasattr(os, "geteuid") and os.geteuid() and not zipped:
            place.chmod(0)
    for name in ("Thumbs.db", "desktop.ini", "Desktop.ini", "._0.png"):
        (tmp_path / "pets" / "dog" / name).write_bytes(b"litter")
    data_dir = write_zip(tmp_path / "pets", tmp_path / "pets.zip") if zipped else tmp_path / "pets"
    dataset = make("image_folder", data_dir=data_dir)
    assert dataset.class_names == ("cat", "dog") and num_images(dataset) == 2 * PER_CLASS
    assert dataset.describe()["files_ignored"] == 0


def test_a_link_that_leads_back(make, tmp_path):
    fill(tmp_path)
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    dataset = make("image_folder", data_dir=tmp_path)
    assert dataset.class_names == ("cat", "dog") and num_images(dataset) == 2 * PER_CLASS


def test_more_folders_than_any_data_set_has(make, tmp_path, monkeypatch):
    monkeypatch.setattr("nas_tf.datasets._image_files._MAX_FOLDERS", 20)
    for number in range(30):
        (tmp_path / f"{number}").mkdir()
    assert "with more than 20 folders" in refused(make, "image_folder", data_dir=tmp_path)
    path = write_members(tmp_path / "deep.zip", ["a/" * 30000 + "b.png"])
    assert len(open_files(path).tree) == 1


@pytest.mark.parametrize("max_memory_mb", [0, 4096])
def test_a_file_that_goes_during_the_run(make, pets, max_memory_mb):
    dataset = make("image_folder", data_dir=pets, max_memory_mb=max_memory_mb)
    split = dataset.train() if max_memory_mb == 0 else None
    for path in (pets / "train" / "cat").iterdir():
        path.unlink()
    read = dataset.train if split is None else lambda: split.batches(split.num_examples)[0]
    line = refused(read)
    assert "40 of 84 that cannot" in line and "train/cat/000.png' (No such file or directory)" in line


def test_a_dangling_link_is_one_line_that_names_it(make, pets):
    (pets / "train" / "cat" / "lost.png").symlink_to(pets / "gone.png")
    assert "1 of 85 that cannot" in refused(make("image_folder", data_dir=pets).describe)
    dataset = make("image_folder", data_dir=pets, skip_bad_images=True)
    assert num_images(dataset) == 84 and dataset.copies() == {}


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_pipes_and_sockets_are_refused_and_never_opened(make, pets, kind):
    place = pets / "test" / "cat" / "a.png"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place = pathlib.Path(os.path.relpath(place))  # the name of a socket may have 108 letters
        socket.socket(socket.AF_UNIX).bind(str(place))
    lines = []
    thread = threading.Thread(target=lambda: lines.append(refused(make, "image_folder", data_dir=pets)), daemon=True)
    thread.start()
    thread.join(20)
    assert "test/cat/a.png' (a pipe, socket or device, expected a file)" in lines[0]
    assert num_images(make("image_folder", data_dir=pets, skip_bad_images=True)) == 84


def test_a_pipe_in_the_place_of_the_data(make, tmp_path):
    os.mkfifo(tmp_path / "pets.zip")
    lines = []
    run = lambda: lines.append(refused(make, "image_folder", data_dir=tmp_path / "pets.zip"))  # noqa: E731
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert "It is a pipe, socket or device" in lines[0]


def test_a_member_that_unpacks_to_more_than_it_states(make, tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(members("{}/{}.png")):
            archive.writestr(name, image_bytes(number))
        archive.writestr("cat/bomb.png", bytes(100_000_007))
    stated = struct.pack("<I", 100_000_007)
    path.write_bytes(path.read_bytes().replace(stated, struct.pack("<I", 1000)))
    dataset = make("image_folder", data_dir=path, test_fraction=0.2)
    tracemalloc.start()
    line = refused(lambda: [dataset.read(split) for split in ("train", "validation", "test")])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "1 of 9 that cannot, the first" in line and "bomb.png" in line
    assert peak < 16 * 2**20


def test_members_packed_so_that_they_are_not_bounded(make, tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", zipfile.ZIP_LZMA) as archive:
        for number, name in enumerate(members("{}/{}.png")):
            archive.writestr(name, image_bytes(number))
    line = refused(make, "image_folder", data_dir=tmp_path / "pets.zip")
    assert "8 of 8 that cannot" in line and "packed by another method than deflate" in line


def test_an_encrypted_zip(make, tmp_path):
    path = write_members(tmp_path / "pets.zip", members("{}/{}.png"))
    content = bytearray(path.read_bytes())
    for found in re.finditer(b"PK\x01\x02", bytes(content)):
        content[found.start() + 8] |= 1
    path.write_bytes(content)
    line = refused(make, "image_folder", data_dir=path)
    assert "Expected a .zip without a password" in line and "8 of 8 files encrypted" in line


def break_images(pets):
    """Makes four images of all three splits unreadable, and gives their paths."""
    names = ["test/cat/000.png", "test/eel/001.png", "train/cat/000.png", "train/dog/019.png"]
    for name in names:
        (pets / name).write_bytes(b"no image")
    return names


@pytest.mark.parametrize("zipped", [False, True])
def test_all_unreadable_images_of_all_splits_are_listed_at_once(make, pets, tmp_path, monkeypatch, zipped):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    broken = break_images(pets)
    data_dir = write_zip(pets, tmp_path / "pets.zip") if zipped else pets
    line = refused(make, "image_folder", data_dir=data_dir)
    assert "4 of 84 that cannot, the first" in line and "--skip_bad_images" in line
    path = re.search(r"all of them: (\S*unreadable_images\.txt)\.", line)[1]
    found = pathlib.Path(path).read_text().splitlines()
    assert len(found) == 4
    for each, name in zip(found, broken):
        assert name in each and "\tnot a JPEG, PNG" in each


@pytest.mark.parametrize("zipped", [False, True])
def test_skip_bad_images_goes_on_without_them(make, pets, tmp_path, zipped):
    names = break_images(pets)
    data_dir = write_zip(pets, tmp_path / "pets.zip") if zipped else pets
    dataset = make("image_folder", data_dir=data_dir, skip_bad_images=True)
    assert num_images(dataset) == 80
    assert sum(dataset.read(split).num_examples for split in ("train", "validation", "test")) == 80
    assert dataset.describe()["bad_images_skipped"] == 4 and dataset.copies() == {}
    assert "images are left out: 4 of 84 that cannot, the first" in dataset.summary()
    assert "bad_images_skipped" not in make("digits").describe()
    for name in names:
        (pets / name).unlink()
    without = make("image_folder", data_dir=pets)
    assert without.describe()["digest"] == dataset.describe()["digest"]
    for split in ("train", "validation", "test"):
        assert np.array_equal(without.read(split).images, dataset.read(split).images)


def test_skip_bad_images_of_a_class_without_others(make, pets):
    for path in (pets / "test" / "eel").iterdir():
        path.write_bytes(b"no image")
    line = refused(make, "image_folder", data_dir=pets, skip_bad_images=True)
    assert "none of 'eel' for test" in line and "2 of 84 that cannot" in line


def test_the_flags_of_bad_images():
    part = plugins.Part("nas_tf.datasets", "image_folder", {"skip_bad_images": True, "max_megapixels": 50.0})
    assert part.flags() == {"skip_bad_images": True, "image_folder_max_megapixels": 50.0}
    assert not part.module.Config().skip_bad_images and part.module.Config().max_megapixels == 30


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.gif", "a.bmp", "a.jpg"])
def test_images_of_too_many_pixels_count_as_unreadable_by_their_header(make, pets, monkeypatch, name):
    Image.new("L", (2001, 1000)).save(pets / "test" / "cat" / name)
    assert make("image_folder", data_dir=pets, max_megapixels=2.001).describe()["num_examples"]["test"] == 15
    # Pillow decodes in `load` of an image's file, which nothing calls.
    opened = Image.open

    def undecoded(*given, **more):
        image = opened(*given, **more)
        if image.size == (2001, 1000):
            image.load = lambda: pytest.fail("an image of too many pixels was decoded")
        return image

    monkeypatch.setattr(Image, "open", undecoded)
    line = refused(make, "image_folder", data_dir=pets, max_megapixels=2.0)
    assert "1 of 85 that cannot" in line
    assert "(2001 x 1000 pixels, expected at most 2 million (--image_folder_max_megapixels))" in line


def test_an_image_that_pillow_warns_of_is_one_line(make, pets, recwarn):
    _decoding.formats.cache_clear()  # as in a new process: warnings are heard again in each test
    Image.new("1", (20_000, 9_000)).save(pets / "test" / "cat" / "a.png")  # 180 million
    assert "1 of 85 that cannot" in refused(make, "image_folder", data_dir=pets)
    Image.new("1", (10_000, 9_000)).save(pets / "test" / "cat" / "a.png")  # 90 million
    assert "10000 x 9000 pixels, expected at most 30 million" in refused(make, "image_folder", data_dir=pets)
    assert not [each for each in recwarn if each.category is Image.DecompressionBombWarning]


def test_at_most_two_large_images_are_in_memory_at_once(make, tmp_path, monkeypatch):
    fill(tmp_path)
    for number in range(PER_CLASS):
        Image.new("1", (2500, 2000)).save(tmp_path / "dog" / f"{number}.png")
    inside, most, lock, convert = [0], [0], threading.Lock(), _decoding._to_rgb

    def to_rgb(image):
        if image.width < 2500:
            return convert(image)
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        try:
            return convert(image)
        finally:
            with lock:
                inside[0] -= 1

    dataset = make("image_folder", data_dir=tmp_path)
    names = [name for split in ("train", "validation", "test") for name in dataset._examples[split][0]]
    monkeypatch.setattr(_decoding, "_to_rgb", to_rgb)
    dataset._reader.decode(names, 8, "stretch", threads=8)
    assert most[0] == 2


def test_images_smaller_than_the_size_asked_for_are_said(make, tmp_path, pets):
    assert " px" not in make("image_folder", data_dir=pets).summary()  # 9 x 12, read at 8 px
    assert "images of median 9 px; 16 px enlarge them" in make("image_folder", data_dir=pets, image_size=16).summary()
    words = "images of median 9 px; --deploy_image_size=224 enlarges them"
    assert words in make("image_folder", data_dir=pets).summary(deploy_image_size=224)
    assert words in make("image_folder", data_dir=write_zip(pets, tmp_path / "pets.zip")).summary(224)
    assert " px" not in make("digits").summary(deploy_image_size=224)


def test_sizes_are_those_of_the_headers_of_a_sample(make, tmp_path, monkeypatch):
    write_members(tmp_path / "many.zip", [f"{CLASSES[number % 2]}/{number}.png" for number in range(250)])
    dataset = make("image_folder", data_dir=tmp_path / "many.zip", validation_fraction=0.1)
    asked, shorter_side = [], _decoding.shorter_side
    monkeypatch.setattr(_decoding, "shorter_side", lambda files, name: asked.append(name) or shorter_side(files, name))
    monkeypatch.setattr("nas_tf.datasets.image_folder._SAMPLED_SIZES", 20)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("an image was decoded"))
    assert "median 9 px" in dataset.summary(224) and 10 < len(asked) <= 20
