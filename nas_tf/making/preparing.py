"""What comes before the stages of a job: the images, the device and the published networks, and the plan."""

import contextlib
import dataclasses
import functools
import pathlib
import statistics
import tempfile
import time

import numpy as np

from nas_tf import accuracy
from nas_tf.bars import doing
from nas_tf.datasets import Images, Source, scale_pixels
from nas_tf.devices import Meter
from nas_tf.files import read_json
from nas_tf.making.plan import RESERVE, Speeds, make_plan, plan_from_scratch, with_search
from nas_tf.making.settings import SHIP, defaults, family_with_weights
from nas_tf.making.state import JobState
from nas_tf.plugins import Part
from nas_tf.quiet import fresh_keras, import_keras
from nas_tf.reports.device import device_name
from nas_tf.reports.numbers import milliseconds
from nas_tf.search.settings import DATASETS, RACE_FRACTION
from nas_tf.shipping import imports
from nas_tf.shipping.candidates import Workshop
from nas_tf.shipping.race import FOLDS, LEAST_IMAGES
from nas_tf.shipping.turns import Turns, in_turns, write
from nas_tf.training.evaluate import evaluate, traced
from nas_tf.training.machine import Machine
from nas_tf.training.train import train
from nas_tf.trial import UserError

_REHEARSED_STEPS, _REHEARSED_IMAGES = 8, 64
_MOST_CLASSES = 20  # that are named with their counts
_CONVERSION_SECONDS = 15.0  # where none was timed
_TIMINGS = 2.2  # of a conversion with its 15 rounds of timing: the same with up to 25
_EXTRA_TRAINING_SECONDS, _EXTRA_FILES_SECONDS = 3.0, 10.0  # for what nothing here stands for: saving, pictures, pages


def look_at_images(asked, say):
    """Returns the search's settings, those that follow from the images among them, and says what there is.

    Args:
        asked: the `nas_tf.making.settings.Asked`.
        say: takes each line of text.
    """
    settings = asked.search_settings()
    part = Part(DATASETS, settings.dataset, asked.parts.get(settings.dataset, {}))
    dataset = Source(part, settings.data_dir, settings.seed).make(32)
    chosen = defaults(dataset, asked.search)
    say(dataset.summary())
    say(_by_class(dataset))
    chance = accuracy.chance_of(dataset.facts())
    if chance:
        say(f"{chance}")
    for name, (value, why) in chosen.items():
        say(f"--{name}={value}: {why}")
    return asked.search_settings(**{name: value for name, (value, _) in chosen.items()})


def _by_class(dataset):
    """Returns in words how many training images there are of each class, or of the rarest, and how large they are."""
    words, labels = [], dataset.labels("train")
    if labels is not None:
        counts = np.bincount(labels, minlength=dataset.num_classes)
        shown = range(len(counts))
        if len(counts) > _MOST_CLASSES:
            shown = np.argsort(counts, kind="stable")[:_MOST_CLASSES]
        named = ", ".join(f"{counts[each]} of {dataset.class_names[each]}" for each in shown)
        words.append(f"training images: {named}" + (" (the rarest)" if len(counts) > _MOST_CLASSES else ""))
    if dataset.median_side:
        words.append(f"the median image is of {dataset.median_side} px")
    return "; ".join(words) or "how many images of each class there are is not known before they are read"


def prepare(asked, settings, clock, say):
    """Times published networks, chooses the parent, and plans.

    Args:
        asked: the `nas_tf.making.settings.Asked`.
        settings: as of `look_at_images`.
        clock: the `nas_tf.making.clock.JobClock`.
        say: takes each line of text.

    Returns:
        The `nas_tf.making.state.JobState`.

    Raises:
        UserError: the caller has to change something.
    """
    if asked.objective.cost != "latency_ms" or asked.objective.reward == "accuracy":
        raise UserError(
            "nas-make holds networks to a latency. Expected --cost=latency_ms and another --reward than accuracy; "
            "mnas-search has the others"
        )
    if settings.workers == "inline" and asked.settings.search != "none":
        raise UserError(
            "nas-make ends its search in time. Expected --workers that can end a network which never ends by itself, "
            "such as process. Received: inline"
        )
    known = asked.request(settings).setup.published_parent()
    asked_for, weights_dir = asked.settings.chosen.imports or ("all",), asked.settings.weights_dir
    networks = imports.available(asked_for, weights_dir, known, say)
    _refuse_what_needs_weights(asked, settings, networks)
    most = min(asked.settings.chosen.num_imports, len({name for _, name, _ in networks}))
    race_fraction = settings.race_fraction
    if race_fraction is None:
        is_race = networks and (asked.settings.search != "none" or most > 1)
        race_fraction = RACE_FRACTION if is_race else 0.0
    request = asked.request(settings, race_fraction=race_fraction)
    with _workshop(request, say) as workshop:
        preparing = _Preparing(asked, settings, workshop, clock, say)
        state = preparing.with_weights(networks, most, known) if networks else preparing.from_scratch()
    names = tuple(dict.fromkeys(name for _, name, _ in networks))
    state = dataclasses.replace(state, race_fraction=race_fraction, imports=names)
    say(state.plan.text())
    return state


def plan_more(state, preset, seconds_left):
    """Returns a `JobState` without a search with one, or the same if there is no time for one now either."""
    if state.is_searched or not state.parent:
        return state
    seconds = seconds_left - RESERVE * 3600 * preset.hours - (0.0 if state.is_first_done else state.plan.first_seconds)
    plan = with_search(state.plan, preset, seconds, state.speeds)
    return dataclasses.replace(state, plan=plan, is_searched=True) if plan else state


def _refuse_what_needs_weights(asked, settings, networks):
    if networks:
        return
    there_is_none = "There is none: give --weights_dir, a folder that holds some (docs/training.md), or a connection"
    if asked.settings.search == "none":
        raise UserError(
            f"Expected published networks whose weights can be had, where nothing is searched. {there_is_none}"
        )
    if settings.parent:
        raise UserError(
            f"Expected published networks whose weights can be had, to hold networks that begin with --parent="
            f"{settings.parent} against. {there_is_none}; mnas-search --parent and nas-ship go without"
        )


@contextlib.contextmanager
def _workshop(request, say):
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
        say(f"networks are timed on {device_name(device.describe())}")
        yield Workshop(
            setup=setup,
            plan=family_with_weights().plans["finetune"],
            machine=Machine(),
            dataset=setup.task.images.make(setup.task.deploy_scale.image_size),
            num_samples=0,
            device=device,
            quantization_friendly=False,
            checkpoint_minutes=10.0,
            say=say,
        )
    finally:
        device.close()


class _Preparing:
    """What is measured before the plan, and the plan."""

    def __init__(self, asked, settings, workshop, clock, say):
        self._asked, self._settings, self._workshop, self._clock, self._say = asked, settings, workshop, clock, say
        self._preset, self._conversion = asked.settings.chosen, _CONVERSION_SECONDS

    def with_weights(self, networks, most, known):
        """Returns the state where published networks have weights.

        Args:
            networks, known: of `nas_tf.shipping.imports.available`.
            most: of them are fine-tuned.
        """
        target_ms = None if self._asked.is_without_target else self._target()
        find = functools.partial(self._imports, networks, most, known)
        found = find(target_ms)
        if target_ms is None:
            target_ms = found[0].latency_ms
            self._say(f"target: {milliseconds(target_ms)}, what {found[0]} takes, as none is given")
            found = find(target_ms)
        parent = self._settings.parent or next(filter(None, map(self._as_parent, found)), None)
        is_searched = self._asked.settings.search != "none"
        if is_searched and parent is None:
            self._say(f"nothing is searched: networks cannot begin with the weights of {found[0].name}")
            is_searched = False
        speeds = self._speeds(found[0])
        plan = make_plan(self._preset, self._seconds_left(), speeds, len(found), is_searched)
        if is_searched and not plan.top_k:
            self._say("there is no time for a search. Give more --hours")
        return JobState(plan=plan, speeds=speeds, target_ms=target_ms, parent=parent, is_searched=bool(plan.top_k))

    def from_scratch(self):
        """Returns the state where no network has weights."""
        target_ms = self._target()
        self._say("no weights can be had: networks begin with random ones, and nothing ships before the end")
        name = self._asked.objective.target_latency_of
        family, scale = family_with_weights(), self._workshop.setup.task.deploy_scale
        recipe = dataclasses.replace(family.plans["cosine"].recipe, epochs=1)
        epoch, image_seconds = _rehearsed(
            lambda: family.published_module.build(name, scale), self._workshop.dataset, recipe
        )
        files = _files_seconds(self._workshop.dataset.describe()["num_examples"], image_seconds, self._conversion)
        plan = plan_from_scratch(self._preset, self._seconds_left(), epoch, files)
        return JobState(plan=plan, target_ms=target_ms, is_searched=True)

    def _seconds_left(self):
        return self._clock.seconds_left - RESERVE * 3600 * self._preset.hours

    def _imports(self, networks, most, known, target_ms):
        """Returns a list of the `most` best `nas_tf.shipping.imports.Import`s that meet a target, best first."""
        place, workshop = self._asked.out_dir / SHIP, self._workshop
        path, begun = place / imports.TIMED, time.monotonic()
        before = len(read_json(path) or {})
        found, fastest = imports.within_target(workshop, place, target_ms, networks, Turns(workshop.device))
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

    def _target(self):
        """Returns the target in milliseconds: as given, or what the network takes that is named as target."""
        objective, workshop = self._asked.objective, self._workshop
        if objective.target is not None:
            return objective.target
        name = objective.target_latency_of
        model = family_with_weights().published_module.build(name, workshop.setup.task.deploy_scale)
        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            path = write(workshop, model, pathlib.Path(folder) / "target.tflite")
            target_ms = in_turns(workshop.device, {name: path})[name].latency_ms
        self._say(f"target: {milliseconds(target_ms)}, what {name} takes here")
        return target_ms

    def _as_parent(self, found):
        """Returns the path of an import's weights, or None if networks of the space cannot begin with them."""
        try:
            self._asked.request(self._settings, parent=found.path).setup.make_judge().check()
        except UserError:
            return None
        return found.path

    def _speeds(self, found):
        """Rehearses the fine-tuning of an import and returns the `Speeds`."""
        workshop = self._workshop
        dataset = workshop.setup.task.images.make(found.image_size)
        recipe = dataclasses.replace(workshop.plan.recipe, epochs=self._preset.epochs)
        scale = found.scale(dataset.num_classes)
        training, image_seconds = _rehearsed(lambda: found.build(scale), dataset, recipe)
        counts = dataset.describe()["num_examples"]
        folds = FOLDS if 0 < counts.get("race", 0) < LEAST_IMAGES else 0
        files = _files_seconds(counts, image_seconds, self._conversion)
        return Speeds(training, folds, files, _TIMINGS * self._conversion)


class _Few:
    """A data set of which only a few validation images are looked at."""

    def __init__(self, dataset, few):
        self._dataset, self._few = dataset, few

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def validation(self):
        return self._few


def _rehearsed(build, dataset, recipe):
    """Returns what a training takes, and what a network takes to answer on an image, in seconds."""
    fresh_keras(0)
    doing("rehearsing a training")
    begun, model = time.monotonic(), build()
    images, labels = next(iter(dataset.validation().batches(_REHEARSED_IMAGES)))[:2]
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


def _files_seconds(counts, image_seconds, conversion):
    """Returns what it takes to write the files of a network and to measure each of them."""
    answers = 4 * counts["validation"] + counts["test"]
    return 4 * conversion + _EXTRA_FILES_SECONDS + answers * image_seconds
