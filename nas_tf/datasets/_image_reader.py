"""Many images of a folder or a .zip: decoded, checked, compared. If one cannot be read, all that cannot are named."""

import concurrent.futures
import contextlib
import hashlib
import os
import tempfile
import threading

import numpy as np

from nas_tf.bars import progress_bar
from nas_tf.datasets import _decoding
from nas_tf.datasets._image_files import UnreadableImage, printable
from nas_tf.trial import UserError

# Below this mean size a second thread only costs time (10,000 CIFAR-10 JPEGs on 2 cores: 1.9 s with 1, 3.1 s with 2).
_BYTES_WORTH_A_THREAD = 16 * 2**10


class ImageReader:
    """Reads the images of a data set.

    Every method that reads raises `UserError` if an image cannot be read. The message names the first of all images of
    the data set that cannot, counts them, and says in which file they are listed.
    """

    def __init__(self, files, names, max_megapixels, skip):
        """Makes a reader.

        Args:
            files: the `ImageFiles`.
            names: list of the paths of all images, of every split, below their root.
            max_megapixels: a larger image counts as one that cannot be read.
            skip: whether images that are `unreadable` are left out, and need not be named again.
        """
        self._files, self._names, self._max_megapixels, self._skip = files, names, max_megapixels, skip
        self._lock, self._unreadable, self._list_path = threading.Lock(), None, None

    def decode(self, names, image_size, fit, threads):
        """Returns the images `names` as uint8 [len(names), image_size, image_size, 3].

        Args:
            names: list of paths.
            image_size, fit: as in `_decoding.decode`.
            threads: how many threads decode.
        """
        images = np.empty((len(names), image_size, image_size, 3), np.uint8)

        def decode(i):
            images[i] = _decoding.decode(self._files, names[i], image_size, fit, self._max_megapixels)

        self._for_each(decode, names, "Decoding images", threads)
        return images

    def check(self, names):
        """Raises `UserError` where `decode` would, mostly without decoding."""
        self._for_each(self._check(names), names, "Checking images", self.num_threads(names))

    def sizes(self, names):
        """Returns a dict from each of the files `names` to its size in bytes."""
        return self._of_each(self._files.num_bytes, names, "Listing images", threads=1)

    def copies_among(self, names, originals):
        """Returns a dict from each of `names` that has the content of one of `originals` to the first such one.

        Files are read only where sizes, and a .zip's checksums, are equal.
        """
        marks = self._of_each(self._files.mark, [*originals, *names], "Listing images", threads=1)
        common = {marks[name] for name in originals} & {marks[name] for name in names}
        alike = [name for name, mark in marks.items() if mark in common]
        contents = self._of_each(self._content_digest, alike, "Comparing images", self.num_threads(alike))
        firsts = {contents[name]: name for name in reversed(originals) if name in contents}
        return {name: firsts[contents[name]] for name in names if contents.get(name) in firsts}

    def num_threads(self, names):
        """int: how many threads decode the files `names` fastest."""
        num_bytes = []
        for name in names[:: max(1, len(names) // 50)]:
            with contextlib.suppress(UnreadableImage):
                num_bytes.append(self._files.num_bytes(name))
        worth_it = num_bytes and np.mean(num_bytes) > _BYTES_WORTH_A_THREAD
        return min(8, os.cpu_count() or 1) if worth_it else 1

    def unreadable(self):
        """Returns a dict from each image of the data set that cannot be read to the reason. Checks all of them once."""
        with self._lock:
            if self._unreadable is None:
                names = self._names
                self._unreadable = _try_each(self._check(names), names, "Checking images", self.num_threads(names))
            return self._unreadable

    def report(self, bad):
        """Returns in words how many images cannot be read, the first, and the file that lists them if there are more.

        Args:
            bad: dict from each of them to the reason.
        """
        name, reason = next(iter(bad.items()))
        count = f"{len(bad):,} of {len(self._names):,} that cannot"
        first = f"{count}, the first {self._path(name)!r} ({printable(reason)})"
        if len(bad) == 1:
            return first
        try:
            with self._lock:
                self._list_path = self._list_path or os.path.join(
                    tempfile.mkdtemp(prefix="nas_tf_"), "unreadable_images.txt"
                )
                with open(self._list_path, "w", encoding="utf-8") as file:
                    file.writelines(f"{self._path(each)}\t{printable(why)}\n" for each, why in bad.items())
        except OSError:  # no room, or no temporary folder: the list is a convenience
            return first
        return f"{first}; all of them: {self._list_path}"

    def _path(self, name):
        return printable(self._files.path(name))

    def _check(self, names):
        return lambda i: _decoding.check(self._files, names[i], self._max_megapixels)

    def _content_digest(self, name):
        try:
            with self._files.open(name) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except UnreadableImage:
            raise
        except Exception as error:  # for damaged zips OSError, BadZipFile, zlib.error, RuntimeError, ...
            raise UnreadableImage(str(error) or type(error).__name__) from error

    def _of_each(self, function, names, what, threads):
        """Returns a dict from each name to `function(name)`."""
        found = {}

        def find(i):
            found[names[i]] = function(names[i])

        self._for_each(find, names, what, threads)
        return found

    def _for_each(self, function, names, what, threads):
        """Calls `function(i)` for the index of every name."""
        bad = _try_each(function, names, what, threads)
        if bad:
            if not self._skip:
                bad = {**self.unreadable(), **bad}
            in_order = {name: bad[name] for name in self._names if name in bad}
            advice = "" if self._skip else ", or give --skip_bad_images"
            raise UserError(
                f"Expected images that can be decoded. Received: {self.report(in_order)}. Replace or delete "
                f"{'it' if len(bad) == 1 else 'them'}{advice}"
            )


def _try_each(function, names, what, threads):
    """Calls `function(i)` for every index. Returns a dict from each name that is unreadable to the reason."""

    def reason(i):
        try:
            function(i)
        except UnreadableImage as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        results = pool.map(reason, range(len(names))) if threads > 1 else map(reason, range(len(names)))
        progress = progress_bar(results, what, len(names), leave=False, delay=2, unit=" images")
        return {name: reason for name, reason in zip(names, progress) if reason}
