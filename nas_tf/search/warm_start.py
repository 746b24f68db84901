"""Brings an earlier run's trials into a new one, judged by the new one's reward."""

import dataclasses

from nas_tf import resume
from nas_tf.quiet import count
from nas_tf.search.loop import WARM_START
from nas_tf.search.records import Records
from nas_tf.search.run_folder import RunFolder
from nas_tf.space import fingerprint
from nas_tf.trial import Trial

_FIXED = (
    "dataset",
    "data_dir",
    "proxy_epochs",
    "proxy_batch_size",
    "proxy_learning_rate",
    "proxy_samples",
    "seed",
    "deploy_number_type",
)


def warm_start(request, folder, records, reward, device_id, judge, say):
    """Brings the finished trials of an earlier run into an empty one, judged by this run's reward and limits.

    Raises:
        UserError: the earlier run's measurements depend on other settings than this run's.
    """
    if records.trials():
        return
    old_folder = RunFolder(request.settings.warm_start)
    scale = request.setup.task.deploy_scale
    resume.refuse_other_settings(
        f"--warm_start={request.settings.warm_start}",
        _measured_under(old_folder.read(), scale),
        _measured_under(folder.read(), scale),
        instead="choose another run, or none, to start from",
    )
    old_records = Records(old_folder.records, read_only=True)
    trials = [trial for trial in old_records.trials() if trial.measurement is not None]
    old_records.close()
    space = request.setup.task.space.space
    with records.transaction():
        for number, trial in enumerate(trials, 1):
            violation = request.limits.violation(trial.measurement.cost)
            judged = 0.0 if violation else reward(trial.measurement)
            note = f"{WARM_START}: {request.settings.warm_start} trial {trial.id}"
            mine = Trial(number, trial.tokens, note, trial.measurement, judged, violation)
            records.add_finished(mine, space.decode(trial.tokens), device_id, judge)
    say(f"{count(len(trials), 'trial')} of {request.settings.warm_start} judged again")


def _measured_under(config, scale):
    """Returns a dict from name to value of everything in a run's config.json that its measurements depend on.

    Fields of `Scale` that are newer than the run have the defaults of `scale`.
    """
    space, flags = config["space"], config["flags"]
    later = {
        field.name: field.default for field in dataclasses.fields(scale) if field.default is not dataclasses.MISSING
    }
    named = {"the search space": space["part"], "its decisions": fingerprint(space["decisions"])}
    for which in ("proxy_scale", "deploy_scale"):
        named |= {f"{which} {name}": value for name, value in {**later, **space[which]}.items()}
    for thing in ("device", "judge"):
        named |= {f"{thing} {name}": value for name, value in config[thing].items()}
    of_the_data = {name for name in flags if name.startswith(f"{flags['dataset']}_")}
    named |= {f"--{name}": flags.get(name) for name in (*_FIXED, *of_the_data)}
    return resume.as_json(named)
