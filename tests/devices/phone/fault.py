"""What can go wrong with a phone, scripted: `phone.add(Fault("unplug_in_push", after=4096))`."""

import dataclasses
import re
from collections.abc import Callable

# Where each kind of fault strikes; `match` is searched in the path that is pushed or in the text of the command.
PLACES = {
    "hang_in_connect": "connect",  # TCP is accepted, nothing is answered
    "unauthorized": "connect",  # the phone waits for its owner to allow the computer
    "slow": "message",  # every message of the phone is `delay` seconds late
    "unplug_in_push": "push",  # the link is cut once `after` bytes are stored
    "hang_in_push": "push",  # silence once `after` bytes are stored; TCP stays open
    "no_space": "push",  # the push fails once `after` bytes are stored
    "push_short": "push",  # `after` bytes are stored (default: half), and the phone still says OKAY
    "push_replaced": "push",  # the stored file becomes another one of the same size
    "unplug_in_shell": "shell",  # the link is cut once the command has printed `after`
    "unplug_after_shell": "shell",  # the link is cut once the command has ended and its status is sent
    "hang_in_shell": "shell",  # silence once the command has printed `after`; TCP stays open
    "unplug_in_benchmark": "benchmark",
    "hang_in_benchmark": "benchmark",
    "benchmark_killed": "benchmark",  # by `signal`, once it has printed `after`
    "benchmark_stopped": "benchmark",  # it does nothing more once it has printed `after`; the link is well
    "benchmark_truncated": "benchmark",  # what follows `after` is lost; exit status 0
    "benchmark_garbled": "benchmark",  # each line passes through `garble`
}


def spoil_figures(line):
    """Puts `?` in place of the first of each two digits of a line that holds results."""
    return re.sub(rb"\d(\d)", rb"?\1", line) if b"count=" in line or b"Inference timings" in line else line


@dataclasses.dataclass
class Fault:
    """A fault that strikes in the first `times` pushes or commands that `match`.

    `times` is 1 by default; those of connections and messages last, until `phone.clear()`.
    `after` is a number of bytes, or for commands also a text: the fault strikes once that much has passed, at the
    latest at the end. Default: 0, at once; `count=`, which begins the line of the warm-up, for a benchmark.
    `away`: seconds for which an unplugged phone refuses to be connected; None: until `phone.plug()`.
    `delay`: seconds. `garble`: bytes of a line to bytes.
    """

    kind: str
    match: str = ""
    times: float | None = None
    after: int | str | None = None
    away: float | None = 0.0
    delay: float = 0.02
    signal: int = 9
    garble: Callable = spoil_figures
    struck: int = 0

    def __post_init__(self):
        if self.kind not in PLACES:
            raise ValueError(f"kind must be one of {', '.join(PLACES)}. Received: kind={self.kind!r}")
        if self.times is None:
            self.times = float("inf") if self.place in ("connect", "message") else 1
        if self.after is None and self.kind != "push_short":
            self.after = "count=" if self.place == "benchmark" else 0

    @property
    def place(self):
        return PLACES[self.kind]

    @property
    def action(self):
        """The kind without its place: `unplug`, `hang` or the kind itself."""
        return self.kind.split("_in_")[0] if "_in_" in self.kind else self.kind

    def cut(self, before, data):
        """How many bytes of `data`, which follows `before`, still pass; None where all do and more may follow."""
        if isinstance(self.after, int):
            end = self.after if len(before) + len(data) >= self.after else -1
        else:
            start = (before + data).find(self.after.encode())
            end = -1 if start < 0 else start + len(self.after.encode())
        return None if end < 0 else max(0, end - len(before))
