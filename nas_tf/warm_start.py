"""Bringing an earlier run's trials into a new one, judged by the new one's reward."""

import dataclasses

from nas_tf.records import Records
from nas_tf.run_folder import RunFolder
from nas_tf.search import WARM_START
from nas_tf.trial import Trial, UserError


def warm_start(request, folder, records, reward, device_id, say):
    """Brings the finished trials of an earlier run into an empty one, judged by this run's reward and limits."""
    if records.trials():
        return
    old_folder = RunFolder(request.settings.warm_start)
    old, new = old_folder.read(), folder.read()
    old_space = _with_later_fields(old["space"], request.setup.deploy_scale)
    for name, ours, theirs in (("the search space, or a scale,", new["space"], old_space),
                               ("the device", new["device"], old["device"])):  # fmt: skip
        if ours != theirs:
            raise UserError(f"--warm_start={request.settings.warm_start}: {name} is not this run's, so that its "
                            "measurements say nothing here. Expected the same; choose another run or none")  # fmt: skip
    ours, theirs = new["flags"], old["flags"]
    fixed = ("dataset", "data_dir", "proxy_epochs", "proxy_batch_size", "proxy_learning_rate", "proxy_samples", "seed")
    if ours["deploy_number_type"] != theirs["deploy_number_type"]:
        raise UserError(
            f"--warm_start={request.settings.warm_start}: its latencies are of {theirs['deploy_number_type']} files, "
            f"this run's of {ours['deploy_number_type']}. Expected the same --deploy_number_type"
        )
    of_the_data = {name for name in {*ours, *theirs} if name.startswith(f"{ours['dataset']}_")}
    for name in (*fixed, *sorted(of_the_data)):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"--warm_start={request.settings.warm_start}: its children were trained with --{name}="
                f"{theirs.get(name)}, this run's with {ours.get(name)}. Expected the same"
            )
    old_records = Records(old_folder.records, read_only=True)
    trials = [trial for trial in old_records.trials() if trial.measurement is not None]
    old_records.close()
    space = request.setup.space.space
    with records.transaction():
        for number, trial in enumerate(trials, 1):
            violation = request.limits.violation(trial.measurement.cost)
            judged = 0.0 if violation else reward(trial.measurement)
            note = f"{WARM_START}: {request.settings.warm_start} trial {trial.id}"
            mine = Trial(number, trial.tokens, note, trial.measurement, judged, violation)
            records.add_finished(mine, space.decode(trial.tokens), device_id)
    say(f"{len(trials)} trials of {request.settings.warm_start} judged anew")


def _with_later_fields(space, scale):
    """What a run's folder says of its space, its scales completed by fields that are newer than it, at their
    defaults."""
    defaults = {
        field.name: field.default for field in dataclasses.fields(scale) if field.default is not dataclasses.MISSING
    }
    return {
        name: {**defaults, **value} if name in ("proxy_scale", "deploy_scale") else value
        for name, value in space.items()
    }
