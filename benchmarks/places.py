"""Candidates an hour of the same search in two places to work, in turns.

python -m benchmarks.places --places=process,ray --num_trials=24 --repeats=2

Counted is the time that the search says it has searched: its workers, or its cluster, have rehearsed a trial before.
"""

import dataclasses
import pathlib
import re
import tempfile

import numpy as np

from mnas_tf.search import Settings as SearchSettings
from mnas_tf.search import search
from nas_tf import flags
from nas_tf.rewards import Objective
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class PlacesSettings(Settings):
    """Which places, and how long."""

    places: tuple[str, ...] = knob(("process", "ray"), "Places to work; the first is what the others are held against.")
    num_trials: int = knob(24, "Trials of each search.", least=3)
    num_workers: int = knob(2, "Workers of each.", least=1)
    repeats: int = knob(2, "Searches in each place.", least=1)
    device: str = knob("simulated", "Device of the searches.")


def trials_an_hour(place, settings):
    """Returns a float: of one search."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        search(
            SearchSettings(
                run_dir=str(pathlib.Path(folder) / "run"),
                dataset="digits",
                algorithm="random_search",
                num_trials=settings.num_trials,
                workers=place,
                num_workers=settings.num_workers,
                device=settings.device,
                proxy_image_size=24,
                proxy_width_multiplier=0.25,
                deploy_image_size=64,
                final_epochs=0,
            ),
            Objective(target_latency_ms=1.0),
            say=lines.append,
        )
    (seconds,) = (float(found[1]) for found in (re.match(r"searched for (\d+) s", line) for line in lines) if found)
    return 3600 * settings.num_trials / seconds


def main():
    settings = flags.read(PlacesSettings)
    found = {place: [] for place in settings.places}
    for _ in range(settings.repeats):
        for place in settings.places:
            found[place].append(trials_an_hour(place, settings))
    base = np.mean(found[settings.places[0]])
    for place, rates in found.items():
        words = ", ".join(f"{rate:.0f}" for rate in rates)
        print(
            f"{place:10} {np.mean(rates):6.0f} candidates an hour ({words}), {np.mean(rates) / base:.3f} of the first"
        )


if __name__ == "__main__":
    flags.define(PlacesSettings)
    flags.run(main, __doc__)
