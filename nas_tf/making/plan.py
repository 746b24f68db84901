"""What there is time for: how much is trained and raced, and how long is searched."""

import dataclasses
import math

from nas_tf.bars import rough_duration
from nas_tf.quiet import count
from nas_tf.shipping.finalists import TIMES
from nas_tf.trial import UserError

_SEARCH_SHARE = 1 / 3  # of the time that is left, for the search, before the race gets more than the least
_LEAST_SEARCH_SECONDS = 300.0
_LEAST_EPOCHS, _MOST_EPOCHS = 5, 30  # from random weights, before a further network is trained, and at most
RESERVE = 0.03  # of all hours, for what takes longer than planned


@dataclasses.dataclass(frozen=True)
class Speeds:
    """What things take on this machine, in seconds, as measured there.

    Attributes:
        training: one training of a network of about the target's latency.
        trainings_to_judge: how many more it takes to judge a network, where there are too few race images.
        files: writing and measuring the files of a network.
        timing: a network as a TFLite file, timed in turns with others.
    """

    training: float
    trainings_to_judge: int
    files: float
    timing: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """What there is time for.

    Attributes:
        num_imports: published networks that are fine-tuned.
        tries, seeds, top_k: as in `nas_tf.making.settings.Preset`; `top_k` is 0 where nothing is searched.
        epochs: of every training.
        first_seconds: for fine-tuning the imports, until the first network has shipped.
        search_seconds: for the search.
        last_seconds: for the race, until the last network has shipped.
    """

    num_imports: int
    tries: int
    seeds: int
    top_k: int
    epochs: int
    first_seconds: float
    search_seconds: float
    last_seconds: float

    def text(self):
        """Returns the plan in words."""
        tries = f"{count(self.tries, 'training')} each, {count(self.epochs, 'epoch')}"
        stages = [
            (self.first_seconds, f"{count(self.num_imports, 'published network')} fine-tuned, {tries}; the best ships"),
            (self.search_seconds, "a search of networks that begin with its weights"),
            (
                self.last_seconds,
                f"a race of the {self.top_k} best against what can be imported, {tries}, "
                f"{count(self.seeds, 'seed')}; the best of all ships",
            ),
        ]
        if not self.num_imports:
            stages[1:] = [
                (self.search_seconds, "a search of networks that begin with random weights"),
                (self.last_seconds, f"the {self.top_k} best trained in full, {tries}; the best ships"),
            ]
        return "\n".join(["the plan:", *(f"{rough_duration(each):>8}  {what}" for each, what in stages if each)])


def first_seconds(speeds, num_imports, tries):
    """Returns the seconds until the best of some imports has shipped."""
    trainings = num_imports * (tries + (speeds.trainings_to_judge if num_imports > 1 else 0))
    return trainings * speeds.training + num_imports * speeds.timing + speeds.files


def last_seconds(speeds, num_imports, tries, seeds, top_k):
    """Returns the seconds that a race takes of `top_k` searched networks against imports trained before."""
    judging = speeds.trainings_to_judge
    timed = (TIMES * top_k + top_k + num_imports) * speeds.timing
    trainings = top_k * (tries + judging) + 2 * (seeds - 1) * (1 + judging) + (judging if num_imports == 1 else 0)
    return timed + trainings * speeds.training + 2 * speeds.files


def make_plan(preset, seconds_left, speeds, num_imports, is_searched):
    """Returns the largest `Plan` within a preset that leaves a third of the time to the search.

    Args:
        preset: the `nas_tf.making.settings.Preset`.
        seconds_left: for all of it, the reserve not counted.
        speeds: the `Speeds`.
        num_imports: published networks that there are.
        is_searched: whether there is a search.

    Raises:
        UserError: there is no time for one network.
    """
    most = min(preset.num_imports, num_imports)
    least = first_seconds(speeds, 1, 1)
    if least > seconds_left:
        hours = _hours_for(least, preset, seconds_left)
        raise UserError(
            f"Expected hours for one published network to be fine-tuned, which takes {rough_duration(least)} here: "
            f"--hours={hours:g} or more. Received: --hours={preset.hours:g}, of which "
            f"{rough_duration(max(0.0, seconds_left))} are left"
        )
    for tries, seeds, top_k, imports in _by_ambition(preset, most):
        first = first_seconds(speeds, imports, tries)
        last = last_seconds(speeds, imports, tries, seeds, top_k) if is_searched else 0.0
        search = seconds_left - first - last
        if search >= (max(_LEAST_SEARCH_SECONDS, _SEARCH_SHARE * seconds_left) if is_searched else 0.0):
            if not is_searched:
                return Plan(imports, tries, seeds, 0, preset.epochs, first, 0.0, 0.0)
            return Plan(imports, tries, seeds, top_k, preset.epochs, first, search, last)
    return Plan(1, 1, 1, 0, preset.epochs, least, 0.0, 0.0)


def with_search(plan, preset, seconds_left, speeds):
    """Returns a `Plan` without a search with one, and the race that follows it, or None if there is no time for them.

    Args:
        plan: the `Plan`, whose first network may have shipped.
        preset, seconds_left, speeds: as of `make_plan`.
    """
    for top_k in range(preset.top_k, 0, -1):
        last = last_seconds(speeds, plan.num_imports, plan.tries, plan.seeds, top_k)
        search = seconds_left - last
        if search >= max(_LEAST_SEARCH_SECONDS, _SEARCH_SHARE * seconds_left):
            return dataclasses.replace(plan, top_k=top_k, search_seconds=search, last_seconds=last)
    return None


def plan_from_scratch(preset, seconds_left, epoch_seconds, files_seconds):
    """Returns the `Plan` where no network has weights: half of the time goes to the search, the rest to training.

    Args:
        preset, seconds_left: as of `make_plan`.
        epoch_seconds: what an epoch of a network of about the target's latency takes.
        files_seconds: what it takes to write and measure the files of a network.

    Raises:
        UserError: there is no time to train one network.
    """
    seconds = seconds_left / 2 - files_seconds
    if seconds < epoch_seconds:
        hours = _hours_for(2 * (epoch_seconds + files_seconds), preset, seconds_left)
        raise UserError(
            f"Expected hours for a search and the training of one network: --hours={hours:g} or more. Received: "
            f"--hours={preset.hours:g}"
        )
    top_k = max(1, min(preset.top_k, int(seconds / (_LEAST_EPOCHS * epoch_seconds))))
    epochs = min(_MOST_EPOCHS, int(seconds / (top_k * epoch_seconds)))
    last = top_k * epochs * epoch_seconds + files_seconds
    return Plan(0, 1, 1, top_k, epochs, 0.0, seconds_left - last, last)


def _hours_for(seconds, preset, seconds_left):
    """Returns hours, of two digits, in which there is time for something once another call has prepared it again."""
    spent = max(0.0, (1 - RESERVE) * 3600 * preset.hours - seconds_left)
    hours = (2 * spent + seconds) / ((1 - RESERVE) * 3600)
    unit = 10 ** (math.floor(math.log10(hours)) - 1)
    return math.ceil(hours / unit) * unit


def _by_ambition(preset, num_imports):
    """Yields tuples of tries, seeds, finalists and imports, from those of the preset to one of each."""
    tries, seeds, top_k, imports = preset.tries, preset.seeds, preset.top_k, num_imports
    yield tries, seeds, top_k, imports
    while max(tries, seeds, top_k, imports) > 1:
        if seeds > 1:
            seeds -= 1
        elif tries > 1:
            tries -= 1
        elif top_k > imports:
            top_k -= 1
        elif imports > 1:
            imports -= 1
        else:
            top_k -= 1
        yield tries, seeds, top_k, imports
