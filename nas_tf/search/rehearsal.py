"""What is known before the first trial: the costs of published networks, and what a trial takes."""

import dataclasses
import math

import numpy as np

from nas_tf.bars import progress_bar, rough_duration
from nas_tf.complexity import mult_adds
from nas_tf.quiet import count, import_keras
from nas_tf.reports.numbers import cost_text
from nas_tf.rewards import cost_of
from nas_tf.search.deadlines import PATIENT_SECONDS, Deadlines
from nas_tf.search.evaluation import CostJob, PublishedCostJob, RehearsalJob
from nas_tf.search.progress import Running
from nas_tf.search.workers import Outcome
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, KilledWorker, UserError, first_line

AFTER_HOURS = "The training of the best network (--final_epochs) comes after --max_hours"
_REHEARSED_STEPS = 8
_MAX_REHEARSED = 3  # architectures, until one can be measured
_LOOK_SECONDS = 1.0  # between two looks at whether time is over


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What came of a trial of some tokens that was rehearsed: the outcomes of its few steps and of its cost."""

    tokens: tuple[int, ...]
    training: Outcome
    cost: Outcome

    def deadlines(self, factor, patience_seconds):
        """Returns the `Deadlines` of the trials to come."""
        return Deadlines.of_rehearsal(factor, self.training, self.cost, patience_seconds)


def measure_published(request, workers, records, device_id, clock, patience_seconds=0.0):
    """Measures the published networks that the device can judge, each once for the run.

    Returns a dict from name to `nas_tf.trial.Cost`.

    Raises:
        UserError: the `nas_tf.search.progress.Clock` ran out.
    """
    known = records.published()
    missing = [name for name in request.published if name not in known]
    jobs = {name: PublishedCostJob(name) for name in missing}
    for name, outcome in _run_all(workers, jobs, "published networks", clock, patience_seconds).items():
        if outcome.value is not None:
            known[name] = outcome.value
            records.add_published(name, outcome.value, device_id)
    if jobs and clock.is_over():
        raise UserError(
            "Expected --max_hours to leave time for trials. Received: --max_hours="
            f"{request.settings.max_hours:g}, over before the published networks were measured. Give more hours"
        )
    return {name: known[name] for name in request.published if name in known}


def rehearse(request, workers, trials, clock, patience_seconds=0.0):
    """Measures a trial before the first: one child is trained for a few steps, and its cost is measured.

    This finds bad images, and networks that return no probabilities. If the architecture is infeasible another one is
    taken.

    Args:
        request: the `nas_tf.search.request.Request`.
        workers: the `nas_tf.search.workers.Workers`.
        trials: the `nas_tf.trial.Trial`s so far. One that is done is taken first.
        clock: the `nas_tf.search.progress.Clock`.
        patience_seconds: for how long a latency may take beside its own work.

    Returns:
        A `Rehearsal`, or None if time ran out.

    Raises:
        UserError: an image cannot be read, or the networks return no probabilities.
        EvaluationError: every architecture killed its workers: this machine cannot train.
    """
    rng, space = np.random.default_rng(request.settings.seed), request.setup.task.space.space
    done = next((trial.tokens for trial in trials if trial.state == "done"), None)
    killed = []
    for _ in range(_MAX_REHEARSED):
        tokens, done = done or tuple(int(rng.integers(choices)) for choices in space.num_choices), None
        jobs = {"training": RehearsalJob(tokens, _REHEARSED_STEPS), "cost": CostJob(tokens)}
        outcomes = _run_all(workers, jobs, "rehearsing a trial", clock, patience_seconds)
        if len(outcomes) < len(jobs):
            return None
        failures = [outcome.failure for outcome in outcomes.values() if outcome.failure]
        if not failures:
            break
        killed += next(([each] for each in failures if isinstance(each, KilledWorker)), [])
    if len(killed) == _MAX_REHEARSED:
        raise EvaluationError(
            f"{_MAX_REHEARSED} architectures in a row could not be rehearsed, the last because: {killed[-1]}. "
            "The end of workers.log in the run folder may say why; fix that and give the same command again"
        )
    return Rehearsal(tokens, **outcomes)


def announcement(request, workers, goal, chance, rehearsal, remaining, published=None, clock=None, rungs=None):
    """Returns in words what the run is after and how long it will take.

    Args:
        request: the `nas_tf.search.request.Request`.
        workers: the `nas_tf.search.workers.Workers`.
        goal: the `nas_tf.rewards.Goal`.
        chance: what guessing reaches on the validation images (`nas_tf.accuracy.Chance`), or None.
        rehearsal: the `Rehearsal`.
        remaining: how many trials are to be measured yet; infinite: as many as there is time for.
        published: dict from the name of each published network that was measured to its `nas_tf.trial.Cost`.
        clock: the `nas_tf.search.progress.Clock`, or None.
        rungs: the `nas_tf.search.rungs.Rungs`, or None.
    """
    settings, setup = request.settings, request.setup
    space, tokens = setup.task.space.space, rehearsal.tokens
    trained, cost_seconds = rehearsal.training.value, rehearsal.cost.seconds
    begin = [_goal(request.objective, goal)]
    if published and not any(goal.is_met(cost) for cost in published.values()):
        name, cost = min(published.items(), key=lambda each: cost_of(each[1], goal.cost))
        begin.append(
            f"no published network measured here meets it: the cheapest is {name}, "
            f"{cost_text(cost_of(cost, goal.cost), goal.cost)}"
        )
    if chance:
        begin.append(f"a child must beat {100 * chance.bound:.1f} %: {chance}")
    note = space.child_note(setup.task.proxy_scale)
    if note:
        begin.append(note)
    if trained is None:
        why = first_line(rehearsal.training.failure)
        unknown = f"the rehearsed child cannot be trained, so that the time of a trial is not known: {why}"
        return "\n".join([*begin, unknown])
    steps = trained.planned_steps
    work = rungs.mean_work if rungs else 1.0
    trial_seconds = work * (trained.train_seconds + steps * trained.step_seconds) + cost_seconds
    seconds_left = clock.seconds_left() if clock else math.inf
    all_seconds = min(remaining * trial_seconds / workers.num_workers, seconds_left)
    if remaining * trial_seconds / workers.num_workers > seconds_left:
        trials = (
            f"as many as there is time for, {count(int(seconds_left / trial_seconds * workers.num_workers), 'trial')}"
        )
    elif remaining == settings.num_trials:
        trials = count(remaining, "trial")
    else:
        trials = f"the {remaining} of {count(settings.num_trials, 'trial')} that remain,"
    lines = [
        *begin,
        f"{trials} of about {trial_seconds:.0f} s ({trained.setup_seconds:.0f} s tracing, {steps} "
        f"steps of {1e3 * trained.step_seconds:.0f} ms{f', {work:.1f} times that in rungs' if rungs else ''}, "
        f"{cost_seconds:.0f} s converting and timing) on "
        f"{count(workers.num_workers, 'worker')}: about {rough_duration(all_seconds)}, as rehearsed just now",
    ]
    if settings.final_epochs:
        import_keras()
        architecture = space.decode(tokens)
        scales = (setup.task.proxy_scale, setup.task.deploy_scale)
        proxy, deploy = (mult_adds(space.build(architecture, scale)) for scale in scales)
        step_seconds = trained.step_seconds * deploy / proxy
        seconds = settings.final_epochs * steps / (trained.planned_epochs or setup.task.recipe.epochs) * step_seconds
        same = settings.final_samples == settings.proxy_samples
        lines.append(
            f"then {count(settings.final_epochs, 'epoch')} of the best network at {settings.deploy_image_size} px: at "
            f"most about {rough_duration(seconds)}{'' if same else ' for as many images as the children see'}"
            f"{'' if settings.max_hours is None else f'. {AFTER_HOURS}'}"
        )
    return "\n".join(lines)


def _goal(objective, goal):
    if goal.target is None:
        return "accuracy alone"
    source = "as given" if objective.target is not None else f"{objective.target_latency_of}'s, measured here"
    target = f"target: {goal.cost} of at most {cost_text(goal.target, goal.cost)} ({source})"
    return f"{target}; the {objective.reward} reward steers towards it"


def _run_all(workers, jobs, description, clock, patience_seconds):
    """Runs `jobs`, a dict from key to job, behind a progress bar, and returns a dict from key to `Outcome`.

    A network that is infeasible has an outcome without a value. Any other failure is raised. Once time is over jobs are
    killed, and have no outcome.
    """
    for key, job in jobs.items():
        workers.submit(key, job, deadline_seconds=PATIENT_SECONDS + patience_seconds)
    outcomes, running = {}, Running()
    with progress_bar(total=len(jobs), desc=description, disable=None if jobs else True, leave=False) as bar:

        def show(key, words):
            running.note(key, words)
            bar.set_postfix_str(", ".join(running.shown()))

        workers.on_doing = show
        while len(outcomes) < len(jobs):
            if clock.is_over():
                workers.close()
                break
            outcome = workers.wait(_LOOK_SECONDS)
            if outcome is None:
                continue
            bar.update()
            if outcome.failure and not isinstance(outcome.failure, InfeasibleArchitecture):
                raise outcome.failure
            outcomes[outcome.key] = outcome
    return {key: outcomes[key] for key in jobs if key in outcomes}
