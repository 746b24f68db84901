"""How far a search scales: the real command, with workers in virtual time.

python -m benchmarks.scale --out_dir=scale

The loop, the records, the algorithm, the page and TensorBoard's files are those of `mnas-search`; only the workers are
not real (`benchmarks/virtual_workers.py`). PPO has the papers' preset, which is meant for that many trials. A row that
is there already is not made again.
"""

import dataclasses
import importlib
import json
import pathlib
import sys

from mnas_tf.family import FAMILY
from mnas_tf.search import Settings as SearchSettings
from mnas_tf.search import search
from nas_tf import flags
from nas_tf.recycling import Processes
from nas_tf.settings import Settings, knob

_WORKERS = pathlib.Path(__file__).with_name("virtual_workers.py")


@dataclasses.dataclass(frozen=True)
class ScaleSettings(Settings):
    """Which searches are made."""

    out_dir: str = knob("", "Folder of the runs.", required="a folder, as in --out_dir=scale", path=True)
    workers: tuple[int, ...] = knob((1, 45, 450, 1000), "Numbers of workers.")
    algorithms: tuple[str, ...] = knob(("evolution", "ppo"), "Search algorithms.")
    trials: int = knob(20_000, "Trials of each search.", least=1)
    seconds: float = knob(60.0, "Seconds of a trial on a worker.", above=0)
    order: str = knob("asynchronous", "Order in which the algorithm hears of trials.")


def main():
    settings = flags.read(ScaleSettings)
    processes = Processes()
    for algorithm in settings.algorithms:
        for count in settings.workers:
            print(_row(processes, settings, algorithm, count), flush=True)


def search_virtually(folder, algorithm, count, order, trials, seconds):
    """Runs the search of a row, in a process of its own."""
    sys.stdout = sys.stderr = open(folder / "log", "w")  # noqa: SIM115  until the process ends
    search(
        SearchSettings(
            run_dir=str(folder),
            num_trials=trials,
            algorithm=algorithm,
            order=order,
            in_flight=count,
            workers=str(_WORKERS),
            num_workers=count,
            device="simulated",
            deploy_image_size=96,
            final_epochs=0,
        ),
        objective=dataclasses.replace(FAMILY.objective, target_latency_ms=1.0),
        parts={str(_WORKERS): {"seconds": seconds, "report": str(folder / "scale.json")}, "ppo": {"preset": "paper"}},
    )


def _row(processes, settings, algorithm, count):
    folder = pathlib.Path(settings.out_dir).absolute() / f"{algorithm}_{count}_{settings.order}"
    report = folder / "scale.json"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # By the name that another process knows this module by.
        call = importlib.import_module("benchmarks.scale").search_virtually
        processes.call(call, folder, algorithm, count, settings.order, settings.trials, settings.seconds)
        processes.close()
    facts = json.loads(report.read_text())
    samples = facts["samples"]
    grown = samples[-1][1] - samples[len(samples) // 2][1] if samples else 0.0
    database_mb = (folder / "trials.sqlite").stat().st_size / 2**20
    return (
        f"{algorithm:12} {count:5} workers  {facts['trials']:6} trials in {facts['seconds'] / 3600:8.1f} h  "
        f"busy {100 * facts['utilisation']:5.1f} %  driver {facts['driver_ms_a_trial']:6.2f} ms a trial, "
        f"{100 * facts['driver_share']:5.1f} % of the time  database {database_mb:5.1f} MB  "
        f"memory {samples[-1][1] if samples else 0:6.0f} MB, {grown:+.0f} in the second half"
    )


if __name__ == "__main__":
    flags.define(ScaleSettings)
    flags.run(main, __doc__)
