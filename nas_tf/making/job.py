"""The stages of nas-make, one after the other. Each leaves a folder that is whole, and the same call goes on."""

import dataclasses

from nas_tf import plugins, resume, stopping
from nas_tf.accuracy_tables.builder import LEAST_IMAGES
from nas_tf.bars import rough_duration
from nas_tf.files import alone, check_writable, read_json
from nas_tf.making import tables
from nas_tf.making.clock import JobClock
from nas_tf.making.plan import RESERVE, last_seconds
from nas_tf.making.preparing import look_at_images, plan_more, prepare
from nas_tf.making.settings import NETWORK, SHIP, family_with_weights
from nas_tf.making.state import JobState
from nas_tf.networks.folder import has_description, read_description
from nas_tf.reports.network import name_of, reached
from nas_tf.search.records import Records
from nas_tf.search.run import begin, run
from nas_tf.search.run_folder import RunFolder
from nas_tf.search.settings import WORKERS
from nas_tf.search.story import PAGE
from nas_tf.shipping import imports
from nas_tf.shipping.chain import ship
from nas_tf.shipping.finish import Incomplete, mend
from nas_tf.shipping.race import Allowance
from nas_tf.shipping.settings import ShipSettings
from nas_tf.trial import EvaluationError

PLACE = "make"  # in the job's folder: what it was asked for, what it knows and its clock
_BY_PLACE = ("weights_dir", "images")  # may lie elsewhere later: what they hold is looked at then
_MAY_CHANGE = ("hours", *_BY_PLACE)
_MOST_OF_TABLES = 0.9  # of the search, for both tables: their best are timed in the rest
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
        job.begin()
        if job.is_finished:
            job.end()
        else:
            with job.clock.running():
                job.run()
            job.end()


class _Job:
    """A job: what it was asked for, and where it stands."""

    def __init__(self, asked, folder, say):
        self._asked, self._folder, self.say = asked, folder, say
        self._preset = asked.settings.chosen
        self.clock = JobClock(folder / PLACE / "clock.json", self._preset.hours)
        self._state = JobState.load(folder / PLACE / "state.json")

    def begin(self):
        """Records what was asked for, or refuses it if other settings are recorded.

        Until there is a plan, other settings begin anew: a command that was refused stands in the way of no other.
        """
        path, asked, may_change = self._folder / PLACE / "settings.json", self._identity(), self._may_change()
        made, is_raced = read_json(path), (self._folder / SHIP / "settings.json").exists()
        must_stay = self._state.plan is not None or is_raced or made is None
        if not must_stay and resume.differences(made, asked, set(may_change) - set(_BY_PLACE)):
            imports.forget(self._folder / SHIP)
            path.unlink()
        resume.begin(path, asked, may_change, "choose another --out_dir")

    def _identity(self):
        """Returns a JSON-ready dict of what was asked for."""
        asked = self._asked
        values = {"images": asked.images, **dataclasses.asdict(asked.settings), **asked.search}
        for config in (asked.limits, asked.proxy):
            values |= dataclasses.asdict(config)
        return {**values, **asked.target, "parts": asked.parts, "out_dir": None}

    def _may_change(self):
        """Returns a tuple of the names in `_identity` that may be asked for otherwise when the job goes on."""
        fields = dataclasses.fields(family_with_weights().search_settings)
        return (*_MAY_CHANGE, *(field.name for field in fields if not field.metadata.get("decides", True)))

    @property
    def is_finished(self):
        """bool: whether there is nothing left to do in as many hours."""
        return self._state.done_hours >= self._preset.hours and has_description(self._folder / NETWORK)

    def _know(self, state):
        self._state = state
        state.save(self._folder / PLACE / "state.json")

    def _learn(self, **known):
        self._know(dataclasses.replace(self._state, **known))

    def run(self):
        """Does what is left to do."""
        mend(self._folder / NETWORK)
        with self.clock.stage(_LOOK):
            request = self._prepared()
        if self._state.plan.num_imports and not self._state.is_first_done:
            with self.clock.stage(_FIRST):
                self._ship_first(request)
        if has_description(self._folder / NETWORK):
            stopping.say_what_there_is(f"What ships so far: {self._folder / NETWORK}")
        if self._state.is_searched:
            with self.clock.stage(_SEARCH):
                self._search(request)
            with self.clock.stage(_LAST):
                self._ship_last()
        self._learn(done_hours=self._preset.hours)

    def end(self):
        """Says what came of it.

        Raises:
            EvaluationError: something of what ships is not as it should be.
        """
        self.say(self._summary())
        if self._state.incomplete:
            raise EvaluationError(self._state.incomplete)

    def _prepared(self):
        """Plans what is not planned yet, and returns the `nas_tf.search.request.Request` of the search."""
        is_new = self._state.plan is None
        settings = look_at_images(self._asked, self.say if is_new else lambda line: None)
        if is_new:
            self._know(prepare(self._asked, settings, self.clock, self.say))
        elif self._asked.settings.search != "none":
            more = plan_more(self._state, self._preset, self.clock.seconds_left)
            if more != self._state:
                self._know(more)
                self.say(more.plan.text())
        state = self._state
        known = {"race_fraction": state.race_fraction, **({"parent": state.parent} if state.parent else {})}
        request = self._asked.request(settings, state.target_ms, **known)
        if self._asked.settings.search == "tables" and state.is_searched and not state.by_tables:
            self._decide_on_tables(request)
        return request

    def _decide_on_tables(self, request):
        """Plans tables where there is time for them, unless another search has begun."""
        if RunFolder(self._folder).config.exists() or self._state.speeds is None:
            return
        images, plan = request.setup.task.images.make(32).describe()["num_examples"]["train"], self._state.plan
        reason = tables.why_not(request)
        if images < LEAST_IMAGES:
            reason = f"tables need {LEAST_IMAGES} training images"
        if reason is not None:
            self.say(f"{reason}: networks are tried one by one")
            return
        needed = tables.seconds(request, self._state.speeds, plan.epochs, images)
        if needed <= _MOST_OF_TABLES * plan.search_seconds:
            self.say(f"both tables take about {rough_duration(needed)} of the search")
            self._learn(by_tables=True)
        else:
            self.say(
                f"both tables take about {rough_duration(needed)}, and the search has "
                f"{rough_duration(plan.search_seconds)}: networks are tried one by one. For tables give more --hours, "
                "and another --out_dir"
            )

    def _ship_first(self, request):
        """Fine-tunes the imports and ships the best of them."""
        run_dir = self._folder
        if self._state.by_tables:  # the run of the search is of a judge that there is not yet
            run_dir = self._folder / PLACE / "first"
            settings = dataclasses.replace(request.settings, run_dir=str(run_dir))
            request = dataclasses.replace(request, settings=settings)
        begin(request, lambda line: None)
        allowance = self._allowance()
        incomplete = self._ship((), allowance, run_dir if self._state.by_tables else None)
        speeds = dataclasses.replace(self._state.speeds, training=allowance.training_seconds)
        self._learn(speeds=speeds, is_first_done=True, incomplete=incomplete)

    def _search(self, request):
        """Searches until the race has to begin."""
        state = self._state
        if state.searched_hours >= self._preset.hours:
            return
        plan = state.plan
        if state.by_tables:
            place = self._folder / PLACE
            by_tables = tables.chosen(self._asked, request, state.target_ms, plan.top_k, place, self.say)
            request = by_tables or request
        last = plan.last_seconds
        if state.speeds:  # as they are known by now
            last = last_seconds(state.speeds, plan.num_imports, plan.tries, plan.seeds, plan.top_k)
        seconds = self.clock.seconds_left - last - RESERVE * 3600 * self._preset.hours
        if seconds > 0:
            self.say(f"the search, for {rough_duration(seconds)}")
            path = RunFolder(self._folder).records
            hours = _read(path, Records.hours) if path.exists() else 0.0
            settings = dataclasses.replace(request.settings, max_hours=hours + seconds / 3600)
            run(dataclasses.replace(request, settings=settings), self.say, with_best=False)
        self._learn(searched_hours=self._preset.hours)

    def _ship_last(self):
        """Races the best of the search, and ships the best of all."""
        path = RunFolder(self._folder).records  # there is none if tables took all the time of the search
        trials = _read(path, Records.trials) if path.exists() else []
        done = [trial.id for trial in trials if trial.state == "done"]
        if done:
            self._learn(incomplete=self._ship(done, self._allowance()))
        elif has_description(self._folder / NETWORK):
            self.say("the search has no trial that was done: what was fine-tuned first ships")
        else:
            raise EvaluationError(
                "No trial of the search was done, and no published network was there to be fine-tuned: nothing "
                f"ships. Give more than --hours={self._preset.hours:g}, or see {self._folder / PAGE}"
            )

    def _allowance(self):
        speeds = self._state.speeds
        if speeds is None:
            return None
        files = speeds.files * (2 if self._state.plan.top_k else 1)
        return Allowance(self.clock.ends_at(), speeds.training, files)

    def _ship(self, trials, allowance, run_dir=None):
        """Ships the best of some trials and of the imports. Returns in words what is missing of it, or None.

        The run is that of the job unless `run_dir` is another.
        """
        plan = self._state.plan
        is_fine_tuned = plan.num_imports > 0
        search, parts = self._asked.search, self._asked.parts
        device, workers = _own(search.get("device", "")), _place(search.get("workers", "process"))
        settings = ShipSettings(
            top_k=max(1, plan.top_k),
            recipe="finetune" if is_fine_tuned else "cosine",
            epochs=plan.epochs,
            search_space=_own(search.get("search_space", "")),
            dataset=_own(search.get("dataset", "")),
            device=device,
            imports=self._state.imports or ("none",),
            num_imports=max(1, plan.num_imports),
            tries=plan.tries,
            race_seeds=plan.seeds,
            weights_dir=self._asked.settings.weights_dir,
            baselines=(),
            workers=workers,
            num_workers=search.get("num_workers", 0),
            out_dir=str(self._folder / SHIP) if run_dir else "",
        )
        try:
            ship(
                run_dir or self._folder,
                settings,
                device_settings=parts.get(device),
                workers_settings=parts.get(workers),
                say=self.say,
                trials=trials,
                may_change=_OF_THE_STAGE,
                allowance=allowance,
            )
        except Incomplete as error:
            self.say(str(error))
            return str(error)
        return None

    def _summary(self):
        """Returns in words what ships, and how long all of it took beside the plan."""
        folder, planned = self._folder, self._state.plan
        network = read_description(folder / NETWORK)
        stages = self.clock.stages
        plans = {_FIRST: planned.first_seconds, _SEARCH: planned.search_seconds, _LAST: planned.last_seconds}
        lines = [
            f"{folder / NETWORK}: {name_of(network)}, {reached(network)}",
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


def _own(name):
    return name if name.endswith(".py") else ""


def _place(workers):
    """Returns where the networks of a race are trained: where the search's children were, if that is a cluster."""
    return workers if getattr(plugins.load(WORKERS, workers), "DISTRIBUTED", False) else "inline"


def _read(path, what):
    records = Records(path, read_only=True)
    try:
        return what(records)
    finally:
        records.close()
