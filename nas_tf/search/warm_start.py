"""Brings an earlier run's trials into a new one, judged by the new one's reward."""

import dataclasses

from nas_tf import resume
from nas_tf.quiet import count
from nas_tf.rewards import Limits, Objective
from nas_tf.search.records import WARM_START, Records
from nas_tf.search.run_folder import RunFolder, measured_under
from nas_tf.trial import Trial, UserError

# Flags that decide what is tried and what a measurement is worth, and no measurement.
_FREE = {
    "warm_start",
    "algorithm",
    "remeasured_share",
    *(field.name for settings in (Objective, Limits) for field in dataclasses.fields(settings)),
}


def read_earlier(request, folder):
    """Returns a list of the finished trials of the earlier run that the settings name, before anything is measured.

    Of that run only records are read: nothing that its config.json names is loaded or run.

    Raises:
        UserError: the earlier run's measurements depend on other settings than this run's, or it has none.
    """
    old = request.settings.warm_start
    resume.refuse_other_settings(
        f"--warm_start={old}",
        _of_measurements(measured_under(old)),
        _of_measurements(measured_under(folder.path)),
        instead="choose another run, or none, to start from",
    )
    records = Records(RunFolder(old).records, read_only=True)
    trials = list(filter(_is_known, records.trials()))
    records.close()
    if not trials:
        raise UserError(
            f"Expected --warm_start to be a run with finished trials. Received: --warm_start={old}, which has none. "
            "Choose another run, or none, to start from"
        )
    space = request.setup.task.space.space
    for trial in trials:
        if _meant(space, trial.tokens) != trial.fingerprint:
            raise UserError(
                f"Trial {trial.id} of --warm_start={old} is of another architecture than its tokens mean now: the "
                "search space has changed since. Choose another run, or none, to start from"
            )
    return trials


def warm_start(request, trials, records, reward, device_id, judge, say):
    """Brings the trials of an earlier run into an empty one, judged by this run's reward and limits."""
    old, space = request.settings.warm_start, request.setup.task.space.space
    with records.transaction():
        for number, trial in enumerate(trials, 1):
            violation = request.limits.violation(trial.measurement.cost)
            judged = reward.floor if violation else reward(trial.measurement)
            note = f"{WARM_START}: {old} trial {trial.id}"
            mine = Trial(number, trial.tokens, note, trial.measurement, judged, violation)
            records.add_finished(mine, space.decode(trial.tokens), device_id, judge)
    say(f"{count(len(trials), 'trial')} of {old} judged again")


def _is_known(trial):
    """Whether a trial was measured to the end. One that broke that run's limits may be; one that diverged at a higher
    rung, failed or still runs has an accuracy of a lower rung at most."""
    facts = trial.measurement
    return trial.state == "done" or (trial.state == "infeasible" and facts is not None and not facts.rungs)


def _meant(space, tokens):
    """Returns the fingerprint of the architecture that tokens mean, or None if they are of another space."""
    try:
        return space.decode(tokens).fingerprint
    except ValueError:
        return None


def _of_measurements(identity):
    """Returns what of a run's identity its measurements depend on."""
    algorithm = str(identity.get("--algorithm")).removesuffix(".py")
    of_the_algorithm = (f"--{algorithm}_", "algorithms file")
    free = {f"--{name}" for name in _FREE}
    return {
        name: value for name, value in identity.items() if name not in free and not name.startswith(of_the_algorithm)
    }
