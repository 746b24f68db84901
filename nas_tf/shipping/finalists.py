"""Which trials are raced: those that still meet the target when they are timed again, in turns.

A search times each network once or a few times, minutes or hours apart. Of many trials near a target, those that seem
to meet it are often those whose timing erred in their favour, so that a race of them may end with none that does.
"""

import dataclasses
import pathlib
import tempfile

from nas_tf.files import read_json, write_json
from nas_tf.quiet import count, fresh_keras
from nas_tf.ranking import expected_accuracy, ranked
from nas_tf.reports.numbers import milliseconds
from nas_tf.rewards import TOLERANCE, cost_of
from nas_tf.shipping.turns import write
from nas_tf.trial import Latency

_GROUPS, TIMES, _MARGIN = 3, 4, 1.15


def considered(trials, goal, top_k):
    """Returns the trials among which the finalists are chosen.

    Args:
        trials: list of `nas_tf.trial.Trial`, best first, as `nas_tf.ranking.ranked` returns.
        goal: the `nas_tf.rewards.Goal` of the search.
        top_k: how many finalists there will be.

    Returns:
        The trials that are at most 15 % above the target, the most accurate first, up to twelve for each finalist.
        Without a target in milliseconds, or if there are too few of these, the `top_k` best.
    """
    if not _has_target_ms(goal):
        return trials[:top_k]
    near = [each for each in trials if cost_of(each.measurement.cost, goal.cost) <= _MARGIN * goal.target]
    near = sorted(near, key=lambda each: -expected_accuracy(each))[: _GROUPS * TIMES * top_k]
    return near if len(near) >= top_k else trials[:top_k]


def finalists(workshop, folder, trials, goal, turns, top_k):
    """Returns the `top_k` best of the trials `considered`, by latencies that are measured now.

    Four trials for each finalist are timed in turns, the most accurate first, and then as many again until enough of
    them meet the target.

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
    latencies, strict = read_json(path) or {}, dataclasses.replace(goal, target=goal.target / TOLERANCE)
    timed, meeting = [], []
    while len(meeting) < top_k and len(timed) < len(trials):
        group = trials[len(timed) :][: TIMES * top_k]
        new = [each for each in group if str(each.id) not in latencies]
        if new:
            workshop.say(f"timing {count(len(new), 'trial')} in turns, to race {top_k} that meet the target")
            latencies |= _timed(workshop, new, turns)
            write_json(path, latencies)
        timed += [_with_latency(each, Latency(**latencies[str(each.id)])) for each in group]
        meeting = [each for each in timed if strict.is_met(each.measurement.cost)]
    workshop.say(
        f"{len(meeting)} of {len(timed)} trials meet the target of {milliseconds(goal.target)} when timed in turns"
    )
    chosen = {each.id for each in ranked(timed, strict)[:top_k]}
    return [each for each in trials if each.id in chosen]


def _has_target_ms(goal):
    return goal.target is not None and goal.cost == "latency_ms"


def _with_latency(trial, latency):
    cost = dataclasses.replace(trial.measurement.cost, latency=latency)
    return dataclasses.replace(trial, measurement=dataclasses.replace(trial.measurement, cost=cost))


def _timed(workshop, trials, turns):
    """Returns a dict from id to latency, ready for JSON, of trials whose networks are timed in turns, untrained."""
    with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
        paths = {str(each.id): _file(workshop, each, pathlib.Path(folder)) for each in trials}
        return {name: latency.to_json() for name, latency in turns.latencies(paths).items()}


def _file(workshop, trial, folder):
    """Returns the path of the TFLite file of a trial's network, not trained yet."""
    keras, space = fresh_keras(workshop.setup.task.seed), workshop.setup.task.space.space
    architecture = space.decode(trial.tokens)
    model = space.build(architecture, workshop.scales(architecture)[0])
    path = write(workshop, model, folder / f"{trial.id}.tflite")
    del model
    keras.backend.clear_session()
    return path
