"""Which trials are raced: those that still meet the target when they are timed again, in turns.

A search times each network once or a few times, minutes or hours apart. Of many trials near a target, those that seem
to meet it are often those whose timing erred in their favour, so that a race of them may end with none that does.
"""

import dataclasses
import pathlib
import tempfile

from nas_tf.files import read_json, write_json
from nas_tf.quiet import count, fresh_keras
from nas_tf.ranking import rank
from nas_tf.reports.numbers import milliseconds
from nas_tf.rewards import TOLERANCE, cost_of
from nas_tf.shipping.turns import write
from nas_tf.trial import Latency

_TIMES, _MARGIN = 4, 1.15  # so many times as many trials are timed again, up to so much above the target


def considered(trials, goal, top_k):
    """Returns the trials among which the finalists are chosen.

    Args:
        trials: list of `nas_tf.trial.Trial`, best first, as `nas_tf.ranking.ranked` returns.
        goal: the `nas_tf.rewards.Goal` of the search.
        top_k: how many finalists there will be.

    Returns:
        The most accurate that are at most 15 % above the target, four times as many as there will be finalists. Without
        a target in milliseconds, or if there are too few of these, the `top_k` best.
    """
    if not _has_target_ms(goal):
        return trials[:top_k]
    near = [each for each in trials if cost_of(each.measurement.cost, goal.cost) <= _MARGIN * goal.target]
    near = sorted(near, key=lambda each: -each.measurement.accuracy)[: _TIMES * top_k]
    return near if len(near) >= top_k else trials[:top_k]


def finalists(workshop, folder, trials, goal, turns, top_k):
    """Returns the `top_k` best of the trials `considered`, by latencies that are measured now.

    Args:
        workshop: the `nas_tf.shipping.candidates.Workshop`.
        folder: keeps the latencies, in `finalists.json`.
        trials: as `considered` returns.
        goal: the `nas_tf.rewards.Goal` as it is now. Its tolerance is left to the timing that decides the race.
        turns: the `nas_tf.shipping.turns.Turns`.
        top_k: how many.
    """
    if not _has_target_ms(goal) or len(trials) <= top_k:
        return trials[:top_k]
    path = pathlib.Path(folder) / "finalists.json"
    latencies = read_json(path)
    if latencies is None:
        workshop.say(f"timing {count(len(trials), 'trial')} in turns, to race {top_k} that meet the target")
        with tempfile.TemporaryDirectory(prefix="nas_tf_") as files:
            paths = {str(each.id): _file(workshop, each, pathlib.Path(files)) for each in trials}
            latencies = {name: latency.to_json() for name, latency in turns.latencies(paths).items()}
        write_json(path, latencies)
    strict = dataclasses.replace(goal, target=goal.target / TOLERANCE)

    def place(trial):
        cost = dataclasses.replace(trial.measurement.cost, latency=Latency(**latencies[str(trial.id)]))
        return rank(trial.measurement.accuracy, cost, strict)

    ordered = sorted(trials, key=lambda each: (*place(each), each.id))
    meeting = sum(place(each)[0] == 0 for each in trials)
    workshop.say(
        f"{meeting} of {len(trials)} trials meet the target of {milliseconds(goal.target)} when timed in turns"
    )
    return ordered[:top_k]


def _has_target_ms(goal):
    return goal.target is not None and goal.cost == "latency_ms"


def _file(workshop, trial, folder):
    """Returns the path of the TFLite file of a trial's network, not trained yet."""
    keras, space = fresh_keras(workshop.setup.task.seed), workshop.setup.task.space.space
    model = space.build(space.decode(trial.tokens), workshop.scales()[0])
    path = write(workshop, model, folder / f"{trial.id}.tflite")
    del model
    keras.backend.clear_session()
    return path
