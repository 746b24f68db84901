"""The files of a folder or a .zip, listed by name and opened. What is opened is bounded, and always a plain file."""

import abc
import contextlib
import functools
import io
import os
import pathlib
import re
import stat
import struct
import zipfile

from nas_tf.trial import UserError

_MAX_FILE_BYTES = 256 * 2**20
_MAX_DEPTH = 32
_MAX_FOLDERS = 100_000
# What operating systems and disks leave behind, in lower case.
_LITTER = (
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "desktop.ini",
    "ehthumbs.db",
    "lost+found",
    "system volume information",
    "thumbs.db",
)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class UnreadableImage(Exception):
    """An image cannot be read; the message says why."""


class ImageFiles(abc.ABC):
    """The files of a folder or a .zip.

    Attributes:
        root: path of the folder or the .zip.
        tree: dict from each directory, such as `"train/cat"` or `""` for the root, to the sorted names of its files.
            Hidden files, and files that operating systems leave behind, are left out.
        folders: dict from each directory to the list of the directories in it.
    """

    def __init__(self, root):
        self.root = root
        self.tree, self.folders = {"": []}, {"": []}

    @abc.abstractmethod
    def open(self, name, most=None):
        """Returns the binary file with path `name` below the root. Of a .zip at most `most` bytes of it are unpacked.

        A file may have 256 MiB, or `most` bytes if that is more.

        Raises:
            UnreadableImage: it is too large, or no file.
        """

    @abc.abstractmethod
    def num_bytes(self, name):
        """int: the size of a file, as the folder or the .zip states it.

        Raises:
            UnreadableImage: there is no such file, as where a link leads nowhere, or it is a pipe, socket or device.
        """

    def mark(self, name):
        """What can be told of a file's content without reading it: equal contents have equal marks."""
        return self.num_bytes(name)

    def path(self, name):
        """str: the whole path of a file or a directory, for messages."""
        return f"{self.root}/{name}".rstrip("/")

    def _add_directory(self, directory):
        while directory not in self.tree:
            self.tree[directory] = []
            self.folders.setdefault(directory, [])
            parent = directory.rpartition("/")[0]
            self.folders.setdefault(parent, []).append(directory)
            directory = parent
        if len(self.tree) > _MAX_FOLDERS:
            raise UserError(
                f"Expected --data_dir to be a folder of class folders. Received: {printable(self.root)!r} with more "
                f"than {_MAX_FOLDERS:,} folders in it. Choose the folder that holds the images"
            )

    def _bounded_size(self, name, most=None):
        size, most = self.num_bytes(name), max(most or 0, _MAX_FILE_BYTES)
        if size > most:
            raise UnreadableImage(f"{size / 2**20:,.0f} MiB, expected at most {most // 2**20}")
        return size


class _Folder(ImageFiles):
    def __init__(self, root):
        super().__init__(root)
        self._scan("", ())

    def open(self, name, most=None):
        self._bounded_size(name, most)  # refuses a pipe too, which would have to be waited for
        return open(os.path.join(self.root, name), "rb")

    def num_bytes(self, name):
        try:
            found = os.stat(os.path.join(self.root, name))
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableImage("a pipe, socket or device, expected a file")
        return found.st_size

    def _scan(self, directory, above):
        """Lists a directory. `above` are the device and inode numbers of those around it: a link may lead back."""
        path = os.path.join(self.root, directory)
        found = os.stat(path)
        itself = (found.st_dev, found.st_ino)
        if itself in above or len(above) > _MAX_DEPTH:
            return
        self._add_directory(directory)
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if _is_litter(entry.name):
                    continue
                if entry.is_dir():
                    self._scan(f"{directory}/{entry.name}".lstrip("/"), (*above, itself))
                else:
                    self.tree[directory].append(entry.name)


class _Zip(ImageFiles):
    """Members may be called `./a/b`, `/a/b` or `a\\b`. Of two members with one name the last counts."""

    def __init__(self, root):
        super().__init__(root)
        self._archive = zipfile.ZipFile(root)
        self._members = {}
        for member in self._archive.infolist():
            directory, _, file_name = _member_name(member).rpartition("/")
            directory = _tidy(directory)
            if directory is None or _is_litter(file_name):
                continue
            self._add_directory(directory)
            if file_name:
                self._members[f"{directory}/{file_name}".lstrip("/")] = member
        for name in sorted(self._members):
            directory, _, file_name = name.rpartition("/")
            self.tree[directory].append(file_name)
        encrypted = sum(member.flag_bits & 1 for member in self._members.values())
        if encrypted:
            raise UserError(
                f"Expected a .zip without a password. Received: {printable(root)!r} with {encrypted:,} of "
                f"{len(self._members):,} files encrypted. Unpack it and give the folder"
            )

    def open(self, name, most=None):
        size, member = self._bounded_size(name, most), self._members[name]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Of other methods, what some bytes unpack to is not bounded.
            raise UnreadableImage("packed by another method than deflate; pack it anew")
        with self._archive.open(member) as file:
            # Not more than stated, whatever the member unpacks to: then its checksum is wrong.
            return io.BytesIO(file.read(size if most is None else min(size, most)))

    def num_bytes(self, name):
        return self._members[name].file_size

    def mark(self, name):
        member = self._members[name]
        return member.file_size, member.CRC


def open_files(data_dir):
    """Returns the `ImageFiles` of a folder or a .zip.

    Raises:
        UserError: nothing is at `data_dir`, or it cannot be read.
    """
    path = pathlib.Path(data_dir).expanduser()
    shown = repr(printable(path))
    try:
        if path.is_dir():
            return _Folder(os.fspath(path))
        if path.is_file():
            return _Zip(os.fspath(path))
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError, struct.error) as error:
        raise UserError(
            f"Expected --data_dir to be a folder, or a .zip that is whole. Received: {shown} ({error}). "
            "Copy or download it again"
        ) from error
    except OSError as error:
        raise UserError(f"Expected a --data_dir that can be read. Received: {shown} ({error})") from error
    there = "It is a pipe, socket or device:" if path.exists() else "There is no"
    raise UserError(f"Expected --data_dir to be a folder of class folders, or a .zip of one. {there} {shown}")


def printable(name):
    """Returns a name as one line of text: line ends, and bytes that are not UTF-8, are escaped."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(name))


def _is_litter(name):
    return name.startswith(".") or name.lower() in _LITTER


def _member_name(member):
    """Returns the name of a .zip's member, with "/" between folders.

    Where it is not marked as UTF-8, it is read as UTF-8 nevertheless if it can be (Macs write it so), else as cp437.
    """
    name = member.filename
    if not name.isascii() and not member.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


@functools.lru_cache(maxsize=4096)
def _tidy(directory):
    """Returns the path of a .zip's directory without empty parts and ".", or None if it is litter or far too deep."""
    parts = [part for part in directory.split("/") if part not in ("", ".")]
    return None if len(parts) > _MAX_DEPTH or any(map(_is_litter, parts)) else "/".join(parts)
