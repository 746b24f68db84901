"""The time that a job has spent, over all of its sessions, in all and by stage."""

import contextlib
import threading
import time

from nas_tf.files import read_json, write_json
from nas_tf.trial import EvaluationError, UserError

_EVERY_SECONDS = 5.0  # between two notes of the time


class JobClock:
    """The hours of a job, kept in a JSON file. A session that was killed counts but for its last few seconds.

    Args:
        path: of the file.
        hours: that the job may take.
    """

    def __init__(self, path, hours):
        kept = read_json(path) or {}
        self._path, self._hours = path, hours
        self._before, self._begin, self._lock = kept.get("seconds", 0.0), time.monotonic(), threading.Lock()
        # Finished stages, and the name and the begin of the one that runs: one value, which a thread reads meanwhile.
        self._now = kept.get("stages", {}), None

    @property
    def seconds(self):
        """float: spent so far."""
        return self._before + time.monotonic() - self._begin

    @property
    def seconds_left(self):
        """float: negative once they are over."""
        return 3600 * self._hours - self.seconds

    def ends_at(self, reserve_seconds=0.0):
        """Returns the `time.monotonic` at which the hours are over, less a reserve."""
        return time.monotonic() + self.seconds_left - reserve_seconds

    @property
    def stages(self):
        """dict from the name of each stage to the seconds that it has taken so far."""
        stages, running = self._now
        if running is None:
            return dict(stages)
        name, begin = running
        return {**stages, name: stages.get(name, 0.0) + time.monotonic() - begin}

    @contextlib.contextmanager
    def stage(self, name):
        """Counts the time inside for a stage."""
        self._now = self._now[0], (name, time.monotonic())
        try:
            yield
        finally:
            self._now = self.stages, None
            self.note()

    @contextlib.contextmanager
    def running(self):
        """Inside it the time is written down every few seconds, and at the end."""
        over = threading.Event()

        def keep():
            while not over.wait(_EVERY_SECONDS):
                with contextlib.suppress(OSError, UserError, EvaluationError):  # which the note at the end raises
                    self.note()

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            self.note()

    def note(self):
        """Writes the time down."""
        with self._lock:
            write_json(self._path, {"seconds": self.seconds, "stages": self.stages})
