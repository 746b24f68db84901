"""What a search leaves behind: the front, its picture, the best network."""

import dataclasses
import math
import pathlib
import time

from nas_tf import accuracy
from nas_tf.accuracy import chance_of, num_examples_of
from nas_tf.networks.folder import describe, has_description, is_whole, read_description, write_network
from nas_tf.ranking import finished, ranked
from nas_tf.reports import search as report
from nas_tf.rewards import Goal
from nas_tf.search.board import Board
from nas_tf.search.records import Records
from nas_tf.search.request import Request
from nas_tf.search.run_folder import RunFolder
from nas_tf.search.story import PAGE, write_page
from nas_tf.training.network import train_network
from nas_tf.trial import Trial, UserError

_FRONT_SECONDS = 30.0  # between two pictures of a running search, at least
_FRONT_SHARE = 0.05  # of the time, at most, that is spent on them


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        folder: the `nas_tf.search.run_folder.RunFolder`.
        trials: list of all its `nas_tf.trial.Trial`s.
        published: dict from published network to its `nas_tf.trial.Cost` here.
        goal: the `nas_tf.rewards.Goal` by which `best` was picked.
        best: the best trial (`nas_tf.ranking.rank`); None if no trial succeeded.
        accuracy: of the best network at the deployment scale on the validation images, in [0, 1]; None if it was not
            trained.
    """

    folder: RunFolder
    trials: list
    published: dict
    goal: Goal
    best: Trial | None
    accuracy: float | None


@dataclasses.dataclass
class Findings:
    """What a search finds, for people: pareto.csv and pareto.png, renewed while it goes on, and the end of it.

    Attributes:
        request: the `nas_tf.search.request.Request`.
        records: the run's `nas_tf.search.records.Records`.
        folder: its `RunFolder`.
        goal: the `nas_tf.rewards.Goal`.
        published: dict from published network to its `nas_tf.trial.Cost`.
        device: the device in one line.
        facts: `nas_tf.datasets.Dataset.facts()` of the children's images.
        board: the `nas_tf.search.board.Board`, which gets the picture of the front.
    """

    request: Request
    records: Records
    folder: RunFolder
    goal: Goal
    published: dict
    device: str
    facts: dict
    board: Board

    def __post_init__(self):
        self._next_at, self._ended = -math.inf, None

    def renew_front(self):
        """Writes the front's files and the page if some time has passed since they were written."""
        if time.monotonic() >= self._next_at:
            self.write_front(least=1)

    def write_front(self, least=0):
        """Writes the front's files, if there is a front, and the page, unless they have every trial already.

        Nothing is written as long as fewer trials than `least` have ended.
        """
        begin, trials = time.monotonic(), self.records.trials()
        ended = sum(trial.state != "running" for trial in trials)
        if ended == self._ended or ended < least:
            return
        if finished(trials):
            self._draw(trials)
        self._write_page()
        end = time.monotonic()
        self._next_at, self._ended = end + max(_FRONT_SECONDS, (end - begin) / _FRONT_SHARE), ended

    def _draw(self, trials):
        space, folder, number = self._space, self.folder, len(finished(trials))
        report.write_pareto_csv(folder.pareto_csv, trials, space, self.goal.cost, self.device)
        title = f"{space.name} on {self.request.settings.dataset}, {number} networks, {self.device}"
        report.draw_pareto(
            folder.pareto_png,
            trials,
            goal=self.goal,
            published=self.published,
            title=title,
            chance=chance_of(self.facts),
        )
        self.board.picture("the front", folder.pareto_png, number)

    def _write_page(self):
        path = self.folder.path
        write_page(path / PAGE, [path], self.request.settings.search_space, self.facts)

    def write(self, say, with_best=True):
        """Writes the front and, if `with_best`, the best network, says what was found, and returns the `Result`.

        `say` takes each line of text.
        """
        space, goal, folder, trials = self._space, self.goal, self.folder, self.records.trials()
        best = next(iter(ranked(trials, goal)), None)
        result = Result(folder, trials, self.published, goal, best, None)
        chance = chance_of(self.facts)
        words = {"goal": goal, "published": self.published, "device": self.device, "chance": chance}
        say(report.closing_table(trials, space, **words))
        if best is None:
            self._write_page()
            say(f"No trial succeeded: there is no best network. {folder.path / PAGE} says why")
            return result
        self.write_front()
        say(f"\n{folder.pareto_png}\n{folder.pareto_csv}\n{folder.path / PAGE}")
        if not with_best:
            return result
        network = best_network(self.request, space, best, folder.best)
        reached, num_examples = network.accuracy.validation, num_examples_of(self.facts)
        line = f"{folder.best}: trial {best.id}, {network.weights}"
        if reached is not None:
            details = {"standard_error": accuracy.standard_error(reached, num_examples)}
            self.records.add_full_accuracy(best.id, space.decode(best.tokens), "validation", reached, details)
            line += f", {accuracy.text(reached, num_examples)} of the validation images right; no test image was read"
            if chance and not chance.is_beaten_by(reached):
                line += f". This is no better than guessing: {chance}"
        say(line)
        self._write_page()
        return dataclasses.replace(result, accuracy=reached)

    @property
    def _space(self):
        return self.request.setup.task.space.space


def best_network(request, space, best, folder):
    """Trains and exports a search's best trial into `folder`, unless it is there, and returns its description.

    The description is a `NetworkDescription`.
    """
    settings, setup = request.settings, request.setup
    task, architecture = setup.task, space.decode(best.tokens)
    folder = pathlib.Path(folder)
    asked = {"trial": best.id, "epochs": settings.final_epochs, "fingerprint": architecture.fingerprint}
    if settings.final_samples:
        asked["samples"] = settings.final_samples
    made = _description_there(folder)
    if made is not None and made.asked == asked:
        return made
    scale = space.scale_of(architecture, task.deploy_scale)
    dataset = task.images.make(scale.image_size, settings.final_samples)
    start = setup.start(architecture, scale, dataset)
    recipe = request.family.plans["finetune"].recipe if start else task.recipe
    recipe = dataclasses.replace(recipe, epochs=settings.final_epochs) if settings.final_epochs else None
    model, training = train_network(
        lambda scale: space.build(architecture, scale),
        scale,
        dataset,
        recipe,
        settings.seed,
        start=start,
    )
    description = training.described(describe(task.space, architecture, scale, dataset))
    cost = best.measurement.cost
    figures = {"latency": cost.latency, "num_params": cost.num_params, "mult_adds": cost.mult_adds}
    if setup.detector_classes:  # these are of the detector on the network, and it is the classifier that is written
        figures = {"choice": f"for the cost of the SSDLite detector on it: {cost.mult_adds / 1e6:,.0f} M multiply-adds"}
        if cost.latency:
            figures["choice"] += f", {cost.latency.latency_ms:.2f} ms"
    description = dataclasses.replace(
        description,
        asked=asked,
        data=task.images.to_json(settings.final_samples),
        accuracy=dataclasses.replace(description.accuracy, proxy=best.measurement.accuracy),
        trial=best.id,
        **figures,
    )
    return write_network(folder, model, description, space, setup.number_type, setup.calibration(scale.image_size))


def _description_there(folder):
    """Returns the description in a folder, or None if none can be read there: the folder is then made again."""
    try:
        made = read_description(folder) if has_description(folder) else None
        return made if made is not None and is_whole(folder, made) else None
    except UserError:
        return None
