"""Makes a latency table: times every building unit of a space alone, and whole networks to fit how units add up and to
test it. What was timed is kept at once, so that the same call goes on where one stopped."""

import concurrent.futures
import dataclasses
import datetime
import functools
import importlib.metadata
import json
import multiprocessing
import os
import pathlib

import numpy as np

from nas_tf import composition
from nas_tf.devices import Meter
from nas_tf.export import to_tflite
from nas_tf.files import write_file
from nas_tf.latency_table import LatencyTable
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras, progress_bar
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError

_PACKAGES = ("mobile-nas-tf", "keras", "tensorflow", "ai-edge-litert")


@dataclasses.dataclass(frozen=True)
class Plan:
    """For what a table is made, and how thoroughly: every network is timed `passes` times, in shuffled order."""

    space: Part
    scale: object
    device: Part
    num_calibration: int = 60
    num_validation: int = 40
    passes: int = 3
    seed: int = 0
    num_workers: int = 0

    def __post_init__(self):
        for name, least in (("num_calibration", 10), ("num_validation", 2), ("passes", 2), ("seed", 0),
                            ("num_workers", 0)):  # fmt: skip
            if getattr(self, name) < least:
                raise UserError(f"Expected --{name} of at least {least}. Received: {getattr(self, name)}")


def build(plan, folder, say=print):
    """The `nas_tf.latency_table.LatencyTable` of a plan, its validation within; `folder` keeps what was timed.

    Raises:
        UserError: the device is none that times files, or the folder is another plan's.
        EvaluationError: a unit or network could not be timed; the same call goes on from there.
    """
    space = plan.space.space
    latency_scale = space.latency_scale(plan.scale)
    device = plan.device.module.make(plan.device.config, space, plan.scale)
    if not isinstance(device, Meter):
        raise UserError(f"Expected a --device that times files. Received: {plan.device.name!r}")
    device.check()
    about = device.describe()
    networks = _draw_networks(space, plan)
    asked = {"space": plan.space.to_json(), "scale": latency_scale, "device": about, "seed": plan.seed,
             "networks": [list(tokens) for tokens, _ in networks]}  # fmt: skip
    timings = _Timings(pathlib.Path(folder), asked)
    units = {unit.name: unit for unit in space.all_units(plan.scale)}
    jobs = [("unit", name, 0) for name, unit in units.items() if not unit.costs_nothing]
    jobs += [("network", number, each) for number in range(len(networks)) for each in range(plan.passes)]
    np.random.default_rng(plan.seed).shuffle(jobs)
    jobs = [(kind, int(name) if kind == "network" else str(name), int(each)) for kind, name, each in jobs]
    pending = [job for job in jobs if job not in timings.found]
    say(f"{len(units)} units and {len(networks)} networks of space {space.name!r} at {latency_scale} on "
        f"{about['device']}; {len(jobs) - len(pending)} of {len(jobs)} timings are there")  # fmt: skip
    _convert(plan, [job[:2] for job in pending], networks, timings)
    _time(device, pending, timings)
    return _compose(plan, units, networks, timings, about, latency_scale, device)


def _draw_networks(space, plan):
    """[(tokens, architecture), ...]: random networks, each once; those to calibrate with come first."""
    rng, found = np.random.default_rng(plan.seed), {}
    for _ in range(100 * (plan.num_calibration + plan.num_validation)):
        tokens = tuple(int(rng.integers(count)) for count in space.num_choices)
        architecture = space.decode(tokens)
        found.setdefault(architecture.fingerprint, (tokens, architecture))
        if len(found) == plan.num_calibration + plan.num_validation:
            return list(found.values())
    raise UserError(
        f"Space {space.name!r} gave only {len(found)} different networks. Expected {plan.num_calibration} + "
        f"{plan.num_validation} of them: ask for fewer with --num_calibration and --num_validation"
    )


class _Timings:
    """What was timed, a JSON line each, and the converted files that still have to be."""

    def __init__(self, folder, asked):
        self.folder, self.files = folder, folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        asked = json.loads(json.dumps(asked))
        asked_file, self._lines = folder / "asked.json", folder / "timings.jsonl"
        if asked_file.exists():
            was = json.loads(asked_file.read_text())
            other = [name for name in asked if was.get(name) != asked[name]]
            if other:
                raise UserError(f"{folder} holds the timings of another table: its {', '.join(other)} differ. Remove "
                                "it, or choose another --out")  # fmt: skip
        else:
            write_file(asked_file, json.dumps(asked, indent=1) + "\n")
        self.found = {}
        if self._lines.exists():
            text = self._lines.read_text()
            whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last line short
            if whole != text:
                write_file(self._lines, whole)
            for line in whole.splitlines():
                value = json.loads(line)
                self.found[value["kind"], value["name"], value["pass"]] = value

    def file(self, kind, name):
        return self.files / (f"{name}.tflite" if kind == "unit" else f"network{name:04d}.tflite")

    def add(self, job, latency, tflite_bytes):
        kind, name, number = job
        value = {"kind": kind, "name": name, "pass": number, "ms": latency.latency_ms, "std_ms": latency.std_ms,
                 "runs": latency.runs, "tflite_bytes": tflite_bytes}  # fmt: skip
        with open(self._lines, "a") as file:
            file.write(json.dumps(value) + "\n")
        self.found[job] = value


def _convert(plan, targets, networks, timings):
    """Converts what has no file yet, in as many processes as there are cores; nothing is timed meanwhile."""
    missing = [each for each in dict.fromkeys(targets) if not timings.file(*each).exists()]
    if not missing:
        return
    count = min(plan.num_workers or os.cpu_count(), len(missing))
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(count, context, _start, (plan.space, plan.scale)) as pool:
        jobs = [pool.submit(_convert_one, kind, networks[name][0] if kind == "network" else name,
                            timings.file(kind, name)) for kind, name in missing]  # fmt: skip
        names = dict(zip(jobs, missing))
        for job in progress_bar(concurrent.futures.as_completed(jobs), total=len(jobs), desc="converting", unit="file"):
            try:
                job.result()
            except (InfeasibleArchitecture, ValueError, concurrent.futures.BrokenExecutor) as error:
                pool.shutdown(cancel_futures=True)
                kind, name = names[job]
                raise EvaluationError(f"{kind} {name} cannot be converted: there is no table: {error}") from error


def _start(space, scale):
    global _space, _scale
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    _space, _scale = space.space, scale
    import_keras()


@functools.cache
def _units():
    return {unit.name: unit for unit in _space.all_units(_scale)}


def _convert_one(kind, what, path):
    keras = import_keras()
    keras.backend.clear_session()
    to_tflite(_space.build(_space.decode(what), _scale) if kind == "network" else _units()[what].build(), path)


def _time(device, pending, timings):
    brief = device.brief()

    def time_one(job):
        path = timings.file(*job[:2])
        try:
            return job, (brief if job[0] == "unit" else device).measure(os.fspath(path)), path.stat().st_size
        except InfeasibleArchitecture as error:
            raise EvaluationError(f"{job[0]} {job[1]} cannot be timed, so that there is no table: {error}") from error

    with concurrent.futures.ThreadPoolExecutor(device.num_parallel) as pool:
        futures = [pool.submit(time_one, job) for job in pending]
        try:
            for future in progress_bar(concurrent.futures.as_completed(futures), total=len(futures), desc="timing",
                                       unit="file"):  # fmt: skip
                timings.add(*future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _compose(plan, units, networks, timings, about, latency_scale, device):
    space, found = plan.space.space, timings.found
    passes = range(plan.passes)
    measured = np.array([[found["network", i, each]["ms"] for each in passes] for i in range(len(networks))])
    alone = {name: _of_unit(found["unit", name, 0]) if not unit.costs_nothing else (0.0, 0.0)
             for name, unit in units.items()}  # fmt: skip
    kinds = {name: unit.kind for name, unit in units.items()}
    counts = [_count_units(space, architecture, plan.scale) for _, architecture in networks]
    medians = np.median(measured, axis=1)
    model = composition.fit(kinds, alone, counts[: plan.num_calibration], medians[: plan.num_calibration])
    test = slice(plan.num_calibration, None)
    predicted = [sum(n * model.units[name] for name, n in each.items()) for each in counts[test]]
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    validation = composition.compare(predicted, measured[test])
    validation["networks"] = [
        {"tokens": list(tokens), "predicted_ms": ms, "measured_ms": list(row)}
        for (tokens, _), ms, row in zip(networks[test], predicted, measured[test].tolist())
    ]
    return LatencyTable(space.name, latency_scale, about, 0.0, model.units, {
        "space_settings": plan.space.settings, "factors": model.factors, "validation": validation,
        "timings_ms": {name: ms for name, (ms, _) in alone.items()}, "num_calibration": plan.num_calibration,
        "versions": versions, "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    })  # fmt: skip


def _of_unit(timing):
    return timing["ms"], timing["tflite_bytes"] / 1e6


def _count_units(space, architecture, scale):
    counts = {}
    for part in space.parts(architecture, scale):
        for unit, count in space.units(part, scale).items():
            counts[unit.name] = counts.get(unit.name, 0) + count
    return counts
