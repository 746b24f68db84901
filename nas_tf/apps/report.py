"""Writes the page of a search, report.html in its folder, or one that compares several.

nas-report runs/flowers
nas-report runs/lite runs/scratch --out=compared.html

The page needs no network and no server. A search renews its own after every batch, and nas-ship when it ends.
"""

import dataclasses
import pathlib

from nas_tf import flags
from nas_tf.search.story import PAGE, write_page
from nas_tf.settings import RUN, Settings, knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class ReportSettings(Settings):
    """Where the page goes."""

    out: str = knob("", f"File to write; empty: {PAGE} in the folder of the run.", path=True, group=RUN)
    search_space: str = knob(
        "",
        "Search space of the runs, if that is a file of your own: only a file named here is run. Without it the page "
        "shows the answers that make a network.",
        path=True,
        group=RUN,
    )


def main(words):
    settings = flags.read(ReportSettings)
    if not words:
        raise UserError("Expected run folders, as in nas-report runs/flowers. Received: none")
    if len(words) > 1 and not settings.out:
        raise UserError(f"Expected --out, the file in which {len(words)} runs are compared. Received: none")
    path = pathlib.Path(settings.out) if settings.out else pathlib.Path(words[0]) / PAGE
    if settings.out and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(f"Expected --out to be a file in a folder that exists. Received: {str(path)!r}")
    write_page(path, words, settings.search_space)
    print(path)


def cli():
    flags.define(ReportSettings)
    flags.run(main, __doc__, takes_words=True)


if __name__ == "__main__":
    cli()
