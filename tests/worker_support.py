"""A small setup for workers, in a module of its own: a process that a test starts imports it too."""

import dataclasses
import os
import pathlib
import signal
import tempfile
import time

from mnas_tf.spaces.mnasnet import Scale
from nas_tf.bars import doing
from nas_tf.datasets import Source
from nas_tf.judges import Task
from nas_tf.plugins import Part
from nas_tf.search.evaluation import Setup
from nas_tf.training.recipe import Recipe
from nas_tf.trial import InfeasibleArchitecture


def make_setup(plain_space, device="simulated", epochs=1, learning_rate=0.1, **settings):
    """The `Setup` of the README's space on few digits; `settings` are those of the device."""
    task = Task(
        space=Part("mnas_tf.spaces", str(plain_space)),
        images=Source(Part("nas_tf.datasets", "digits"), "", seed=3),
        proxy_scale=Scale(16, 10, 1.0),
        deploy_scale=Scale(32, 10, 1.0),
        recipe=Recipe(epochs, learning_rate=learning_rate),
        proxy_samples=200,
        seed=3,
        published="mnas_tf.published",
    )
    return Setup(
        task=task,
        judge=Part("nas_tf.judges", "proxy"),
        device=Part("nas_tf.devices", device, settings),
        number_type="float32",
        judge_folder=str(pathlib.Path(tempfile.gettempdir()) / "no_judge_keeps_anything_here"),
    )


@dataclasses.dataclass(frozen=True)
class BadJob:
    """A job that does to its process what `how` says, unless a file called `how` was left by an earlier try."""

    how: str
    folder: str = ""

    def run(self, evaluator):
        if self.folder:
            mark = pathlib.Path(self.folder) / self.how
            if mark.exists():
                return "well"
            mark.touch()
        if self.how == "sleep_while_it_times":
            with evaluator._hold_still():
                time.sleep(600)
        if self.how == "judge_folder":
            return evaluator._setup.judge_folder
        return getattr(self, f"_{self.how}")()

    def _long_nap(self):
        time.sleep(15)
        return "well"

    def _nap(self):
        time.sleep(1)
        return "well"

    def _well(self):
        return "well"

    def _sleep(self):
        time.sleep(600)

    def _spin(self):
        while True:
            pass

    def _stop(self):
        os.kill(os.getpid(), signal.SIGSTOP)

    def _kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def _crash(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def _leave(self):
        os._exit(3)

    def _exit(self):
        raise SystemExit(3)

    def _take_all_memory(self):
        taken = []
        while True:
            taken.append(bytearray(2**40))

    def _grow(self):
        taken = []
        while True:
            taken.append(b"x" * 2**27)
            time.sleep(0.05)

    def _close(self):
        os.closerange(3, 256)
        time.sleep(600)

    def _flood(self):
        for _ in range(40):
            os.write(1, b"x" * 100_000 + b"\n")
            os.write(2, b"y" * 100_000 + b"\n")
        return "well"

    def _talk(self):
        while True:
            doing("still at it")
            time.sleep(0.01)

    def _say_nonsense(self):
        for words in ("\r\x1b[2Jlonger" * 100, "", None, 7, b"\xff", _Unreadable):
            doing(words)
        return "well"

    def _raise_what_cannot_be_pickled(self):
        raise type("Odd", (Exception,), {})(lambda: None)

    def _raise_what_cannot_be_read(self):
        raise _NeedsTwo(1, 2)

    def _return_what_cannot_be_pickled(self):
        return lambda: None

    def _return_what_cannot_be_read(self):
        return _Unreadable()


class _NeedsTwo(InfeasibleArchitecture):
    def __init__(self, one, two):
        super().__init__("it needs two")


class _Unreadable:
    def __reduce__(self):
        return int, ("no number",)
