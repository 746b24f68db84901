"""From a finished search to what ships.

Its best networks are trained in full, and the best of them is chosen and exported. Published networks of equal latency
are trained the same way beside it. Every step's result is a file. What is there is not made again.
"""

import contextlib
import dataclasses
import functools
import pathlib

import nas_tf
from nas_tf import plugins, resume
from nas_tf.devices import Meter
from nas_tf.family import family_of, space_from_file
from nas_tf.files import alone, check_writable
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.ranking import ranked
from nas_tf.reports import search as report
from nas_tf.reports.comparison import Row
from nas_tf.reports.device import device_name
from nas_tf.search.records import Records
from nas_tf.search.request import remade_request
from nas_tf.search.run_folder import RunFolder
from nas_tf.search.settings import JUDGES, RACE_FRACTION, SearchSettings
from nas_tf.search.story import PAGE, write_page
from nas_tf.shipping import choice, finish, imports
from nas_tf.shipping.baselines import builder
from nas_tf.shipping.candidates import Workshop
from nas_tf.shipping.contest import Contest
from nas_tf.shipping.finalists import considered
from nas_tf.shipping.settings import BASELINES, ShipSettings
from nas_tf.training import read_count
from nas_tf.training.machine import Machine
from nas_tf.trial import UserError

_MAY_CHANGE = (
    "data_dir",
    "allow_test_in_train",
    "checkpoint_minutes",
    "weights_dir",
    "out_dir",
    "number_types",
    "licence",
    "device",
    "search_space",
    "dataset",
    "workers",
    "num_workers",
)
_OWN = ("search_space", "dataset")  # settings that say what may run of what the run names
_UNUSED = ("algorithm", "judge", "workers", "warm_start")  # settings of a run of which its chain has mostly no need


def ship(
    run_dir,
    settings,
    machine=None,
    device_settings=None,
    say=print,
    *,
    trials=None,
    may_change=(),
    allowance=None,
    workers_settings=None,
):
    """Runs the chain, or goes on with it.

    Args:
        run_dir: the folder of a finished search.
        settings: the `ShipSettings`.
        machine: `nas_tf.training.machine.Machine`; None: the default.
        device_settings: dict of settings of the device that `settings` name.
        say: takes each line of text.
        trials: the ids of the trials that it is about, maybe none of them; None: all of the search.
        may_change: names of what may differ from what the chain was begun with.
        allowance: the `nas_tf.shipping.race.Allowance` of its race; None: there is time for everything.
        workers_settings: dict of settings of the place that `settings` name.

    Returns:
        list of `nas_tf.reports.comparison.Row`: the network that ships, the published networks, the other candidates.

    Raises:
        UserError: the caller has to change something.
        EvaluationError: the device or a file failed; all else is kept, and the same call goes on from there.
    """
    machine = machine or Machine()
    if machine.distribution == "multi_worker":
        raise UserError("nas-ship runs on one machine. Expected another --distribution than multi_worker")
    machine.start()
    run = RunFolder(run_dir)
    config = run.read()
    for name in _OWN:
        _refuse_other_part(name, getattr(settings, name), config["flags"], run.config)
    space = space_from_file(config["space"].get("part"), run.config, settings.search_space)
    family = family_of(space.name)
    theirs = config["flags"].get("parent")
    if settings.parent and theirs:
        raise UserError(
            f"The networks of {run.path} begin with the weights of {theirs}. Expected no --parent. Received: "
            f"{settings.parent}"
        )
    if not settings.recipe:
        recipe = "finetune" if theirs or settings.parent else "cosine"
        settings = dataclasses.replace(settings, recipe=recipe)
    if settings.recipe not in family.plans:
        raise UserError(f"Expected --recipe, one of {', '.join(family.plans)}. Received: {settings.recipe!r}")
    device_part = None
    if settings.device:
        device_part = Part("nas_tf.devices", settings.device, device_settings or {})
    request = remade(run, config, family, settings, device_part)
    if request.setup.detector_classes:
        raise UserError(
            f"The costs of {run.path} are those of detectors (--deploy_head=ssdlite). Expected --task=detection and "
            "--detection_data_dir. Received: --task=classification"
        )
    folder = pathlib.Path(settings.out_dir or run.path / "ship")
    if settings.parent:
        request = _with_parent(request, settings.parent, folder / "parent")
    with contextlib.ExitStack() as stack:
        device_part, device = choose_device(request.setup, device_part)
        stack.callback(device.close)
        records = Records(run.records, read_only=not run.records.exists())
        stack.callback(records.close)
        goal = choice.goal_then(request, records)
        are_asked = trials is not None
        trials = ranked([each for each in records.trials() if not are_asked or each.id in trials], goal)
        if not trials and not are_asked:
            raise UserError(f"{run.path} holds no finished trial: there is nothing to ship")
        _refuse_other_architectures(run.path, request.setup.task.space.space, trials)
        check_writable(folder)
        stack.enter_context(alone(folder, "nas-ship"))
        finish.mend(folder / "network")
        device.check()
        say(f"files are timed on {device_name(device.describe())}")
        is_runs_device = choice.is_same_device(device.describe(), config["device"])
        networks = _networks(request, settings, goal, is_runs_device, say)
        trials = considered(trials, goal, settings.top_k) if networks else trials[: settings.top_k]
        if networks and settings.baselines == BASELINES:
            settings = dataclasses.replace(settings, baselines=())
        if not trials and not networks:
            raise UserError("There is no trial, and no network that could be imported: there is nothing to ship")
        is_race = bool(trials and networks) or min(settings.num_imports, len({name for _, name, _ in networks})) > 1
        workshop = _open_workshop(request, settings, machine, device, is_race, say)
        say(workshop.dataset.summary())
        if config["measured_under"].get("data digest") not in (None, workshop.dataset.describe().get("digest")):
            say("these are not the images of the search: names, sizes or number differ")
        # Recorded once everything has been checked: settings that were refused block nothing.
        resume.begin(
            folder / "settings.json",
            _asked(settings, machine, trials, device, workshop.dataset, networks),
            (*_MAY_CHANGE, *may_change),
            "choose another --out_dir",
        )
        if settings.parent:
            workshop.setup.make_judge().prepare(pathlib.Path(workshop.setup.judge_folder))
        calls = _make_calls(settings, workers_settings, folder, request, stack) if networks else None
        contest = Contest(workshop, folder, records, request, is_runs_device, allowance, calls)
        if networks:
            outcome = contest.race(trials, networks, settings)
            if outcome.table:
                say(f"\n{outcome.table}\n")
        else:
            outcome = contest.compare(trials, settings.baselines)
        best, why = outcome.best, outcome.why
        say(f"{best.name} ships: {why}")
        best = dataclasses.replace(best, description=dataclasses.replace(best.description, choice=why))
        write = functools.partial(finish.finish, workshop, device_part, settings, records, run.path)
        rows = [
            write(best, folder / "network", "ships"),
            *(write(each, each.folder, role) for each, role in outcome.compared),
            *(Row(each.name, role, each.description) for each, role in outcome.others),
        ]
        notes = [read_count.said(run.path), *report.noise(records.trials())]
        folders = {each.name: each.folder for each, _ in outcome.compared} | {best.name: folder / "network"}
        write_page(run.path / PAGE, [run.path], settings.search_space, workshop.dataset.facts())
        say(f"\n{run.path / PAGE}")
        return finish.report(folder, rows, folders, workshop, why, notes, outcome.table, outcome.tries)


def _make_calls(settings, workers_settings, folder, request, stack):
    """Returns what makes the trainings of a race, where they are not made here; it ends with the stack."""
    if settings.workers == "inline":
        return None
    place, setup = Part("nas_tf.search.workers", settings.workers, workers_settings or {}), request.setup
    seen = (folder, setup.task.images.data_dir, setup.task.parent, settings.weights_dir)
    log_path = folder / "workers.log"
    calls = place.module.make_calls(place.config, num_workers=settings.num_workers, seen=seen, log_path=log_path)
    stack.callback(calls.close)
    return calls


def _refuse_other_part(setting, own, flags, where):
    """Raises `UserError` if `own`, which the user gave, is another part than the run's file names in its `flags`.

    Whether two files of the user's own are the same, or two names of TFDS with a namespace, is for those who run them.
    """
    theirs, tfds_name = flags.get(setting), str(flags.get("tfds_name"))
    both_run_code = (own.endswith(".py") and str(theirs).endswith(".py")) or (
        setting == "dataset" and theirs == "tfds" and ":" in own and ":" in tfds_name
    )
    if own and own != theirs and not both_run_code:
        raise UserError(
            f"Expected --{setting} only for a .py file of your own that the run names. {where} names {theirs!r}. "
            f"Received: {own!r}"
        )


def _networks(request, settings, goal, is_runs_device, say):
    """Returns what can be imported and raced, as `imports.available` does. A published parent is at hand.

    Raises:
        UserError: imports are asked for by name, and the target is a latency of another device.
    """
    if goal.target is not None and goal.cost == "latency_ms" and not is_runs_device and settings.imports != ("none",):
        why = "imports are raced on the device of the search, where its target holds: this is another"
        if settings.imports != ("all",):
            raise UserError(f"{why}. Expected its --device, or --imports=none. Received: {', '.join(settings.imports)}")
        say(f"nothing is raced: {why}")
        return []
    known = request.setup.published_parent()
    return imports.available(settings.imports, settings.weights_dir, known, say)


def _open_workshop(request, settings, machine, device, has_race, say):
    """Returns the `Workshop` of a chain, in which every published network that is asked for can be built.

    If there is a race, its images are kept apart from those that are trained on.

    Raises:
        UserError: one of them cannot.
    """
    import_keras()
    setup, plan = request.setup, request.family.plans[settings.recipe]
    if has_race and not setup.task.images.race_fraction:
        images = dataclasses.replace(setup.task.images, race_fraction=RACE_FRACTION)
        setup = dataclasses.replace(setup, task=dataclasses.replace(setup.task, images=images))
    task = setup.task
    recipe = plan.recipe.with_settings(settings, "epochs", "batch_size", "learning_rate", "frozen_fraction")
    workshop = Workshop(
        setup=setup,
        plan=dataclasses.replace(plan, recipe=recipe),
        machine=machine,
        dataset=task.images.make(task.deploy_scale.image_size, settings.num_samples),
        num_samples=settings.num_samples,
        device=device,
        quantization_friendly=settings.quantization_friendly,
        checkpoint_minutes=settings.checkpoint_minutes,
        say=say,
    )
    for name in settings.baselines:  # better to know now than after hours what cannot be built
        build, scale_of = builder(name, workshop)
        build(scale_of(1.0))
    return workshop


def remade(run, config, family, settings, device_part):
    """Returns the `Request` of a run for its chain. No part of the user's own is in it that `settings` do not name.

    What the chain does not need, such as the algorithm, is left at its default.
    """
    changes = {field.name: field.default for field in dataclasses.fields(SearchSettings) if field.name in _UNUSED}
    if config["flags"].get("judge") in plugins.names(JUDGES):  # which may have weights to begin with
        del changes["judge"]
    changes |= {"run_dir": str(run.path)} | ({"data_dir": settings.data_dir} if settings.data_dir else {})
    allowed = {"allow_test_in_train": True} if settings.allow_test_in_train else {}
    own, has_device = {name: getattr(settings, name) for name in _OWN}, config["flags"].get("device") != "none"
    if device_part is not None:  # the run's own is not run
        changes["device"] = "none"
    request = remade_request(family, {**config["flags"], **allowed}, run.config, own, **changes)
    if device_part is not None and has_device:
        request = dataclasses.replace(request, setup=dataclasses.replace(request.setup, device=device_part))
    return request


def _with_parent(request, text, folder):
    """Returns a run's `Request` as if its children had inherited from a parent, which is fine-tuned in `folder`."""
    parent, task = request.family.parent(text), request.setup.task
    judge = Part("nas_tf.judges", "inherited")
    deploy = parent.scale(task.deploy_scale)
    task = dataclasses.replace(
        task, parent=text, deploy_scale=deploy, proxy_scale=judge.module.child_scale(task.proxy_scale, deploy)
    )
    setup = dataclasses.replace(request.setup, task=task, judge=judge, judge_folder=str(folder))
    setup.make_judge().check()
    return dataclasses.replace(request, setup=setup)


def choose_device(setup, asked):
    """Returns `(Part, Meter)` of the device that times files here: the one that is asked for, or the run's, or this
    machine."""
    for part in [asked] if asked else [*([setup.device] if setup.device else []), Part("nas_tf.devices", "host")]:
        device = part.make(setup.task.space.space, setup.task.deploy_scale)
        if isinstance(device, Meter):
            return part, device
        device.close()
    raise UserError(f"Expected a --device that times files, such as host, android. Received: {part.name}")


def _refuse_other_architectures(path, space, trials):
    """Raises `UserError` if the tokens of a trial mean another architecture now than the one that was measured."""
    for trial in trials:
        try:
            meant = space.decode(trial.tokens).fingerprint
        except ValueError:
            meant = None
        if meant != trial.fingerprint:
            raise UserError(
                f"Trial {trial.id} of {path} is of another architecture than its tokens mean now: the search space has "
                "changed since. Restore the file of the search space"
            )


def _asked(settings, machine, trials, device, dataset, networks):
    """Returns a dict of everything that the networks in the folder depend on, and of more that may change."""
    asked = dataclasses.asdict(settings)
    for name in ("imports", "num_imports"):  # what was not raced decides nothing
        asked[name] = asked[name] if networks else None
    for name in ("tries", "race_seeds"):  # which earlier versions did not ask for
        if asked[name] == getattr(ShipSettings, name):
            del asked[name]
    if networks:
        asked["imports"] = [f"{name} x {width:g}" for _, name, width in networks]
    return {
        **asked,
        **dataclasses.asdict(machine),
        "the trials": [trial.id for trial in trials],
        "the device": device.describe(),
        "the data": {name: dataset.describe().get(name) for name in ("digest", "num_examples", "splits")},
        # Folders of version 0.1 were chosen by another rule, and their published networks had another dropout.
        "version": ".".join(nas_tf.__version__.split(".")[:2]),
    }
