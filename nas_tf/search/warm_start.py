"""Brings an earlier run's trials into a new one, judged by the new one's reward."""

import dataclasses

from nas_tf import resume
from nas_tf.quiet import count
from nas_tf.rewards import Limits, Objective
from nas_tf.search.loop import WARM_START
from nas_tf.search.records import Records
from nas_tf.search.run_folder import RunFolder, measured_under
from nas_tf.trial import Trial, UserError

# Flags that decide what is tried and what a measurement is worth, and no measurement.
_FREE = {
    "warm_start",
    "algorithm",
    "remeasured_share",
    *(field.name for settings in (Objective, Limits) for field in dataclasses.fields(settings)),
}


def warm_start(request, folder, records, reward, device_id, judge, say):
    """Brings the finished trials of an earlier run into an empty one, judged by this run's reward and limits.

    Raises:
        UserError: the earlier run's measurements depend on other settings than this run's.
    """
    if records.trials():
        return
    old = request.settings.warm_start
    resume.refuse_other_settings(
        f"--warm_start={old}",
        _of_measurements(measured_under(old)),
        _of_measurements(measured_under(folder.path)),
        instead="choose another run, or none, to start from",
    )
    old_records = Records(RunFolder(old).records, read_only=True)
    trials = [trial for trial in old_records.trials() if trial.measurement is not None]
    old_records.close()
    space = request.setup.task.space.space
    with records.transaction():
        for number, trial in enumerate(trials, 1):
            architecture = space.decode(trial.tokens)
            if architecture.fingerprint != trial.fingerprint:
                raise UserError(
                    f"Trial {trial.id} of --warm_start={old} is of another architecture than its tokens mean now: the "
                    "search space has changed since. Choose another run, or none, to start from"
                )
            violation = request.limits.violation(trial.measurement.cost)
            judged = reward.floor if violation else reward(trial.measurement)
            note = f"{WARM_START}: {old} trial {trial.id}"
            mine = Trial(number, trial.tokens, note, trial.measurement, judged, violation)
            records.add_finished(mine, architecture, device_id, judge)
    say(f"{count(len(trials), 'trial')} of {old} judged again")


def _of_measurements(identity):
    """Returns what of a run's identity its measurements depend on."""
    of_the_algorithm = (f"--{identity['--algorithm'].removesuffix('.py')}_", "algorithms file")
    free = {f"--{name}" for name in _FREE}
    return {
        name: value for name, value in identity.items() if name not in free and not name.startswith(of_the_algorithm)
    }
