"""The search of a job by both tables: they are made, and the exact best networks by them are all that is tried."""

import contextlib
import dataclasses

from nas_tf.accuracy_tables import builder as accuracies
from nas_tf.accuracy_tables.choosing import Chooser
from nas_tf.files import write_json
from nas_tf.latency_tables import builder as latencies
from nas_tf.networks.accuracy_table import Predictor
from nas_tf.plugins import Part
from nas_tf.quiet import count
from nas_tf.reports import accuracy_table, latency_table
from nas_tf.search.settings import DEVICES
from nas_tf.training.children import ChildTraining
from nas_tf.trial import UserError

_THOROUGHNESS = accuracies.Thoroughness()
_TIMED = latencies.Thoroughness()
_OF_A_CHILD = 0.2, 3.0  # of an epoch of a child, and seconds besides, that it takes to repair a block
_EXTRA_CHILD_SECONDS = 10.0  # of tracing and judging
_UNIT_SECONDS = 1.3  # to convert and to time a unit, or a network once
_TRIED = 2  # networks within the target for each finalist
_AROUND = (1.03, 1.06, 0.97)  # of the target, for one more each: a table is a few percent off, and timing decides


def why_not(request):
    """Returns why a search by tables cannot be, in words, or None."""
    if request.setup.detector_classes:
        return "tables know nothing of detectors"
    try:
        plan = _plan(request)
        accuracies.check_parent(plan.space.space, request.setup.parent().architecture)
    except UserError as error:
        return str(error)
    return None


def seconds(request, speeds, epochs, num_images):
    """Returns about how long it takes to make both tables.

    Args:
        request: the `nas_tf.search.request.Request` of a search of descendants.
        speeds: the `nas_tf.making.plan.Speeds`.
        epochs: of the training of which `speeds` know.
        num_images: its training images.
    """
    plan, task = _plan(request), request.setup.task
    space, parent = plan.space.space, request.setup.parent().architecture
    share = min(1.0, (plan.num_samples or num_images) / num_images)
    size = plan.scale.image_size / task.deploy_scale.image_size
    epoch = speeds.training / epochs * share * size**2
    num_blocks = sum(len(each) - 1 for each in space.block_choices(parent))
    num_networks = 1 + len(plan.image_sizes) + _THOROUGHNESS.num_fitted + _THOROUGHNESS.num_tested
    timings = len(space.all_units(task.deploy_scale)) + _TIMED.passes * (_TIMED.num_calibration + _TIMED.num_validation)
    repairing = num_blocks * (_OF_A_CHILD[0] * epoch + _OF_A_CHILD[1])
    return repairing + num_networks * (epoch + _EXTRA_CHILD_SECONDS) + timings * _UNIT_SECONDS


def chosen(asked, request, target_ms, top_k, folder, say):
    """Makes both tables in a folder, or goes on with that, and returns the `Request` of a search of the best networks.

    It is None if by the tables none is within the target.

    Args:
        asked: the `nas_tf.making.settings.Asked`.
        request: as of `seconds`.
        target_ms: latency in milliseconds.
        top_k: finalists of the race.
        folder: `pathlib.Path`.
        say: takes each line of text.
    """
    task, path = request.setup.task, folder / "accuracies.json"
    plan = _plan(request)
    table = accuracies.build(plan, path, say)
    accuracy_table.draw_scatter(path.with_suffix(".png"), table)
    say(accuracy_table.validation_text(table))
    timed = folder / "latencies.json"
    device = request.setup.device
    measured = latencies.build(
        latencies.TablePlan(plan.space, task.deploy_scale, device, _TIMED, request.setup.number_type),
        folder / "latencies.timings",
        say,
    )
    measured.write(timed)
    latency_table.draw_scatter(timed.with_suffix(".png"), measured)
    say(latency_table.validation_text(measured))
    estimator = Part(DEVICES, "table", {"file": str(timed)}).make(plan.space.space, task.deploy_scale)
    estimator.check()
    chooser = Chooser(Predictor(table, plan.space.space), estimator)
    front = chooser.front()
    try:
        best = chooser.best(target_ms, _TRIED * top_k)
    except UserError as error:
        say(f"{error}: networks are tried one by one")
        return None
    say(accuracy_table.front_text(front, best, target_ms))
    for factor in _AROUND:
        with contextlib.suppress(UserError):  # the fastest network is nearer to the target than that
            best += [each for each in chooser.best(factor * target_ms, top_k) if each not in best]
    say(f"tried: {count(len(best), 'network')}, some a little above the target or below it; timing decides")
    accuracy_table.write_front(folder / "front.csv", front)
    accuracy_table.draw_front(folder / "front.png", front, best, target_ms)
    listed = folder / "best.json"
    write_json(listed, {"tokens": [plan.space.space.encode(each.architecture) for each in best]})
    settings = dataclasses.replace(request.settings, num_trials=len(best))
    parts = {**asked.parts, "blocks": {"table": str(path)}, "listed": {"file": str(listed)}}
    search = {**asked.search, "judge": "blocks", "algorithm": "listed"}
    return dataclasses.replace(asked, parts=parts, search=search).request(settings, target_ms)


def _plan(request):
    """Returns the `AccuracyPlan` of a job: children are those of its search."""
    task = request.setup.task
    space = accuracies.space_for_blocks(task.space, request.setup.parent().architecture, task.deploy_scale.image_size)
    return accuracies.AccuracyPlan(
        space=space,
        images=task.images,
        scale=task.proxy_scale,
        deploy_scale=task.deploy_scale,
        num_samples=task.proxy_samples,
        published=task.published,
        parent=task.parent,
        training=ChildTraining(),
        thoroughness=_THOROUGHNESS,
    )
