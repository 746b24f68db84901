"""Makes a latency table.

It times every unit of a space alone, and whole networks, to fit how units add up and to test the table. Each timing is
kept at once, so that the same call goes on where one stopped.
"""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import pathlib

import numpy as np

from nas_tf import resume
from nas_tf.bars import progress_bar
from nas_tf.devices import Meter
from nas_tf.devices.table import LatencyTable
from nas_tf.export import to_tflite
from nas_tf.files import JsonLines, alone
from nas_tf.latency_tables import composition
from nas_tf.plugins import Part, own_line
from nas_tf.quiet import import_keras
from nas_tf.recycling import Processes
from nas_tf.settings import Settings, knob
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, OwnFileError, UserError

_CALIBRATION_MAPS = 4
_PACKAGES = ("mobile-nas-tf", "keras", "tensorflow", "ai-edge-litert")


@dataclasses.dataclass(frozen=True)
class Thoroughness(Settings):
    """How thoroughly a table is made and tested."""

    num_calibration: int = knob(60, "Random networks on which it is fitted how units add up.", least=10)
    num_validation: int = knob(40, "Random networks, not seen before, on which the table is tested.", least=2)
    passes: int = knob(3, "Timings of each of these networks, in shuffled order; their median counts.", least=2)
    seed: int = knob(0, "Decides which networks, and the order of timings.", least=0)
    num_workers: int = knob(0, "Processes that convert; 0: one for each core. Nothing is timed meanwhile.", least=0)


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """What a table is made for, and how.

    Attributes:
        space: the search space's `nas_tf.plugins.Part`.
        scale: the family's deployment `Scale`.
        device: the device's `Part`.
        thoroughness: how thoroughly it is made.
        number_type: type of the TFLite files, of `nas_tf.export.NUMBER_TYPES`.
    """

    space: Part
    scale: object
    device: Part
    thoroughness: Thoroughness = dataclasses.field(default_factory=Thoroughness)
    number_type: str = "float32"


def build(plan, folder, say=print, make_calls=None):
    """Makes and returns the `nas_tf.devices.table.LatencyTable` of a plan, with its validation.

    Args:
        plan: the `TablePlan`.
        folder: the folder that keeps what was timed.
        say: takes each line of text.
        make_calls: returns what makes the calls that convert, as `nas_tf.recycling.Processes` does; None: such
            processes, here. It is called once all else was found right.

    Raises:
        UserError: the device does not time files, or the folder belongs to another plan.
        EvaluationError: a unit or network could not be timed; the same call goes on from there.
    """
    space = plan.space.space
    latency_scale = space.latency_scale(plan.scale)
    device = plan.device.make(space, plan.scale)
    if not isinstance(device, Meter):
        raise UserError(f"Expected a --device that times files. Received: {plan.device.name!r}")
    device.check()
    about = device.describe()
    thoroughness = plan.thoroughness
    networks = _draw_networks(space, thoroughness)
    asked = {
        "space": plan.space.to_json(),
        "scale": latency_scale,
        "device": about,
        "seed": thoroughness.seed,
        "networks": [list(tokens) for tokens, _ in networks],
        **({"number_type": plan.number_type} if plan.number_type != "float32" else {}),
    }
    units = {unit.name: unit for unit in space.all_units(plan.scale)}
    jobs = [("unit", name, 0) for name, unit in units.items() if not unit.costs_nothing]
    jobs += [("network", number, each) for number in range(len(networks)) for each in range(thoroughness.passes)]
    np.random.default_rng(thoroughness.seed).shuffle(jobs)
    jobs = [(kind, int(name) if kind == "network" else str(name), int(each)) for kind, name, each in jobs]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder, "making of a table"):
        timings = _Timings(folder, asked)
        pending = [job for job in jobs if job not in timings.found]
        say(
            f"{len(units)} units and {len(networks)} networks of space {space.name!r} at {latency_scale} on "
            f"{about['device']}; {len(jobs) - len(pending)} of {len(jobs)} timings are there"
        )
        _convert(plan, [job[:2] for job in pending], networks, timings, make_calls)
        _time(device, pending, timings)
    return _compose(plan, units, networks, timings, about, latency_scale, device)


def _draw_networks(space, thoroughness):
    """Returns a list of (tokens, architecture) of random networks, each once, those for calibration first."""
    rng, found = np.random.default_rng(thoroughness.seed), {}
    num_networks = thoroughness.num_calibration + thoroughness.num_validation
    for _ in range(100 * num_networks):
        tokens = tuple(int(rng.integers(count)) for count in space.num_choices)
        architecture = space.decode(tokens)
        found.setdefault(architecture.fingerprint, (tokens, architecture))
        if len(found) == num_networks:
            return list(found.values())
    raise UserError(
        f"Space {space.name!r} has only {len(found)} different networks. Expected {thoroughness.num_calibration} + "
        f"{thoroughness.num_validation} of them: ask for fewer with --num_calibration and --num_validation"
    )


class _Timings:
    """What was timed, one JSON line for each timing, and the converted files."""

    def __init__(self, folder, asked):
        self.folder, self.files = folder, folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        resume.begin(folder / "asked.json", asked, instead="remove it, or choose another --out")
        self.found = JsonLines(folder / "timings.jsonl", ("kind", "name", "pass"))

    def file(self, kind, name):
        return self.files / (f"{name}.tflite" if kind == "unit" else f"network{name:04d}.tflite")

    def add(self, job, latency, tflite_bytes):
        kind, name, number = job
        value = {
            "kind": kind,
            "name": name,
            "pass": number,
            "ms": latency.latency_ms,
            "std_ms": latency.std_ms,
            "runs": latency.runs,
            "tflite_bytes": tflite_bytes,
        }
        self.found.add(value)


def _convert(plan, targets, networks, timings, make_calls=None):
    """Converts what has no file yet, by default in a process for each core. Nothing is timed meanwhile."""
    missing = [each for each in dict.fromkeys(targets) if not timings.file(*each).exists()]
    if not missing:
        return
    count = min(plan.thoroughness.num_workers or os.cpu_count(), len(missing))
    calls = {
        (kind, name): (
            _convert_one,
            plan.space,
            plan.scale,
            kind,
            networks[name][0] if kind == "network" else name,
            timings.file(kind, name),
            plan.number_type,
        )
        for kind, name in missing
    }
    with contextlib.closing(make_calls() if make_calls else Processes(count)) as processes:
        done = progress_bar(processes.run(calls), total=len(calls), desc="converting", unit="file")
        for (kind, name), _, failure in done:
            if failure is not None:
                done.close()
                if isinstance(failure, OwnFileError):
                    raise failure
                raise EvaluationError(f"{kind} {name} cannot be converted, so there is no table: {failure}")


def convert_network(space_part, scale, tokens, path, number_type="float32"):
    """Writes the TFLite file of a space's network, as a table's networks are converted."""
    _convert_one(space_part, scale, "network", tokens, path, number_type)


def _convert_one(space_part, scale, kind, what, path, number_type="float32"):
    import_keras().backend.clear_session()
    space = space_part.space
    try:
        if kind == "network":
            model = space.build(space.decode(what), scale)
        else:
            model = next(unit for unit in space.all_units(scale) if unit.name == what).build()
        # Ranges of random maps: which they are does not change how long integers take.
        rng, shapes = np.random.default_rng(0), [(_CALIBRATION_MAPS, *each.shape[1:]) for each in model.inputs]
        maps = tuple(rng.uniform(-1, 1, shape).astype("float32") for shape in shapes)
        to_tflite(model, path, 1, number_type, maps)
    except Exception as error:
        if own_line(error) is None:
            raise
        raise OwnFileError(own_line(error)) from error  # its traceback does not come to the other process


def _time(device, pending, timings):
    brief = device.brief()

    def time_one(job):
        path = timings.file(*job[:2])
        try:
            return job, (brief if job[0] == "unit" else device).measure(os.fspath(path)), path.stat().st_size
        except InfeasibleArchitecture as error:
            raise EvaluationError(f"{job[0]} {job[1]} cannot be timed, so there is no table: {error}") from error

    with concurrent.futures.ThreadPoolExecutor(device.num_parallel) as pool:
        try:
            futures = [pool.submit(time_one, job) for job in pending]
            for future in progress_bar(
                concurrent.futures.as_completed(futures), total=len(futures), desc="timing", unit="file"
            ):
                timings.add(*future.result())
        finally:
            # A stop leaves no time to wait for what is being timed: closing the device ends it.
            pool.shutdown(wait=False, cancel_futures=True)
            device.close()


def _compose(plan, units, networks, timings, about, latency_scale, device):
    space, found, num_calibration = plan.space.space, timings.found, plan.thoroughness.num_calibration
    passes = range(plan.thoroughness.passes)
    measured = np.array([[found["network", i, each]["ms"] for each in passes] for i in range(len(networks))])
    of_units = {
        name: _of_unit(found["unit", name, 0]) if not unit.costs_nothing else (0.0, 0.0) for name, unit in units.items()
    }
    kinds = {name: unit.kind for name, unit in units.items()}
    counts = [_count_units(space, architecture, plan.scale) for _, architecture in networks]
    medians = np.median(measured, axis=1)
    model = composition.fit(kinds, of_units, counts[:num_calibration], medians[:num_calibration])
    test = slice(num_calibration, None)
    predicted = [sum(n * model.units[name] for name, n in each.items()) for each in counts[test]]
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    validation = composition.compare(predicted, measured[test])
    validation["networks"] = [
        {"tokens": list(tokens), "predicted_ms": ms, "measured_ms": list(row)}
        for (tokens, _), ms, row in zip(networks[test], predicted, measured[test].tolist())
    ]
    return LatencyTable(
        space.name,
        latency_scale,
        about,
        0.0,
        model.units,
        {
            "space_settings": plan.space.settings,
            "number_type": plan.number_type,
            "factors": model.factors,
            "validation": validation,
            "timings_ms": {name: ms for name, (ms, _) in of_units.items()},
            "num_calibration": num_calibration,
            "seen": [architecture.fingerprint for _, architecture in networks],
            "versions": versions,
            "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    )


def _of_unit(timing):
    return timing["ms"], timing["tflite_bytes"] / 1e6


def _count_units(space, architecture, scale):
    counts = {}
    for group in space.unit_groups(architecture, scale):
        for unit, count in space.units(group, scale).items():
            counts[unit.name] = counts.get(unit.name, 0) + count
    return counts
