"""One run from its settings to its results: references, the announcement of its cost, the loop, the best network."""

import contextlib
import dataclasses
import importlib
import math
import time
import typing

import numpy as np

from nas_tf import finish, report
from nas_tf.complexity import mult_adds
from nas_tf.devices import Meter
from nas_tf.evaluation import Setup
from nas_tf.files import check_writable
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.progress import Progress
from nas_tf.quiet import import_keras, progress_bar
from nas_tf.recipe import ProxyRecipe
from nas_tf.records import Records
from nas_tf.rewards import LatencyReward, Limits, Objective
from nas_tf.run_folder import RunFolder
from nas_tf.search import Search
from nas_tf.space import fingerprint
from nas_tf.trial import InfeasibleArchitecture, Trial, UserError
from nas_tf.warm_start import warm_start
from nas_tf.workers import InlineWorkers, ProcessWorkers


@dataclasses.dataclass(frozen=True)
class Settings:
    """The knobs that every search has; a family adds its space and its scales."""

    run_dir: str = knob("", "Folder of the run; the same command goes on where it stopped.")
    dataset: str = knob("digits", "Images.", folder="nas_tf.datasets")
    data_dir: str = knob("", "Folder or zip of the images, where the data set needs one.")
    algorithm: str = knob("ppo", "Search algorithm.", folder="nas_tf.algorithms")
    device: str = knob("host", "Where latency comes from.", folder="nas_tf.devices")
    num_trials: int = knob(40, "Trials in all.")
    max_hours: float | None = knob(None, "Hours in all, over every session of the run.")
    seed: int = knob(0, "Decides suggestions, splits, initial weights and the order of images.")
    workers: typing.Literal["process", "inline"] = knob("process", "Where evaluations run.")
    num_workers: int = knob(0, "Worker processes; 0: one a core, at most 8.")
    worker_memory_mb: int = knob(1400, "A worker that has grown beyond this is replaced after its job.")
    proxy_image_size: int = knob(32, "Height and width of the images on which children are trained, in pixels.")
    proxy_samples: int = knob(0, "Training images that a child sees, drawn by class; 0: all.")
    deploy_image_size: int = knob(224, "Height and width, in pixels, at which the network ships and its cost counts.")
    deploy_number_type: typing.Literal["float32", "float16", "int8"] = knob(
        "float32", "Type of the TFLite file that is timed and ships; int8 is calibrated on training images."
    )
    final_epochs: int = knob(5, "Epochs, at the deployment scale, of the best network; 0 leaves it untrained.")
    final_samples: int = knob(0, "Training images for these epochs, drawn by class; 0: all.")
    warm_start: str = knob("", "Folder of an earlier run whose trials are judged anew and learned from first.")

    def __post_init__(self):
        counts = ("num_workers", "proxy_samples", "final_epochs", "final_samples", "seed")
        sizes = ("num_trials", "proxy_image_size", "deploy_image_size", "worker_memory_mb")
        for name in (*counts, *sizes):
            least = int(name in sizes)
            if getattr(self, name) < least:
                raise UserError(f"Expected --{name} of at least {least}. Received: {getattr(self, name)}")
        if self.max_hours is not None and not (math.isfinite(self.max_hours) and self.max_hours > 0):
            raise UserError(f"Expected --max_hours > 0. Received: {self.max_hours}")
        if not self.run_dir:
            raise UserError("Expected --run_dir, the folder of the run, as in --run_dir=runs/first. Received: none")


@dataclasses.dataclass(frozen=True)
class Request:
    """All that a run needs: the settings, the parts they name, and the published networks timed beside the children."""

    settings: Settings
    objective: Objective
    limits: Limits
    proxy: ProxyRecipe
    setup: Setup
    algorithm: Part
    references: tuple[str, ...]

    def flags(self):
        """dict of flag to value, of everything that decides the course of the run."""
        values = {}
        for each in (self.settings, self.objective, self.limits, self.proxy):
            values |= dataclasses.asdict(each)
        parts = (self.setup.space, self.setup.dataset, self.setup.device, self.algorithm)
        for part in filter(None, parts):
            values |= part.flags()
        return values


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run found. `best` is the `nas_tf.trial.Trial` of highest reward, or None where none succeeded."""

    folder: RunFolder
    trials: list
    references: dict
    target: float | None
    best: Trial | None
    test_accuracy: float | None


def run(request, say=print):
    """Runs, or goes on with, the search that `request` describes, and gives its `Result`.

    Raises:
        UserError: a setting, the data, the device or the folder has to be mended by the user.
        EvaluationError: the world broke in mid-run; the same request goes on from there.
    """
    settings, setup = request.settings, request.setup
    space = setup.space.space
    dataset = setup.make_dataset(setup.proxy_scale.image_size, setup.proxy_samples)
    device = setup.make_device()
    algorithm_config = request.algorithm.config
    if device is not None:
        device.check()
    elif request.objective.reward != "accuracy" and request.objective.cost == "latency_ms":
        raise UserError(
            f"--reward={request.objective.reward} on latency needs a --device that latency comes from. "
            "Received: --device=none"
        )
    if settings.deploy_number_type != "float32" and not isinstance(device, Meter):
        raise UserError(f"--deploy_number_type={settings.deploy_number_type} needs a device that times files")
    if request.limits.max_tflite_bytes is not None and not isinstance(device, Meter):
        raise UserError("--max_tflite_bytes needs a --device that times files: this one converts nothing")
    for name in request.references:
        importlib.import_module(setup.references).architecture(name)  # refuses a name that is none
    description = device.describe() if device is not None else {}
    device_id = f"{description['device']}-{fingerprint(description)[:8]}" if device is not None else None
    folder = RunFolder(settings.run_dir)
    check_writable(folder.path)
    with contextlib.ExitStack() as stack:
        records = Records(folder.records)
        stack.callback(records.close)
        trials = records.trials()
        folder.open(request.flags(), description, _describe_space(setup), bool(trials or records.references()))
        records.begin_session()
        if device is not None:
            records.add_device(device_id, description)
        if device is not None:
            stack.callback(device.close)
        workers = _make_workers(settings, _resolved(setup, device), folder)
        stack.callback(workers.close)
        say(_data_line(dataset))
        references = _measure_references(request, workers, records, device_id)
        reward = request.objective.resolve(references)
        if sum(trial.state != "running" for trial in trials) < settings.num_trials:
            say(_announcement(request, workers, reward, space))
        if settings.warm_start:
            warm_start(request, folder, records, reward, device_id, say)
        algorithm = request.algorithm.module.make(algorithm_config, space.num_choices, settings.seed)
        progress = Progress(settings, records)
        stack.callback(progress.close)
        begin = time.perf_counter()
        search = Search(space, algorithm, workers, records, reward, request.limits, device_id, progress.show)
        search.run(settings.num_trials, progress.out_of_time)
        seconds = time.perf_counter() - begin
        workers.close()
        progress.close()
        outside = 100 * (1 - search.evaluating_seconds / seconds)
        say(f"searched for {seconds:.0f} s, {outside:.1f} % of it with nothing training, converting or timing\n")
        return _results(request, records, space, folder, reward, references, report.device_name(description), say)


def _data_line(dataset):
    facts = dataset.describe()
    splits = ", ".join(f"{count} {split}" for split, count in facts["num_examples"].items())
    return f"{dataset.name}: {splits} images of {dataset.num_classes} classes, from {facts['source']}"


def num_classes(dataset, settings):
    """int: how many classes the data set that `settings` name has; reads no image."""
    dataset = dataset.module.make(
        dataset.config, data_dir=settings.data_dir or None, image_size=settings.proxy_image_size,
        num_samples=settings.proxy_samples, seed=settings.seed,
    )  # fmt: skip
    return dataset.num_classes


def _describe_space(setup):
    space = setup.space.space
    decisions = {decision.name: list(decision.choices) for decision in space.decisions}
    scales = {
        "proxy_scale": dataclasses.asdict(setup.proxy_scale),
        "deploy_scale": dataclasses.asdict(setup.deploy_scale),
    }
    return {"part": setup.space.to_json(), "name": space.name, "decisions": decisions, **scales}


def _resolved(setup, device):
    """The setup, its device told to every worker as it was found here."""
    if device is None:
        return setup
    part = dataclasses.replace(setup.device, settings={**setup.device.settings, **device.resolved()})
    return dataclasses.replace(setup, device=part)


def _make_workers(settings, setup, folder):
    if settings.workers == "inline":
        return InlineWorkers(setup)
    return ProcessWorkers(setup, settings.num_workers, settings.worker_memory_mb, folder.workers_log)


def _measure_references(request, workers, records, device_id):
    """dict of name to `nas_tf.trial.Cost` of the published networks that the device can judge; each measured once."""
    known = records.references()
    missing = [name for name in request.references if name not in known]
    for name, outcome in _all(workers, {name: ("reference_cost", name) for name in missing}, "published networks"):
        if outcome.value is not None:
            known[name] = outcome.value
            records.add_reference(name, outcome.value, device_id)
    return {name: known[name] for name in request.references if name in known}


def _all(workers, jobs, description):
    """`(key, Outcome)` of each of `jobs`, a dict of key to job, in their order, once all are done; a bar on the way.

    A network that is infeasible has an outcome without a value; any other failure is raised.
    """
    for key, job in jobs.items():
        workers.submit(key, *job)
    outcomes = {}
    with progress_bar(total=len(jobs), desc=description, disable=None if jobs else True, leave=False) as bar:
        while len(outcomes) < len(jobs):
            outcome = workers.wait()
            bar.update()
            if outcome.failure and not isinstance(outcome.failure, InfeasibleArchitecture):
                raise outcome.failure
            outcomes[outcome.key] = outcome
    return [(key, outcomes[key]) for key in jobs]


def _some_tokens(space, seed):
    rng = np.random.default_rng(seed)
    return tuple(int(rng.integers(count)) for count in space.num_choices)


def _announcement(request, workers, reward, space):
    """What the run is after and what it will cost, from a rehearsal: one child trained for a few steps, and its cost
    measured. It finds bad images too."""
    settings, setup, tokens = request.settings, request.setup, _some_tokens(space, request.settings.seed)
    jobs = {"training": ("accuracy", tokens, 8), "cost": ("cost", tokens)}
    rehearsal = dict(_all(workers, jobs, "rehearsing a trial"))
    trained, cost_seconds = rehearsal["training"].value, rehearsal["cost"].seconds
    goal = "accuracy alone"
    if isinstance(reward, LatencyReward):
        given = request.objective.target is not None
        source = "as given" if given else f"{request.objective.target_latency_of}'s, measured here"
        goal = f"target {reward.cost} {reward.target:.4g} ({source}), {reward.shape} reward"
    if trained is None:
        return f"{goal}; the rehearsed child diverged, so that no cost can be told beforehand"
    steps = trained.planned_steps
    trial_seconds = trained.train_seconds + steps * trained.step_seconds + cost_seconds
    minutes = settings.num_trials * trial_seconds / workers.num_workers / 60
    lines = [
        goal,
        f"{settings.num_trials} trials of about {trial_seconds:.0f} s ({trained.setup_seconds:.0f} s tracing, {steps} "
        f"steps of {1e3 * trained.step_seconds:.0f} ms, {cost_seconds:.0f} s converting and timing) on "
        f"{workers.num_workers} workers: about {minutes:.0f} minutes, as rehearsed just now",
    ]
    if settings.final_epochs:
        import_keras()
        architecture = space.decode(tokens)
        proxy, deploy = (mult_adds(space.build(architecture, each)) for each in (setup.proxy_scale, setup.deploy_scale))
        seconds = settings.final_epochs * steps / setup.recipe.epochs * trained.step_seconds * deploy / proxy
        same = settings.final_samples == settings.proxy_samples
        lines.append(
            f"then {settings.final_epochs} epochs of the best network at {settings.deploy_image_size} px: at most "
            f"about {seconds / 60:.0f} minutes{'' if same else ' for as many images as the children see'}"
        )
    return "\n".join(lines)


def _results(request, records, space, folder, reward, references, device, say):
    """Writes the front, its picture and the best network, and says what was found."""
    trials = records.trials()
    best = next(iter(report.done(trials)), None)
    target, cost = (reward.target, reward.cost) if isinstance(reward, LatencyReward) else (None, request.objective.cost)
    if request.setup.device is None and cost == "latency_ms":
        cost = "mult_adds"
    result = Result(folder, trials, references, target, best, None)
    table = report.closing_table(trials, space, target=target, cost=cost, references=references, device=device)
    if best is None:
        say(table)
        say("No trial succeeded: there is no best network. The column `infeasible` of trials.sqlite says why")
        return result
    report.write_pareto_csv(folder.pareto_csv, trials, space, cost, device)
    title = f"{space.name} on {request.settings.dataset}, {len(report.done(trials))} networks, {device}"
    report.draw_pareto(folder.pareto_png, trials, cost=cost, target=target, references=references, title=title)
    say(table)
    say(f"\n{folder.pareto_png}\n{folder.pareto_csv}")
    network = finish.best_network(request, space, best, folder.best)
    test_accuracy = network["accuracy"].get("test")
    if test_accuracy is not None:
        records.add_full_accuracy(best.id, space.decode(best.tokens), "test", test_accuracy, {})
    say(f"{folder.best}: trial {best.id}, {network['weights']}"
        + (f", accuracy {test_accuracy:.4f} on the test split" if test_accuracy is not None else ""))  # fmt: skip
    return dataclasses.replace(result, test_accuracy=test_accuracy)
