"""Image files in a folder or a .zip, listed by name and decoded to RGB."""

import abc
import concurrent.futures
import contextlib
import hashlib
import io
import os
import pathlib
import zipfile

import numpy as np

from nas_tf.quiet import progress_bar
from nas_tf.trial import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
_MAX_FILE_BYTES = 256 * 2**20
_MAX_DEPTH = 4
# Below this mean size a second thread only costs time (10,000 CIFAR-10 JPEGs on 2 cores: 1.9 s with 1, 3.1 s with 2).
_BYTES_WORTH_A_THREAD = 16 * 2**10


class ImageFiles(abc.ABC):
    """The files of a folder or a .zip.

    Attributes:
        root: path of the folder or the .zip.
        tree: dict from each directory, such as `"train/cat"` or `""` for the root, to the sorted names of its files.
            Hidden files, and files that operating systems leave behind, are left out.
    """

    def __init__(self, root):
        self.root = root
        self.tree = {}

    @abc.abstractmethod
    def open(self, name):
        """Returns the binary file with path `name` below the root."""

    @abc.abstractmethod
    def num_bytes(self, name):
        """int: the size of a file, as the folder or the .zip states it.

        Raises:
            UnreadableImage: there is no such file, as where a link leads nowhere.
        """

    def mark(self, name):
        """What can be told of a file's content without reading it: equal contents have equal marks."""
        return self.num_bytes(name)

    def content_digest(self, name):
        """bytes: the SHA-256 of a file's content."""
        try:
            with self.open(name) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except Exception as error:  # for damaged zips OSError, BadZipFile, zlib.error, RuntimeError, ...
            raise UnreadableImage(str(error) or type(error).__name__) from error

    def decode(self, name, image_size, fit):
        """Returns the image as uint8 [image_size, image_size, 3].

        It is upright and RGB, on white where it is transparent, and 16 bits are scaled down to 8.

        Args:
            name: path of the file below the root.
            image_size: height and width in pixels.
            fit: `"stretch"` resizes the whole image, `"crop"` the largest square at its centre (bilinear, antialiased).

        Raises:
            UnreadableImage: the file is damaged, too large or of another format.
        """
        from PIL import Image

        with self._opened(name) as image:
            image.draft(None, (2 * image_size, 2 * image_size))  # decodes a much larger JPEG at a fraction
            image = _to_rgb(image)
            if fit == "crop":
                side = min(image.size)
                left, top = (image.width - side) // 2, (image.height - side) // 2
                image = image.crop((left, top, left + side, top + side))
            return np.asarray(image.resize((image_size, image_size), Image.Resampling.BILINEAR))

    def check(self, name):
        """Finds a damaged file: a PNG by its checksums, a JPEG that has its end marker not at all, others by decoding.

        Raises:
            UnreadableImage: the file is damaged, too large or of another format.
        """
        with self._opened(name) as image:
            if image.format == "PNG":
                image.verify()
                whole = True
            else:
                image.fp.seek(-2, os.SEEK_END)
                whole = image.format in ("JPEG", "MPO") and image.fp.read(2) == b"\xff\xd9"
        if not whole:
            self.decode(name, 8, "stretch")

    def path(self, name):
        """str: the whole path of a file or a directory, for messages."""
        return f"{self.root}/{name}".rstrip("/")

    @contextlib.contextmanager
    def _opened(self, name):
        from PIL import Image, UnidentifiedImageError

        try:
            size = self.num_bytes(name)
            if size > _MAX_FILE_BYTES:
                raise UnreadableImage(f"{size / 2**20:,.0f} MiB, expected at most {_MAX_FILE_BYTES // 2**20}")
            with self.open(name) as file, Image.open(file, formats=_FORMATS) as image:
                pixels = image.width * image.height
                if pixels > Image.MAX_IMAGE_PIXELS:
                    raise UnreadableImage(f"{pixels:,} pixels, expected at most {Image.MAX_IMAGE_PIXELS:,}")
                yield image
        except UnreadableImage:
            raise
        except UnidentifiedImageError as error:
            raise UnreadableImage("not a JPEG, PNG, BMP, GIF or WebP image") from error
        except Exception as error:  # for damaged data Pillow raises OSError, SyntaxError, struct.error, IndexError, ...
            raise UnreadableImage(str(error) or type(error).__name__) from error

    def _add_directory(self, directory):
        while directory not in self.tree:
            self.tree[directory] = []
            directory = directory.rpartition("/")[0]


class UnreadableImage(Exception):
    """An image cannot be decoded; the message says why."""


class _Folder(ImageFiles):
    def __init__(self, root):
        super().__init__(root)
        self._scan("", 0)

    def open(self, name):
        return open(os.path.join(self.root, name), "rb")

    def num_bytes(self, name):
        try:
            return os.path.getsize(os.path.join(self.root, name))
        except OSError as error:
            raise UnreadableImage(error.strerror) from error

    def _scan(self, directory, depth):
        self._add_directory(directory)
        with os.scandir(os.path.join(self.root, directory)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if _is_litter(entry.name):
                    continue
                if not entry.is_dir():
                    self.tree[directory].append(entry.name)
                elif depth < _MAX_DEPTH:
                    self._scan(f"{directory}/{entry.name}".lstrip("/"), depth + 1)


class _Zip(ImageFiles):
    def __init__(self, root):
        super().__init__(root)
        self._archive = zipfile.ZipFile(root)
        self._add_directory("")
        for name in sorted(self._archive.namelist()):
            if any(_is_litter(each) for each in name.split("/")):
                continue
            directory, _, file_name = name.rpartition("/")
            self._add_directory(directory)
            if file_name:
                self.tree[directory].append(file_name)

    def open(self, name):
        with self._archive.open(name) as member:
            # Bounded, because a member may hold more than its stated size.
            return io.BytesIO(member.read(_MAX_FILE_BYTES))

    def num_bytes(self, name):
        return self._archive.getinfo(name).file_size

    def mark(self, name):
        member = self._archive.getinfo(name)
        return member.file_size, member.CRC


def open_files(data_dir):
    """Returns the `ImageFiles` of a folder or a .zip.

    Raises:
        UserError: nothing is at `data_dir`, or it cannot be read.
    """
    path = pathlib.Path(data_dir).expanduser()
    if not path.exists():
        raise UserError(
            f"Expected --data_dir to be a folder of class folders, or a .zip of one. There is no {str(path)!r}"
        )
    try:
        return _Folder(os.fspath(path)) if path.is_dir() else _Zip(os.fspath(path))
    except zipfile.BadZipFile as error:
        raise UserError(
            f"Expected --data_dir to be a folder, or a .zip that is whole. Received: {str(path)!r} ({error}). "
            "Copy or download it again"
        ) from error
    except OSError as error:
        raise UserError(f"Expected a --data_dir that can be read. Received: {str(path)!r} ({error})") from error


def decode_all(files, names, image_size, fit, threads):
    """Returns the images of some files as uint8 [len(names), image_size, image_size, 3].

    Args:
        files: `ImageFiles`.
        names: list of paths below its root.
        image_size, fit: as in `ImageFiles.decode`.
        threads: how many threads decode.

    Raises:
        UserError: images cannot be decoded; the message names the first and counts all.
    """
    images = np.empty((len(names), image_size, image_size, 3), np.uint8)

    def decode(i):
        images[i] = files.decode(names[i], image_size, fit)

    _for_each(decode, files, names, "Decoding images", threads)
    return images


def check_all(files, names):
    """Raises `UserError` where `decode_all` would, mostly without decoding."""
    _for_each(lambda i: files.check(names[i]), files, names, "Checking images", num_threads(files, names))


def sizes(files, names):
    """Returns a dict from each of the files `names` to its size in bytes. Raises `UserError` if one cannot be read."""
    return _of_each(files.num_bytes, files, names, "Listing images", threads=1)


def copies_among(files, names, originals):
    """Returns a dict from each of the files `names` that has the content of one of `originals` to the first such one.

    Files are read only where sizes, and a .zip's checksums, are equal.

    Raises:
        UserError: a file cannot be read.
    """
    marks = _of_each(files.mark, files, [*originals, *names], "Listing images", threads=1)
    common = {marks[name] for name in originals} & {marks[name] for name in names}
    alike = [name for name, mark in marks.items() if mark in common]
    contents = _of_each(files.content_digest, files, alike, "Comparing images", num_threads(files, alike))
    firsts = {contents[name]: name for name in reversed(originals) if name in contents}
    return {name: firsts[contents[name]] for name in names if contents.get(name) in firsts}


def num_threads(files, names):
    """int: how many threads decode the files `names` fastest."""
    sample = names[:: max(1, len(names) // 50)]
    mean_bytes = np.mean(list(sizes(files, sample).values())) if sample else 0
    return min(8, os.cpu_count() or 1) if mean_bytes > _BYTES_WORTH_A_THREAD else 1


def _of_each(function, files, names, what, threads):
    """Returns a dict from each name to `function(name)`. Raises `UserError` as `_for_each` does."""
    found = {}

    def find(i):
        found[names[i]] = function(names[i])

    _for_each(find, files, names, what, threads)
    return found


def _for_each(function, files, names, what, threads):
    """Calls `function(i)` for the index of every name, and raises `UserError` if one raises `UnreadableImage`."""

    def reason(i):
        try:
            function(i)
        except UnreadableImage as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        results = pool.map(reason, range(len(names))) if threads > 1 else map(reason, range(len(names)))
        progress = progress_bar(results, what, len(names), leave=False, delay=2, unit=" images")
        reasons = list(progress)
    bad = [(name, reason) for name, reason in zip(names, reasons) if reason]
    if bad:
        name, reason = bad[0]
        raise UserError(
            f"Expected images that can be decoded. Received: {len(bad)} of {len(names):,} that cannot, the first "
            f"{files.path(name)!r} ({reason}). Replace or delete {'it' if len(bad) == 1 else 'them'}"
        )


def images_among(file_names):
    """list[str]: those of the file names that end like an image's."""
    return [name for name in file_names if name.lower().endswith(SUFFIXES)]


def _is_litter(name):
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _to_rgb(image):
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion clips at 255
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
