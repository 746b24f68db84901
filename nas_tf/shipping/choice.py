"""Which of a search's networks ships: the most accurate that meets the goal, as it is now."""

import dataclasses

from nas_tf import resume
from nas_tf.files import read_json, write_json
from nas_tf.ranking import rank
from nas_tf.reports.numbers import cost_text, milliseconds
from nas_tf.shipping.turns import in_turns, write
from nas_tf.trial import EvaluationError

TARGET_FILE = "target.tflite"  # in a chain's folder: the network whose latency is the target


def goal_then(request, records):
    """Returns the `nas_tf.rewards.Goal` of the run, with the target that it measured."""
    reward = request.objective.resolve(records.published())
    return request.objective.goal(reward, request.setup.device is not None)


def goal_now(workshop, folder, request, records, is_runs_device):
    """Returns the goal with the latency that the target's network has now, in the session that chooses.

    It is kept in `target.json`, so that the same command makes the same choice again, and the network's file in
    `target.tflite`. Where the target is a number, is no latency, or is of another device, it stays as it is.
    """
    goal, name = goal_then(request, records), request.objective.target_latency_of
    if goal.target is None or request.objective.target is not None or goal.cost != "latency_ms" or not is_runs_device:
        return goal
    path, file = folder / "target.json", folder / TARGET_FILE
    found = read_json(path)
    if found is None:
        model = request.family.published_module.build(name, workshop.setup.task.deploy_scale)
        latency = in_turns(workshop.device, {name: write(workshop, model, file)})[name]
        found = {"network": name, "latency_ms": latency.latency_ms, "in_the_search_ms": goal.target}
        write_json(path, found)
    workshop.say(
        f"target: {name} takes {milliseconds(found['latency_ms'])} now, {milliseconds(goal.target)} in the search"
    )
    return dataclasses.replace(goal, target=found["latency_ms"])


def choose(candidates, goal, is_runs_device):
    """Returns the `Candidate` that the goal picks, with its validation accuracy after full training.

    Args:
        candidates: candidates of trials. Those whose training failed are left out.
        goal: the `nas_tf.rewards.Goal`.
        is_runs_device: whether they were timed on the device of the run. Else the latency that the run measured counts.

    Raises:
        EvaluationError: every candidate's training failed.
    """
    trained = [candidate for candidate in candidates if candidate.description.failure is None]
    if not trained:
        raise EvaluationError(
            "Every candidate's training diverged: there is nothing to ship. A lower --learning_rate, with another "
            "--out_dir, may help"
        )
    return min(
        trained,
        key=lambda each: (
            *rank(each.description.accuracy.validation, judged_cost(each, is_runs_device), goal),
            each.trial.id,
        ),
    )


def in_words(best, goal, is_runs_device):
    """Returns in words why this candidate ships."""
    if goal.target is None:
        return "the highest validation accuracy after full training"
    target = f"{goal.cost} of at most {cost_text(goal.target, goal.cost)}"
    if goal.is_met(judged_cost(best, is_runs_device)):
        return f"the highest validation accuracy after full training with a {target}"
    return f"the cheapest that no other dominates, because no candidate meets the target, a {target}"


def judged_cost(candidate, is_runs_device):
    """Returns the `nas_tf.trial.Cost` of a trial's network, with what was measured of it since, as `choose` does."""
    cost, network = candidate.trial.measurement.cost, candidate.description
    latency = (network.latency_judged or network.latency) if is_runs_device else cost.latency
    return dataclasses.replace(cost, num_params=network.num_params, mult_adds=network.mult_adds, latency=latency)


def is_same_device(one, other):
    """Returns whether two `Device.describe()` are of one device, whatever their settings."""
    one, other = ({name: each[name] for name in each.keys() - {"settings"}} for each in (one, other))
    return not resume.differences(other, one)
