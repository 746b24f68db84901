"""What is known before the first trial: the costs of published networks, and what a trial takes."""

import numpy as np

from nas_tf.complexity import mult_adds
from nas_tf.quiet import count, import_keras, progress_bar
from nas_tf.reports.numbers import cost_text
from nas_tf.search.evaluation import AccuracyJob, CostJob, PublishedCostJob
from nas_tf.trial import InfeasibleArchitecture

_REHEARSED_STEPS = 8


def measure_published(request, workers, records, device_id):
    """Measures the published networks that the device can judge, each once for the run.

    Returns a dict from name to `nas_tf.trial.Cost`.
    """
    known = records.published()
    missing = [name for name in request.published if name not in known]
    jobs = {name: PublishedCostJob(name) for name in missing}
    for name, outcome in _run_all(workers, jobs, "published networks").items():
        if outcome.value is not None:
            known[name] = outcome.value
            records.add_published(name, outcome.value, device_id)
    return {name: known[name] for name in request.published if name in known}


def announcement(request, workers, goal, chance):
    """Returns in words what the run is after and how long it will take.

    For that, a trial is rehearsed: one child is trained for a few steps, and its cost is measured. This finds bad
    images too.

    Args:
        request: the `nas_tf.search.request.Request`.
        workers: the `nas_tf.search.workers.Workers`.
        goal: the `nas_tf.rewards.Goal`.
        chance: what guessing reaches on the validation images (`nas_tf.accuracy.Chance`), or None.
    """
    settings, setup = request.settings, request.setup
    space = setup.task.space.space
    tokens = _some_tokens(space, settings.seed)
    jobs = {"training": AccuracyJob(tokens, _REHEARSED_STEPS), "cost": CostJob(tokens)}
    rehearsal = _run_all(workers, jobs, "rehearsing a trial")
    trained, cost_seconds = rehearsal["training"].value, rehearsal["cost"].seconds
    begin = [_goal(request.objective, goal)]
    if chance:
        begin.append(f"a child must beat {100 * chance.bound:.1f} %: {chance}")
    note = space.child_note(setup.task.proxy_scale)
    if note:
        begin.append(note)
    if trained is None:
        return "\n".join([*begin, "the rehearsed child cannot be trained, so that the time of a trial is not known"])
    steps = trained.planned_steps
    trial_seconds = trained.train_seconds + steps * trained.step_seconds + cost_seconds
    minutes = settings.num_trials * trial_seconds / workers.num_workers / 60
    lines = [
        *begin,
        f"{settings.num_trials} trials of about {trial_seconds:.0f} s ({trained.setup_seconds:.0f} s tracing, {steps} "
        f"steps of {1e3 * trained.step_seconds:.0f} ms, {cost_seconds:.0f} s converting and timing) on "
        f"{count(workers.num_workers, 'worker')}: about {minutes:.0f} minutes, as rehearsed just now",
    ]
    if settings.final_epochs:
        import_keras()
        architecture = space.decode(tokens)
        scales = (setup.task.proxy_scale, setup.task.deploy_scale)
        proxy, deploy = (mult_adds(space.build(architecture, scale)) for scale in scales)
        step_seconds = trained.step_seconds * deploy / proxy
        seconds = settings.final_epochs * steps / setup.task.recipe.epochs * step_seconds
        same = settings.final_samples == settings.proxy_samples
        lines.append(
            f"then {count(settings.final_epochs, 'epoch')} of the best network at {settings.deploy_image_size} px: at "
            f"most about {seconds / 60:.0f} minutes{'' if same else ' for as many images as the children see'}"
        )
    return "\n".join(lines)


def _goal(objective, goal):
    if goal.target is None:
        return "accuracy alone"
    source = "as given" if objective.target is not None else f"{objective.target_latency_of}'s, measured here"
    target = f"target: {goal.cost} of at most {cost_text(goal.target, goal.cost)} ({source})"
    return f"{target}; the {objective.reward} reward steers towards it"


def _run_all(workers, jobs, description):
    """Runs `jobs`, a dict from key to job, behind a progress bar, and returns a dict from key to `Outcome`.

    A network that is infeasible has an outcome without a value. Any other failure is raised.
    """
    for key, job in jobs.items():
        workers.submit(key, job)
    outcomes = {}
    with progress_bar(total=len(jobs), desc=description, disable=None if jobs else True, leave=False) as bar:
        while len(outcomes) < len(jobs):
            outcome = workers.wait()
            bar.update()
            if outcome.failure and not isinstance(outcome.failure, InfeasibleArchitecture):
                raise outcome.failure
            outcomes[outcome.key] = outcome
    return {key: outcomes[key] for key in jobs}


def _some_tokens(space, seed):
    rng = np.random.default_rng(seed)
    return tuple(int(rng.integers(choices)) for choices in space.num_choices)
