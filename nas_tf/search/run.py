"""The order of a run, from its request to its results."""

import contextlib
import dataclasses
import inspect
import time

from nas_tf import plugins, stopping
from nas_tf.accuracy import chance_of
from nas_tf.algorithms import Algorithm
from nas_tf.devices import Meter
from nas_tf.files import alone, check_writable
from nas_tf.plugins import mistakes_told
from nas_tf.quiet import count
from nas_tf.reports.device import device_name
from nas_tf.search.board import Board
from nas_tf.search.deadlines import Deadlines
from nas_tf.search.loop import Search
from nas_tf.search.problem import make_algorithm, problem_of
from nas_tf.search.progress import Clock, Progress
from nas_tf.search.records import WARM_START, Records
from nas_tf.search.rehearsal import AFTER_HOURS, announcement, measure_published, rehearse
from nas_tf.search.request import make_request
from nas_tf.search.results import Findings
from nas_tf.search.run_folder import RunFolder
from nas_tf.search.rungs import Rungs, check_offered
from nas_tf.search.settings import ALGORITHMS
from nas_tf.search.story import PAGE
from nas_tf.search.warm_start import read_earlier, warm_start
from nas_tf.space import fingerprint
from nas_tf.trial import EvaluationError, UserError


def search(family, settings, objective=None, limits=None, proxy=None, parts=None, say=print):
    """Runs the search of `settings`, or goes on with it, and returns its `nas_tf.search.results.Result`.

    Args:
        family: the `nas_tf.family.Family`.
        settings, objective, limits, proxy, parts: as `nas_tf.search.request.make_request` takes them.
        say: takes each line of text.

    Raises:
        nas_tf.trial.UserError: the caller has to change something.
        nas_tf.trial.EvaluationError: something else failed in mid-run; the same call goes on from there.
    """
    return run(make_request(family, settings, objective, limits, proxy, parts), say)


def run(request, say=print, with_best=True):
    """Runs the search that a `nas_tf.search.request.Request` describes, or goes on with it, and returns its `Result`.

    With `with_best` False the best network is left as it is, and no `best/` is written.

    Raises:
        UserError: the user has to change a setting, the data, the device or the folder.
        EvaluationError: something else failed in mid-run; the same request goes on from there.
    """
    settings, setup = request.settings, request.setup
    space = setup.task.space.space
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(_opened(request, say))
        folder, records, device, facts = opened.folder, opened.records, opened.device, opened.facts
        workers = opened.workers
        trials = records.trials()
        earlier = read_earlier(request, folder) if settings.warm_start and not trials else []
        records.begin_session()
        clock = Clock(settings.max_hours, records)
        patience_seconds = device.patience_seconds if device else 0.0
        opened.judge.prepare(folder.judge)
        folder.check_judge_files()
        published = measure_published(request, workers, records, opened.device_id, clock, patience_seconds)
        reward = request.objective.resolve(published)
        goal = request.objective.goal(reward, device is not None)
        share = settings.promoted_share
        rungs = Rungs(opened.judge.rung_works, share, reward) if share is not None else None
        remaining = settings.most_trials - _num_finished(trials)
        deadlines = Deadlines()
        if remaining > 0 and not clock.is_over():
            rehearsal = rehearse(request, workers, trials, clock, patience_seconds)
            if rehearsal:
                deadlines = rehearsal.deadlines(settings.deadline_factor, patience_seconds)
                say(
                    announcement(
                        request, workers, goal, chance_of(facts), rehearsal, remaining, published, clock, rungs
                    )
                )
        if earlier:
            warm_start(request, earlier, records, reward, opened.device_id, opened.judge_name, say)
        algorithm = _make_algorithm(request, reward, device)
        board = Board(folder.tensorboard, space.decisions)
        stack.callback(board.close)
        board.settings(request.flags())
        findings = Findings(request, records, folder, goal, published, device_name(opened.description), facts, board)
        stopping.say_what_there_is(f"What it has found so far: {folder.path / PAGE}")
        progress = Progress(settings, records, board, goal, algorithm)
        stack.callback(progress.close)
        workers.on_doing = progress.doing
        begin = time.perf_counter()
        loop = Search(
            space,
            algorithm,
            workers,
            records,
            reward,
            request.limits,
            opened.device_id,
            opened.judge_name,
            progress.show,
            settings.remeasured_share,
            deadlines,
            rungs,
            settings.window,
            on_news=findings.renew_front,
        )
        with _written_if_stopped(findings, workers, progress):
            loop.run(settings.most_trials, clock.is_over)
        seconds = time.perf_counter() - begin
        workers.close()
        progress.close()
        over = _hours_over(settings, records.trials())
        if over:
            say(over)
        outside = 100 * (1 - loop.evaluating_seconds / seconds)
        say(f"searched for {seconds:.0f} s, {outside:.1f} % of it with nothing training, converting or timing\n")
        return findings.write(say, with_best)


def begin(request, say=print):
    """Opens the folder of a run for a `Request` and measures nothing yet: what reads the folder knows what it is of.

    Raises:
        UserError: as `run` does.
    """
    with _opened(request, say, with_workers=False):
        pass


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A run whose folder is open: its records, workers, device and judge, and what is known of the images."""

    folder: RunFolder
    records: Records
    workers: object
    device: object
    device_id: str | None
    description: dict
    judge: object
    judge_name: str
    facts: dict


@contextlib.contextmanager
def _opened(request, say, with_workers=True):
    """Opens the folder of a run, to no other process, as an `_Opened`; all that can be refused early is refused."""
    settings, setup = request.settings, request.setup
    dataset = setup.task.images.make(setup.task.proxy_scale.image_size, settings.proxy_samples)
    folder = RunFolder(settings.run_dir)
    facts, device, judge = dataset.facts(), _make_device(request, folder), setup.make_judge()
    _check(request, device, judge)
    say(dataset.summary(settings.deploy_image_size))
    description, judge_description = device.describe() if device else {}, judge.describe()
    device_id = f"{description['device']}-{fingerprint(description)[:8]}" if device else None
    check_writable(folder.path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mistakes_told(folder.workers_log))
        stack.enter_context(alone(folder.path, "search"))
        workers = _make_workers(request, device, folder, stack) if with_workers else None
        records = Records(folder.records)
        stack.callback(records.close)
        has_begun = bool(records.trials() or records.published())
        asked = (description, _describe_space(setup.task), judge_description, facts, request.parts)
        folder.open(request.flags(), request.deciding_flags(), *asked, has_begun, records, say)
        if device:
            records.add_device(device_id, description)
            stack.callback(device.close)
        yield _Opened(
            folder, records, workers, device, device_id, description, judge, judge_description["judge"], facts
        )


def _make_device(request, folder):
    """Returns the device, where the workers have it: on a cluster it may hang on one of the nodes."""
    make_there = getattr(request.workers.module, "make_device", None)
    if make_there is None:
        return request.setup.make_device()
    check_writable(folder.path)
    num_workers = request.settings.num_workers
    return make_there(request.workers.config, request.setup, num_workers=num_workers, log_path=folder.workers_log)


def _make_workers(request, device, folder, stack):
    settings = request.settings
    workers = request.workers.make(
        _resolved(request.setup, device),
        num_workers=settings.num_workers,
        max_memory_mb=settings.worker_memory_mb,
        log_path=folder.workers_log,
    )
    stack.callback(workers.close)
    _check_hours(settings, workers)
    return workers


@contextlib.contextmanager
def _written_if_stopped(findings, workers, progress):
    """Writes the front when the search inside is stopped or ends in a failure: it can be looked at."""
    try:
        yield
    except (KeyboardInterrupt, EvaluationError, UserError):
        workers.close()
        progress.close()
        with contextlib.suppress(Exception):  # what ended the search is what counts
            findings.write_front()
        raise


def _check(request, device, judge):
    """Raises `UserError` if a part cannot answer, or if what is asked for needs another device."""
    objective, is_meter = request.objective, isinstance(device, Meter)
    if device is not None:
        device.check()
    elif objective.reward != "accuracy" and objective.cost == "latency_ms":
        raise UserError(
            f"--reward={objective.reward} on latency needs a --device that latency comes from. Received: --device=none"
        )
    if objective.reward == "front" and not _finds_fronts(request.algorithm.module):
        finders = [each for each in plugins.names(ALGORITHMS) if _finds_fronts(plugins.load(ALGORITHMS, each))]
        raise UserError(
            f"--reward=front needs an algorithm that searches for fronts: {', '.join(finders)}. "
            f"Received: --algorithm={request.settings.algorithm}"
        )
    number_type = request.setup.number_type
    known = "float32" if device is None else number_type if is_meter else device.number_type
    if number_type != known:
        raise UserError(
            f"--deploy_number_type={number_type} needs a device that times files, or a table of such files. Received: "
            f"--device={request.settings.device}, which knows {known} files"
        )
    if request.setup.detector_classes and device is not None and not is_meter:
        raise UserError(
            "--deploy_head=ssdlite needs a device that times files, such as host or android, or none. Received: "
            f"--device={request.settings.device}, which knows networks only as they are"
        )
    if request.limits.max_tflite_bytes is not None and not is_meter:
        raise UserError("--max_tflite_bytes needs a --device that times files: this one converts nothing")
    for name in request.published:
        request.family.published_module.architecture(name)  # refuses an unknown name
    check_offered(judge, request.settings.judge, request.settings.promoted_share)
    judge.check()


def _check_hours(settings, workers):
    """Raises `UserError` if hours are asked for where a network that never ends would go on beyond them."""
    if settings.max_hours is not None and not workers.ends_jobs:
        raise UserError(
            "Expected --workers that can end a network which never ends by itself, so that --max_hours="
            f"{settings.max_hours:g} holds. Received: --workers={settings.workers}, which cannot. Give "
            "--workers=process, or no --max_hours"
        )


def _num_finished(trials):
    return sum(trial.state != "running" and not trial.note.startswith(WARM_START) for trial in trials)


def _hours_over(settings, trials):
    """Returns a line on trials that `--max_hours` left out, and on what it does not bound; None if it left out none."""
    finished = _num_finished(trials)
    if settings.max_hours is None or finished >= settings.most_trials:
        return None
    trials = f"{finished} of {count(settings.num_trials, 'trial')}" if settings.num_trials else count(finished, "trial")
    line = f"--max_hours={settings.max_hours:.3g} is over, after {trials}"
    return f"{line}. {AFTER_HOURS}: 0 leaves it untrained" if settings.final_epochs else line


def _make_algorithm(request, reward, device):
    """Returns the algorithm, with what it may know: it begins at the run's parent if the parent is in the space."""
    space, parent, start = request.setup.task.space.space, request.setup.parent(), None
    with contextlib.suppress(ValueError):  # the parent is not in the space
        start = parent and space.encode(parent.architecture)
    order = request.settings.order
    is_distributed = getattr(request.workers.module, "DISTRIBUTED", False)
    waits = order == "synchronous" or (order == "auto" and not is_distributed)
    problem = problem_of(space, reward, device, start, waits)
    algorithm = make_algorithm(request.algorithm, space.num_choices, request.settings.seed, problem)
    if not isinstance(algorithm, Algorithm):
        raise UserError(
            "Expected make(...) of --algorithm to return a nas_tf.algorithms.Algorithm. Received: "
            f"{request.settings.algorithm}, which returns a {type(algorithm).__name__}"
        )
    if len(inspect.signature(algorithm.suggest).parameters) < 2:
        raise UserError(
            "Expected --algorithm to have suggest(count, running), as nas_tf/algorithms/__init__.py says. Received: "
            f"{request.settings.algorithm}, whose suggest takes a count alone"
        )
    return algorithm


def _finds_fronts(module):
    return getattr(module, "FINDS_FRONTS", False)


def _describe_space(task):
    space = task.space.space
    return {
        "part": task.space.to_json(),
        "name": space.name,
        "decisions": {decision.name: list(decision.choices) for decision in space.decisions},
        "proxy_scale": dataclasses.asdict(task.proxy_scale),
        "deploy_scale": dataclasses.asdict(task.deploy_scale),
    }


def _resolved(setup, device):
    """Returns the setup with the settings that the device has found here, so that every worker uses the same."""
    if device is None:
        return setup
    part = dataclasses.replace(setup.device, settings={**setup.device.settings, **device.resolved()})
    return dataclasses.replace(setup, device=part)
