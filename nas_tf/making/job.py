"""The stages of nas-make, one after the other. Each leaves a folder that is whole, and the same call goes on."""

import contextlib
import dataclasses
import functools
import pathlib
import statistics
import tempfile
import time

import numpy as np

from nas_tf import accuracy, resume, stopping
from nas_tf.bars import doing, rough_duration
from nas_tf.datasets import Images, Source, scale_pixels
from nas_tf.devices import Meter
from nas_tf.files import alone, check_writable, read_json, write_json
from nas_tf.making.clock import JobClock
from nas_tf.making.plan import RESERVE, Plan, Speeds, last_seconds, make_plan, plan_from_scratch, with_search
from nas_tf.making.settings import NETWORK, defaults, family_with_weights
from nas_tf.networks.folder import has_description, read_description
from nas_tf.plugins import Part
from nas_tf.quiet import fresh_keras, import_keras
from nas_tf.reports.device import device_name
from nas_tf.reports.numbers import milliseconds
from nas_tf.search.records import Records
from nas_tf.search.request import DATASETS, RACE_FRACTION, make_request
from nas_tf.search.run import begin, run
from nas_tf.search.run_folder import RunFolder
from nas_tf.search.story import PAGE
from nas_tf.shipping import imports
from nas_tf.shipping.candidates import Workshop
from nas_tf.shipping.chain import ShipSettings, ship
from nas_tf.shipping.finish import Incomplete
from nas_tf.shipping.race import FOLDS, LEAST_IMAGES, Allowance
from nas_tf.shipping.turns import Turns, in_turns, write
from nas_tf.training.evaluate import evaluate, traced
from nas_tf.training.machine import Machine
from nas_tf.training.train import train
from nas_tf.trial import EvaluationError, UserError

PLACE = "make"  # in the job's folder: what it was asked for, its plan and its clock
_REHEARSED_STEPS, _REHEARSED_IMAGES = 8, 64
_CONVERSION_SECONDS = 15.0  # where none was timed
_TIMINGS = 2.2  # of a conversion with its 15 rounds of timing: the same with up to 25
_EXTRA_TRAINING_SECONDS, _EXTRA_FILES_SECONDS = 3.0, 10.0  # for what nothing here stands for: saving, pictures, pages
_MAY_CHANGE = ("hours", "weights_dir", "images")
_OF_THE_STAGE = ("the trials", "top_k", "imports", "num_imports")  # of a chain, which is begun twice
_LOOK, _FIRST, _SEARCH, _LAST = "looking and timing", "the first network", "the search", "the race"


def make(asked, say=print):
    """Does the whole job, or goes on with it, and says what came of it.

    Args:
        asked: the `nas_tf.making.settings.Asked`.
        say: takes each line of text.

    Raises:
        UserError: the caller has to change something.
        EvaluationError: the device or a training failed; the same call goes on from there. What had shipped is there.
    """
    folder = asked.out_dir
    place = folder / PLACE
    check_writable(place)
    with alone(place, "nas-make"):
        job = _Job(asked, folder, say)
        resume.begin(place / "settings.json", job.identity(), job.may_change(), "choose another --out_dir")
        if job.is_finished:
            say(job.summary())
            return
        try:
            job.run()
        finally:
            job.clock.note()


class _Job:
    """A job: what it was asked for, and where it stands."""

    def __init__(self, asked, folder, say):
        self._asked, self._folder, self._say = asked, folder, say
        self._preset, self._family = asked.settings.chosen, family_with_weights()
        self.clock = JobClock(folder / PLACE / "clock.json", self._preset.hours)
        self._state, self._conversion = read_json(folder / PLACE / "state.json") or {}, _CONVERSION_SECONDS

    def identity(self):
        """Returns a JSON-ready dict of what was asked for."""
        asked = self._asked
        values = {"images": asked.images, **dataclasses.asdict(asked.settings), **asked.search}
        for config in (asked.limits, asked.proxy):
            values |= dataclasses.asdict(config)
        return {**values, **asked.target, "parts": asked.parts, "out_dir": None}

    def may_change(self):
        """Returns a tuple of the names in `identity` that may be asked for otherwise when the job goes on."""
        fields = dataclasses.fields(self._family.search_settings)
        return (*_MAY_CHANGE, *(field.name for field in fields if not field.metadata.get("decides", True)))

    @property
    def is_finished(self):
        """Whether there is nothing left to do in as many hours."""
        return self._state.get("hours", 0.0) >= self._preset.hours and has_description(self._folder / NETWORK)

    def say(self, text):
        self._say(text)
        self.clock.touch()

    def _keep(self, **state):
        self._state |= state
        write_json(self._folder / PLACE / "state.json", self._state)

    def run(self):
        with self.clock.stage(_LOOK):
            settings = self._settings()
            if "plan" not in self._state:
                self._prepare(settings)
            elif not self._state["searches"] and self._state["parent"] and self._asked.settings.search != "none":
                self._plan_search()
        plan, request = Plan(**self._state["plan"]), self._request(settings)
        if plan.num_imports and not self._state.get("first"):
            with self.clock.stage(_FIRST):
                self._ship_first(request, plan)
        if has_description(self._folder / NETWORK):
            stopping.say_what_there_is(f"What ships so far: {self._folder / NETWORK}")
        incomplete = self._state.get("incomplete")
        if self._state["searches"]:
            with self.clock.stage(_SEARCH):
                self._search(request, plan)
            with self.clock.stage(_LAST):
                incomplete = self._ship_last(plan) or incomplete
        self.clock.note()
        self._keep(hours=self._preset.hours)
        self.say(self.summary())
        if incomplete:
            raise EvaluationError(incomplete)

    def _settings(self):
        """Looks at the images, and returns the search's settings, those that follow from them among them."""
        settings = self._asked.search_settings()
        parts = self._asked.parts
        source = Source(
            Part(DATASETS, settings.dataset, parts.get(settings.dataset, {})), settings.data_dir, settings.seed
        )
        dataset = source.make(32)
        chosen = defaults(dataset, self._asked.search)
        if "plan" not in self._state:
            self.say(dataset.summary())
            chance = accuracy.chance_of(dataset.facts())
            if chance:
                self.say(f"{chance}")
            for name, (value, why) in chosen.items():
                self.say(f"--{name}={value}: {why}")
        return self._asked.search_settings(**{name: value for name, (value, _) in chosen.items()})

    def _request(self, settings, **changes):
        """Returns the `nas_tf.search.request.Request` of the job, as far as it is known by now."""
        state, objective = self._state, self._asked.objective
        known = {name: state[name] for name in ("parent", "race_fraction") if name in state}
        by_parent = {"judge": "", "algorithm": "", **changes, **self._parts_given()}
        settings = dataclasses.replace(settings, **{**known, **by_parent})
        if state.get("target_ms"):
            objective = dataclasses.replace(objective, target_latency_ms=state["target_ms"])
        asked = self._asked
        request = make_request(self._family, settings, objective, asked.limits, asked.proxy, asked.parts)
        parent = request.setup.parent()
        beside = {asked.objective.target_latency_of, *(request.setup.published_parent() if parent else ())}
        return dataclasses.replace(request, published=tuple(sorted(beside)))

    def _parts_given(self):
        return {name: self._asked.search[name] for name in ("judge", "algorithm") if name in self._asked.search}

    # -- looking and timing

    def _prepare(self, settings):
        """Times published networks, chooses the parent, and plans."""
        asked, preset = self._asked, self._preset
        if asked.objective.cost != "latency_ms" or asked.objective.reward == "accuracy":
            raise UserError(
                "nas-make holds networks to a latency. Expected --cost=latency_ms and another --reward than accuracy; "
                "mnas-search has the others"
            )
        request = self._request(settings, race_fraction=0.0)
        known = request.setup.published_parent()
        networks = imports.available(preset.imports or ("all",), asked.settings.weights_dir, known, self.say)
        is_searched = asked.settings.search != "none"
        if not networks and not is_searched:
            raise UserError(
                "Expected published networks whose weights can be had, where nothing is searched. There is none: give "
                "--weights_dir, a folder that holds some (docs/training.md), or a connection"
            )
        most = min(preset.num_imports, len({name for _, name, _ in networks}))
        is_race = networks and (is_searched or most > 1)
        self._state["race_fraction"] = (
            settings.race_fraction if settings.race_fraction is not None else (RACE_FRACTION if is_race else 0.0)
        )
        request = self._request(settings)
        with self._workshop(request) as workshop:
            target_ms = None if networks and asked.is_without_target else self._target(workshop, request)
            if not networks:
                self.say("no weights can be had: networks begin with random ones, and nothing ships before the end")
                plan = self._plan_from_scratch(workshop, request)
                self._keep(target_ms=target_ms, searches=True, plan=dataclasses.asdict(plan), race_fraction=0.0)
                self.say(plan.text())
                return
            find = functools.partial(self._imports, workshop, networks, most, known)
            found = find(target_ms)
            if target_ms is None:
                target_ms = found[0].latency_ms
                self.say(f"target: {milliseconds(target_ms)}, what {found[0]} takes, as none is given")
                found = find(target_ms)
            as_parent = functools.partial(self._as_parent, settings)
            parent = settings.parent or next(filter(None, map(as_parent, found)), None)
            if is_searched and parent is None:
                self.say(f"nothing is searched: networks cannot begin with the weights of {found[0].name}")
                is_searched = False
            speeds = self._speeds(workshop, found[0])
            reserve = RESERVE * 3600 * preset.hours
            plan = make_plan(preset, self.clock.seconds_left - reserve, speeds, len(found), is_searched)
        if is_searched and not plan.top_k:
            self.say("there is no time for a search. Give more --hours")
        state = {"target_ms": target_ms, "parent": parent, "searches": bool(plan.top_k)}
        self._keep(**state, plan=dataclasses.asdict(plan), speeds=dataclasses.asdict(speeds))
        self.say(plan.text())

    def _imports(self, workshop, networks, most, known, target_ms):
        """Returns a list of the `most` best `nas_tf.shipping.imports.Import`s that meet a target, best first."""
        place, turns = self._folder / "ship", Turns(workshop.device)
        path, begun = place / "imports.json", time.monotonic()
        before = len(read_json(path) or {})
        found, fastest = imports.within_target(workshop, place, target_ms, networks, turns)
        timed = len(read_json(path) or {}) - before
        if timed:
            self._conversion = (time.monotonic() - begun) / timed
        if not found:
            raise UserError(
                f"Expected a target that a network can meet. Received: {milliseconds(target_ms)}, where {fastest}"
            )
        found = imports.screen(workshop, place, found, most, self._asked.settings.weights_dir, known)
        if not found:
            raise UserError("Expected weights of a network that meets the target. None could be had: see above")
        return found

    @contextlib.contextmanager
    def _workshop(self, request):
        """Yields the `Workshop` in which networks are timed and rehearsed, and closes its device."""
        setup = request.setup
        device = setup.device and setup.device.make(setup.task.space.space, setup.task.deploy_scale)
        if not isinstance(device, Meter):
            raise UserError(
                "nas-make times the files of networks. Expected a --device that does, such as host, android. Received: "
                f"{request.settings.device}"
            )
        try:
            device.check()
            import_keras()
            self.say(f"networks are timed on {device_name(device.describe())}")
            yield Workshop(
                setup=setup,
                plan=self._family.plans["finetune"],
                machine=Machine(),
                dataset=setup.task.images.make(setup.task.deploy_scale.image_size),
                num_samples=0,
                device=device,
                quantization_friendly=False,
                checkpoint_minutes=10.0,
                say=self.say,
            )
        finally:
            device.close()

    def _target(self, workshop, request):
        """Returns the target in milliseconds: as given, or what the network takes that is named as target."""
        objective = self._asked.objective
        if objective.target is not None:
            return objective.target
        name = objective.target_latency_of
        model = self._family.published_module.build(name, request.setup.task.deploy_scale)
        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            path = write(workshop, model, pathlib.Path(folder) / "target.tflite")
            target_ms = in_turns(workshop.device, {name: path})[name].latency_ms
        self.say(f"target: {milliseconds(target_ms)}, what {name} takes here")
        return target_ms

    def _as_parent(self, settings, found):
        """Returns the path of an import's weights, or None if networks of the space cannot begin with them."""
        try:
            self._request(settings, parent=found.path).setup.make_judge().check()
        except UserError:
            return None
        return found.path

    def _speeds(self, workshop, found):
        """Rehearses the fine-tuning of an import and returns the `Speeds`."""
        task = workshop.setup.task
        dataset = task.images.make(found.image_size)
        recipe = dataclasses.replace(workshop.plan.recipe, epochs=self._preset.epochs)
        scale = found.scale(dataset.num_classes)
        training, image_seconds = self._rehearsed(lambda: found.build(scale), dataset, recipe)
        counts = dataset.describe()["num_examples"]
        folds = FOLDS if 0 < counts.get("race", 0) < LEAST_IMAGES else 0
        files = _files_seconds(counts, image_seconds, self._conversion)
        return Speeds(training, folds, files, _TIMINGS * self._conversion)

    def _rehearsed(self, build, dataset, recipe):
        """Returns what a training takes, and what a network takes to answer on an image, in seconds."""
        fresh_keras(0)
        doing("rehearsing a training")
        begun, model = time.monotonic(), build()
        split = dataset.validation()
        images, labels = next(iter(split.batches(_REHEARSED_IMAGES)))[:2]
        few = Images(np.asarray(images), np.asarray(labels).reshape(-1))
        ask = traced(model)
        ask(scale_pixels(few.images))
        building = time.monotonic() - begun
        seconds = []
        for _ in range(3):
            begun = time.monotonic()
            ask(scale_pixels(few.images))
            seconds.append((time.monotonic() - begun) / len(few.labels))
        image_seconds = statistics.median(seconds)
        trained = train(model, _Few(dataset, few), recipe, max_steps=_REHEARSED_STEPS)
        evaluating = time.monotonic()
        evaluate(model, few)
        evaluating = time.monotonic() - evaluating
        counts = dataset.describe()["num_examples"]
        steps = trained.planned_steps * (7 / 6 if recipe.other_learning_rate else 1.0)
        total = _EXTRA_TRAINING_SECONDS + building + trained.setup_seconds + evaluating + steps * trained.step_seconds
        del model, ask
        fresh_keras(0)  # what read the images is gone with the network
        total += image_seconds * (counts["train"] + (recipe.epochs + 1) * counts["validation"] + counts.get("race", 0))
        return total, image_seconds

    def _plan_from_scratch(self, workshop, request):
        name, scale = self._asked.objective.target_latency_of, request.setup.task.deploy_scale
        recipe = dataclasses.replace(self._family.plans["cosine"].recipe, epochs=1)
        build = self._family.published_module.build
        epoch, image_seconds = self._rehearsed(lambda: build(name, scale), workshop.dataset, recipe)
        files = _files_seconds(workshop.dataset.describe()["num_examples"], image_seconds, self._conversion)
        return plan_from_scratch(self._preset, self.clock.seconds_left, epoch, files)

    def _plan_search(self):
        """Plans a search where there was no time for one, if more hours are given now."""
        plan, speeds = Plan(**self._state["plan"]), Speeds(**self._state["speeds"])
        found = with_search(plan, self._preset, self.clock.seconds_left, speeds)
        if found:
            self._keep(plan=dataclasses.asdict(found), searches=True)
            self.say(found.text())

    # -- the other stages

    def _ship_first(self, request, plan):
        """Fine-tunes the imports and ships the best of them."""
        begin(request, lambda line: None)
        allowance = self._allowance(plan)
        incomplete = self._ship(plan, (), allowance)
        self._keep(speeds={**self._state["speeds"], "training": allowance.training_seconds})
        self._keep(first=True, incomplete=incomplete)

    def _search(self, request, plan):
        """Searches until the race has to begin."""
        if self._state.get("searched", 0.0) >= self._preset.hours:
            return
        speeds = Speeds(**self._state["speeds"]) if "speeds" in self._state else None
        last = plan.last_seconds
        if speeds:  # as they are known by now
            last = last_seconds(speeds, plan.num_imports, plan.tries, plan.seeds, plan.top_k)
        seconds = self.clock.seconds_left - last - RESERVE * 3600 * self._preset.hours
        folder = RunFolder(self._folder)
        records = Records(folder.records, read_only=True) if folder.records.exists() else None
        hours = records.hours() if records else 0.0
        if records:
            records.close()
        if seconds > 0:
            self.say(f"the search, for {rough_duration(seconds)}")
            settings = dataclasses.replace(request.settings, max_hours=hours + seconds / 3600)
            run(dataclasses.replace(request, settings=settings), self.say, with_best=False)
        self._keep(searched=self._preset.hours)

    def _ship_last(self, plan):
        """Races the best of the search, and ships the best of all."""
        records = Records(RunFolder(self._folder).records, read_only=True)
        trials = [trial.id for trial in records.trials() if trial.state == "done"]
        records.close()
        if not trials:
            if not has_description(self._folder / NETWORK):
                raise EvaluationError(
                    "No trial of the search was done, and no published network was there to be fine-tuned: nothing "
                    f"ships. Give more than --hours={self._preset.hours:g}, or see {self._folder / PAGE}"
                )
            self.say("the search has no trial that was done: what was fine-tuned first ships")
            return None
        return self._ship(plan, trials, self._allowance(plan))

    def _allowance(self, plan):
        if "speeds" not in self._state:
            return None
        speeds = Speeds(**self._state["speeds"])
        files = speeds.files * (2 if plan.top_k else 1)
        return Allowance(self.clock.ends_at(), speeds.training, files)

    def _ship(self, plan, trials, allowance):
        """Ships the best of some trials and of the imports. Returns in words what is missing of it, or None."""
        is_fine_tuned = plan.num_imports > 0
        settings = ShipSettings(
            top_k=max(1, plan.top_k),
            recipe="finetune" if is_fine_tuned else "cosine",
            epochs=plan.epochs,
            search_space=self._own(self._asked.search.get("search_space", "")),
            dataset=self._own(self._asked.search.get("dataset", "")),
            imports=(self._preset.imports or ("all",)) if is_fine_tuned else ("none",),
            num_imports=max(1, plan.num_imports),
            tries=plan.tries,
            race_seeds=plan.seeds,
            weights_dir=self._asked.settings.weights_dir,
            baselines=(),
        )
        try:
            ship(
                self._folder,
                settings,
                say=self.say,
                trials=trials,
                may_change=_OF_THE_STAGE,
                allowance=allowance,
            )
        except Incomplete as error:
            self.say(str(error))
            return str(error)
        return None

    def _own(self, name):
        return name if name.endswith(".py") else ""

    def summary(self):
        """Returns in words what ships, and how long all of it took beside the plan."""
        folder, planned = self._folder, Plan(**self._state["plan"])
        network = read_description(folder / NETWORK)
        latency = network.latency_judged or network.latency
        reached = network.accuracy
        facts = network.dataset or {}
        counts = facts.get("num_examples", {})
        figures = [
            f"{accuracy.text(value, counts.get(split))} of {counts.get(split)} {split} images right"
            for split, value in (("validation", reached.validation), ("test", reached.test))
            if value is not None
        ]
        stages = self.clock.stages
        plans = {_FIRST: planned.first_seconds, _SEARCH: planned.search_seconds, _LAST: planned.last_seconds}
        lines = [
            f"{folder / NETWORK}: {'trial ' + str(network.trial) if network.trial else network.text}, "
            f"{', '.join(figures)}, {milliseconds(latency.latency_ms) if latency else 'not timed'}",
            f"it ships because: {network.choice}",
            *(
                f"  {stages[name] / 60:6.1f} min  {name}"
                + (f", {plans[name] / 60:.1f} min planned" if plans.get(name) else "")
                for name in (_LOOK, _FIRST, _SEARCH, _LAST)
                if name in stages
            ),
            f"  {self.clock.seconds / 60:6.1f} min  of {60 * self._preset.hours:.0f} in all",
            f"{folder / PAGE}",
            f"nas-predict {folder} photo.jpg",
        ]
        return "\n".join(lines)


class _Few:
    """A data set of which only a few validation images are looked at."""

    def __init__(self, dataset, few):
        self._dataset, self._few = dataset, few

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def validation(self):
        return self._few


def _files_seconds(counts, image_seconds, conversion):
    """Returns what it takes to write the files of a network and to measure each of them."""
    answers = 4 * counts["validation"] + counts["test"]
    return 4 * conversion + _EXTRA_FILES_SECONDS + answers * image_seconds
