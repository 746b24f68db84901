"""What a network answered on validation images, in `answers.npz` beside it: counts by class, and its worst mistakes."""

import dataclasses
import io
import pathlib
import zipfile

import numpy as np

from nas_tf.files import write_file

ANSWERS = "answers.npz"
_MOST_BYTES = 32 * 2**20
_NUM_MISTAKES, _MOST_PIXELS = 12, 160


@dataclasses.dataclass(frozen=True)
class Answers:
    """Counts and mistakes.

    Attributes:
        confusion: int [classes, classes]; rows are true classes, columns answers.
        labels, wrong: int [n], the true class of each mistake and the answer in its place.
        probabilities: float32 [n], how sure the network was of that answer, falling.
        images: uint8 [n, size, size, 3].
        network: str, names the network's weights, as `files.json` does.
    """

    confusion: np.ndarray
    labels: np.ndarray
    wrong: np.ndarray
    probabilities: np.ndarray
    images: np.ndarray
    network: str


class Tally:
    """Counts answers batch by batch, and keeps the mistakes of which the network was surest."""

    def __init__(self, num_classes):
        self._confusion, self._worst = np.zeros((num_classes, num_classes), np.int64), []

    def add(self, images, labels, probabilities):
        """Takes uint8 [n, size, size, 3] images, int [n] labels and float [n, classes] probabilities."""
        answers = probabilities.argmax(axis=1)
        np.add.at(self._confusion, (labels, answers), 1)
        for i in np.flatnonzero(answers != labels):
            found = (float(probabilities[i, answers[i]]), int(labels[i]), int(answers[i]), _small(images[i]))
            self._worst.append(found)
        self._worst = sorted(self._worst, key=lambda each: -each[0])[:_NUM_MISTAKES]

    def answers(self, network):
        """Returns the `Answers` so far, of the network with that name."""
        sure, labels, wrong, images = zip(*self._worst) if self._worst else ((), (), (), np.zeros((0, 1, 1, 3)))
        return Answers(
            self._confusion,
            np.array(labels, np.int64),
            np.array(wrong, np.int64),
            np.array(sure, np.float32),
            np.array(images, np.uint8),
            network,
        )


def write(folder, answers):
    """Writes the `Answers` into a network's folder."""
    content = io.BytesIO()
    np.savez(content, **{field.name: getattr(answers, field.name) for field in dataclasses.fields(Answers)})
    write_file(pathlib.Path(folder) / ANSWERS, content.getvalue())


def read(folder, num_classes, network):
    """Returns the `Answers` in a network's folder; None if there are none of that network and so many classes."""
    path = pathlib.Path(folder) / ANSWERS
    names = [field.name for field in dataclasses.fields(Answers)]
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
                return None
        with np.load(path, allow_pickle=False) as arrays:
            found = Answers(**{name: arrays[name] for name in names[:-1]}, network=str(arrays["network"]))
        count = len(found.labels)
        fits = (
            found.network == network
            and found.confusion.shape == (num_classes, num_classes)
            and found.images.shape[:1] == (count,) == found.wrong.shape == found.probabilities.shape
            and (found.images.ndim, found.images.dtype) == (4, np.uint8)
            and all(0 <= each < num_classes for each in (*found.labels, *found.wrong))
        )
        return found if fits else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _small(image):
    """Returns an image of at most 160 pixels a side, by leaving out rows and columns."""
    step = -(-max(image.shape[:2]) // _MOST_PIXELS)
    return np.asarray(image)[::step, ::step]
