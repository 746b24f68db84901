"""nas-make from Python, and what it has made: figures, predictions, files. It needs no TensorFlow in this process."""

import collections
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import zipfile

from nas_tf.accuracy import num_examples_of, standard_error
from nas_tf.files import check_writable
from nas_tf.making.settings import NETWORK, Asked, MakeSettings
from nas_tf.networks.folder import read_description, read_records, recorded_network
from nas_tf.search.story import PAGE
from nas_tf.shipping.predictor import Predictor
from nas_tf.trial import EvaluationError, UserError

_USERS_MISTAKE = 2  # the exit status of a command


def make(images="", say=print, **settings):
    """Does the whole job of nas-make in a process of its own, or goes on with it, and returns what is `Made`.

    Args:
        images: path of a folder or a .zip of images; empty: `dataset` names others.
        say: takes each line of text.
        **settings: flags of nas-make, as in `target_latency_ms=20`. A list stands for values separated by commas.

    Raises:
        UserError: the caller has to change something.
        EvaluationError: something else failed; the same call goes on from there. What had shipped is in the folder.
    """
    if "flagfile" in settings:
        raise UserError("nas_tf.make takes flags as arguments. Expected no flagfile; nas-make takes one")
    words = [str(images)] if images else []
    command = [sys.executable, "-m", "nas_tf.apps.make", *words, *(_flag(*each) for each in settings.items())]
    process = subprocess.Popen(
        [each for each in command if each],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,  # a terminal's Ctrl-C reaches it once, from here
    )
    last = ""
    try:
        for line in process.stdout:
            last = line.rstrip("\n") or last
            say(line.rstrip("\n"))
    except BaseException:
        process.send_signal(signal.SIGINT)
        raise
    finally:
        status = process.wait()
    if status:
        kind = UserError if status == _USERS_MISTAKE else EvaluationError
        raise kind(re.sub(r"^[\w.-]+: ", "", last) or f"nas-make ended with status {status}")
    known = {name: settings[name] for name in ("dataset", "data_dir") if name in settings}
    asked = Asked(str(images), MakeSettings(out_dir=str(settings.get("out_dir", ""))), known)
    return Made(asked.out_dir)


def _flag(name, value):
    """Returns a setting as a flag; empty for None, which stands for its default."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={','.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"


class Made:
    """What nas-make has made in a folder.

    Args:
        folder: the folder, of a job that is over or of one that goes on.

    Attributes:
        folder: `pathlib.Path` of it.
        network: `pathlib.Path` of the folder with the files that ship.
        report: `pathlib.Path` of the page, report.html.
        labels: tuple of the names of the classes.

    Raises:
        UserError: nothing has shipped there yet.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.network, self.report = self.folder / NETWORK, self.folder / PAGE
        self._description = read_description(self.network)
        self._predictor = Predictor(self.network)
        self.labels = self._predictor.labels

    def evaluate(self, images=None):
        """Returns a dict of figures of the network that ships.

        Args:
            images: path of a folder or a .zip of images that it has never seen, each in a folder with the name of its
                class. None: nothing is computed, the figures are those that were measured when it was made.

        Returns:
            With `images`: `accuracy` in [0, 1], its `standard_error` and `num_images`. Else a dict from file name to
            `validation_accuracy`, `standard_error` and `latency_ms`, and from `"test"` to `accuracy` and
            `standard_error` of the network itself.

        Raises:
            UserError: an image cannot be read, or its folder has the name of no class.
        """
        return self._recorded() if images is None else self._measured(images)

    def predict(self, images):
        """Returns a list of `(label, probability)`, likeliest first, of an image.

        Args:
            images: path of an image; or of a folder or .zip, or a list of paths: then it is a dict from the name of
                each image to its list.

        Raises:
            UserError: there is no such file, or an image cannot be read.
        """
        is_list = isinstance(images, (list, tuple))
        paths = list(map(str, images)) if is_list else [str(images)]
        found = {}
        for name, answers, why in self._predictor.answers(paths):
            if answers is None:
                raise UserError(f"Expected images that can be read. {name} cannot be: {why}")
            found[name] = answers
        is_one = not is_list and pathlib.Path(images).is_file() and not zipfile.is_zipfile(images)
        return next(iter(found.values())) if is_one else found

    def export(self, folder):
        """Copies the files that ship into a folder, which is made, and returns its `pathlib.Path`.

        Raises:
            UserError: the folder is not empty, or cannot be written.
        """
        folder = pathlib.Path(folder).expanduser()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"Expected a folder that is empty or new. Received: {str(folder)!r}")
        check_writable(folder)
        shutil.copytree(self.network, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        return folder

    def _recorded(self):
        records = read_records(self.network, recorded_network(self.network))
        found = {
            record.file: {
                "validation_accuracy": record.validation_accuracy,
                "standard_error": standard_error(record.validation_accuracy, record.num_validation),
                "latency_ms": record.latency_ms,
            }
            for record in records.values()
            if record.failure is None and record.validation_accuracy is not None
        }
        reached = self._description.accuracy.test
        count = num_examples_of(self._description.dataset or {}, "test")
        if reached is not None and count:
            found["test"] = {"accuracy": reached, "standard_error": standard_error(reached, count)}
        return found

    def _measured(self, images):
        right = collections.Counter()
        for name, answers, why in self._predictor.answers([str(images)]):
            label = pathlib.PurePosixPath(name).parent.name
            if answers is None:
                raise UserError(f"Expected images that can be read. {name} cannot be: {why}")
            if label not in self.labels:
                raise UserError(
                    f"Expected images in folders with the names of classes, {', '.join(self.labels)}. Received: {name}"
                )
            right[answers[0][0] == label] += 1
        count = right.total()
        return {
            "accuracy": right[True] / count,
            "standard_error": standard_error(right[True] / count, count),
            "num_images": count,
        }
