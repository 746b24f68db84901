"""How the network that ships is found: in a race against imports, or beside published networks trained alike."""

import dataclasses
import pathlib
import tempfile

from nas_tf import accuracy, complexity
from nas_tf.files import read_json, write_json
from nas_tf.networks.folder import read_keras
from nas_tf.quiet import count
from nas_tf.reports import race as race_report
from nas_tf.reports.numbers import milliseconds
from nas_tf.reports.race import RaceRow
from nas_tf.rewards import cost_of
from nas_tf.search.records import Records
from nas_tf.search.request import Request
from nas_tf.shipping import choice, entrants, imports
from nas_tf.shipping.baselines import train_baseline
from nas_tf.shipping.candidates import Candidate, Workshop, train_trial
from nas_tf.shipping.finalists import finalists
from nas_tf.shipping.race import Allowance, Race
from nas_tf.shipping.tries import TRIES, tries_in_words
from nas_tf.shipping.turns import Turns, write
from nas_tf.shipping.verdict import Verdict
from nas_tf.trial import Cost, EvaluationError, Latency, UserError

_DIVERGED = (
    "Every training of the race diverged: there is nothing to ship. A lower --learning_rate, with another --out_dir, "
    "may help"
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a contest came to.

    Attributes:
        best: the `Candidate` that ships.
        why: in words.
        compared: tuple of `(Candidate, role)` of the networks whose files are written too, for comparison.
        others: tuple of `(Candidate, role)` of all others.
        table: the table of the race, as text; empty: there was none.
        tries: in words, how often each network of the race was trained.
    """

    best: Candidate
    why: str
    compared: tuple = ()
    others: tuple = ()
    table: str = ""
    tries: str = ""


@dataclasses.dataclass(frozen=True)
class Contest:
    """Everything that a contest needs.

    Attributes:
        workshop: the `Workshop`.
        folder: `pathlib.Path` of the chain.
        records: the run's `Records`.
        request: the run's `Request`.
        is_runs_device: whether files are timed on the device of the run.
        allowance: the `nas_tf.shipping.race.Allowance` of a race.
        calls: what makes its trainings elsewhere, or None.
    """

    workshop: Workshop
    folder: object
    records: Records
    request: Request
    is_runs_device: bool
    allowance: Allowance | None = None
    calls: object = None

    def compare(self, trials, baselines):
        """Trains trials, picks one by validation images, and trains published networks of equal latency beside it."""
        candidates = [self._train(number, trial, len(trials)) for number, trial in enumerate(trials, 1)]
        goal = self._goal()
        best = choice.choose(candidates, goal, self.is_runs_device)
        why = choice.in_words(best, goal, self.is_runs_device)
        target_ms = best.description.latency.latency_ms
        beside = [
            train_baseline(self.workshop, self.folder / "baselines" / name, name, target_ms) for name in baselines
        ]
        return Outcome(
            best,
            why,
            tuple((each, "baseline") for each in beside),
            tuple((each, "candidate") for each in candidates if each.name != best.name),
        )

    def _goal(self):
        """Returns the `nas_tf.rewards.Goal` as it is now."""
        return choice.goal_now(self.workshop, self.folder, self.request, self.records, self.is_runs_device)

    def race(self, trials, networks, settings):
        """Races trials against imports. One import alone is fine-tuned and ships.

        Args:
            trials: the `Trial`s among which the finalists are (`nas_tf.shipping.finalists.considered`).
            networks: list of networks that can be imported, as `nas_tf.shipping.imports.available` returns.
            settings: the `nas_tf.shipping.settings.ShipSettings`.

        Raises:
            UserError: there are no trials, and no import meets the target.
            EvaluationError: every training diverged.
        """
        workshop, goal, teacher = self.workshop, self._goal(), None
        path = workshop.setup.fine_tuned_parent
        if path and settings.tries == TRIES:
            teacher = read_keras(path)
        target_ms = goal.target if goal.cost == "latency_ms" else None
        file = self.folder / choice.TARGET_FILE
        turns = Turns(workshop.device, target_ms, file) if file.exists() else Turns(workshop.device)
        found, fastest = imports.within_target(workshop, self.folder, target_ms, networks, turns)
        if not found:
            line = f"no network that can be imported meets the target of {milliseconds(target_ms)}: {fastest}"
            if not trials:
                raise UserError(f"Expected a target that a network can meet: {line}")
            workshop.say(line)
        found = imports.screen(
            workshop,
            self.folder,
            found,
            settings.num_imports,
            settings.weights_dir,
            workshop.setup.published_parent(),
        )
        race = Race(workshop, teacher, settings.tries, settings.race_seeds, self.allowance, self.calls)
        imported = entrants.imported(workshop, self.folder / "imports", found)
        if not trials and len(imported) == 1:
            return self._alone(race, imported[0], turns)
        trials = finalists(workshop, self.folder, trials, goal, turns, settings.top_k)
        finished = race.run([*entrants.searched(workshop, self.folder / "candidates", trials), *imported])
        if not finished:
            raise EvaluationError(_DIVERGED)
        finished = self._timed_in_turns(finished, turns)
        costs = {each.entrant.name: self._cost(each) for each in finished}
        eligible = [each for each in finished if goal.is_met(costs[each.entrant.name])]
        if eligible:
            verdict = race.decide(eligible)
            why, winner = str(verdict), verdict.winner
        else:
            winner = min(finished, key=lambda each: cost_of(costs[each.entrant.name], goal.cost))
            verdict = Verdict(winner)
            why = f"it has the lowest {goal.cost} of the race, in which nothing meets the target"
        seeded = {each.entrant.name: each for each in (verdict.winner, verdict.other) if each}
        finished = sorted((seeded.get(each.entrant.name, each) for each in finished), key=lambda each: -each.accuracy)
        rows = [_row(each, goal.is_met(costs[each.entrant.name])) for each in finished]
        race_report.write_csv(self.folder / "race.csv", rows)
        race_report.draw(self.folder / "race.png", rows, winner.entrant.name, target_ms)
        for each in finished:
            if each.entrant.trial:
                self._record(each.entrant.trial, each.description)
        return Outcome(
            _candidate(winner),
            why,
            tuple((_candidate(each), _role(each)) for each in (verdict.other,) if each),
            tuple((_candidate(each), _role(each)) for each in finished if each.entrant.name not in seeded),
            race_report.text(rows, len(winner.right)),
            tries_in_words(settings.tries),
        )

    def _alone(self, race, entrant, turns):
        """Returns the `Outcome` where there is one network to fine-tune, which nothing is held against."""
        self.workshop.say(f"fine-tuning {entrant.name}")
        finisher = race.finish(entrant, is_judged=False)
        if finisher is None:
            raise EvaluationError(_DIVERGED)
        (finisher,) = self._timed_in_turns([finisher], turns)
        return Outcome(
            _candidate(finisher), "the best with a classifier in closed form of those that could be imported"
        )

    def _timed_in_turns(self, finished, turns):
        """Returns the `Finisher`s with latencies that can be compared; they are kept in `latencies.json`."""
        path = self.folder / "latencies.json"
        known = read_json(path) or {}
        if set(known) != {each.entrant.name for each in finished}:
            self.workshop.say(f"timing {count(len(finished), 'network')} in turns")
            with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
                files = {}
                for number, each in enumerate(finished):
                    model = read_keras(each.folder / "model.keras")
                    files[each.entrant.name] = write(self.workshop, model, pathlib.Path(folder) / f"{number}.tflite")
                known = {name: latency.to_json() for name, latency in turns.latencies(files).items()}
            write_json(path, known)
        is_float = self.workshop.setup.number_type == "float32"
        found = []
        for each in finished:
            latency = Latency(**known[each.entrant.name])
            network = dataclasses.replace(each.description, **{"latency" if is_float else "latency_judged": latency})
            found.append(dataclasses.replace(each, description=network))
        return found

    def _cost(self, finisher):
        """Returns the `nas_tf.trial.Cost` of a network of the race, as it was timed here."""
        network, trial = finisher.description, finisher.entrant.trial
        if trial:
            return choice.judged_cost(_candidate(finisher), self.is_runs_device)
        return Cost(
            num_params=network.num_params,
            mult_adds=network.mult_adds,
            peak_activation_bytes=complexity.peak_activation_bytes(read_keras(finisher.folder / "model.keras")),
            latency=network.latency_judged or network.latency,
        )

    def _train(self, number, trial, total):
        """Trains a trial's network, records its accuracy, and returns its `Candidate`."""
        space = self.workshop.setup.task.space.space
        architecture = space.decode(trial.tokens)
        self.workshop.say(f"[{number}/{total}] trial {trial.id}: {architecture}")
        candidate = train_trial(self.workshop, self.folder / "candidates" / f"trial_{trial.id:05d}", trial)
        self._record(trial, candidate.description)
        return candidate

    def _record(self, trial, network):
        """Records the validation accuracy of a trial's network after full training, unless that failed."""
        if network.failure is None:
            reached = network.accuracy.validation
            error = accuracy.standard_error(reached, self.workshop.num_validation)
            details = {"recipe": network.recipe, "standard_error": error}
            architecture = self.workshop.setup.task.space.space.decode(trial.tokens)
            self.records.add_full_accuracy(trial.id, architecture, "validation", reached, details)


def _candidate(finisher):
    network = finisher.description
    if finisher.rights:
        network = dataclasses.replace(network, accuracy=dataclasses.replace(network.accuracy, race=finisher.accuracy))
    return Candidate(finisher.entrant.name, finisher.folder, network, finisher.entrant.trial)


def _role(finisher):
    return "import" if finisher.entrant.is_import else "candidate"


def _row(finisher, meets_target):
    return RaceRow(
        name=finisher.entrant.name,
        kind="import" if finisher.entrant.is_import else "searched",
        accuracy=finisher.accuracy,
        error=finisher.error,
        seeds=len(finisher.rights),
        validation=finisher.description.accuracy.validation,
        attempt=finisher.attempt.name,
        latency_ms=finisher.latency_ms,
        meets_target=meets_target,
    )
