"""A search's best networks as detectors: each is trained, the best that meets the target gets its files.

nas-ship --task=detection. Every detector is a folder; what is there is not made again.
"""

import contextlib
import dataclasses
import pathlib

from nas_tf.detection import backbone as backbones
from nas_tf.detection.data import read_data
from nas_tf.detection.evaluate import MeanPrecision
from nas_tf.detection.files import write_files
from nas_tf.detection.folder import has_detector, read_description, read_detector
from nas_tf.detection.nms import Suppression
from nas_tf.detection.recipes import RECIPES
from nas_tf.detection.settings import DETECTOR_TYPES, DetectSettings
from nas_tf.detection.training import check_classes, train_detector
from nas_tf.family import family_of, space_from_file
from nas_tf.files import alone, check_writable, write_json
from nas_tf.plugins import Part
from nas_tf.quiet import count
from nas_tf.ranking import rank, ranked
from nas_tf.reports.detection import percent
from nas_tf.reports.device import device_name
from nas_tf.reports.numbers import cost_text
from nas_tf.rewards import cost_of
from nas_tf.search.records import Records
from nas_tf.search.run_folder import RunFolder
from nas_tf.shipping import choice
from nas_tf.shipping.chain import choose_device, remade
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError

FOLDER, RESULT = "ship_detection", "detectors.json"


@dataclasses.dataclass(frozen=True)
class Finalist:
    """A trial whose detector was trained.

    Attributes:
        trial: the `nas_tf.trial.Trial`.
        folder: of the detector.
        precision: the `nas_tf.detection.evaluate.MeanPrecision` on the validation images.
    """

    trial: object
    folder: pathlib.Path
    precision: MeanPrecision

    @property
    def map(self):
        """Mean average precision in [0, 1]."""
        return self.precision.map or 0.0


def ship_detectors(run_dir, settings, task, device_settings=None, say=print):
    """Trains the best trials of a run as detectors, or goes on with it, and returns a list of `Finalist`s, best first.

    The first is the one of the highest mean average precision on validation images among those whose cost, as the
    search measured it, meets the run's target.

    Args:
        run_dir: the folder of a finished search.
        settings: the `nas_tf.shipping.settings.ShipSettings`, of which those count that are about any network.
        task: the `nas_tf.detection.settings.ShipTask`.
        device_settings: dict of settings of the device that `settings` name.
        say: takes each line of text.

    Raises:
        UserError: the caller has to change something.
        EvaluationError: every training failed, or the device did not answer.
    """
    run = RunFolder(run_dir)
    config = run.read()
    space = space_from_file(config["space"].get("part"), run.config, settings.search_space)
    family = family_of(space.name)
    asked_device = Part("nas_tf.devices", settings.device, device_settings or {}) if settings.device else None
    request = remade(run, config, family, settings, asked_device)
    parent = settings.parent or request.settings.parent
    folder = pathlib.Path(settings.out_dir or run.path / FOLDER)
    with contextlib.ExitStack() as stack:
        _, device = choose_device(request.setup, asked_device)
        stack.callback(device.close)
        records = Records(run.records, read_only=True)
        stack.callback(records.close)
        goal = choice.goal_then(request, records)
        trials = ranked(records.trials(), goal)[: settings.top_k]
        if not trials:
            raise UserError(f"{run.path} holds no finished trial: there is nothing to ship")
        if not request.setup.detector_classes:
            say("costs of this search are those of classifiers: a search with --deploy_head=ssdlite knows detectors'")
        check_writable(folder)
        stack.enter_context(alone(folder, "nas-ship"))
        device.check()
        say(f"files are timed on {device_name(device.describe())}")
        found = _trained(trials, request, family, parent, folder, settings, task, say)
        found.sort(key=lambda each: (*rank(each.map, each.trial.measurement.cost, goal), each.trial.id))
        _report(folder, found, goal, say)
        _write_files(found[0], settings, task, device, say)
    return found


def _trained(trials, request, family, parent, folder, settings, task, say):
    """Returns a list of the `Finalist`s of trials whose training did not fail."""
    setup, found, failures = request.setup, [], []
    space, recipe = setup.task.space, RECIPES[task.detection_recipe]
    network = family.parent(parent) if parent else None
    for number, trial in enumerate(trials, 1):
        place = folder / f"trial_{trial.id:05d}"
        say(f"\ndetector {number} of {len(trials)}, on trial {trial.id}")
        if not has_detector(place):
            architecture = space.space.decode(trial.tokens)
            scale = space.space.scale_of(architecture, setup.task.deploy_scale)
            scale = dataclasses.replace(scale, **recipe.scale)
            asked = DetectSettings(
                data_dir=task.detection_data_dir,
                image_size=scale.image_size,
                out_dir=str(place),
                recipe=task.detection_recipe,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                checkpoint_minutes=settings.checkpoint_minutes,
                seed=request.settings.seed,
            )
            try:
                train_detector(asked, say=say, backbone=backbones.of(space, architecture, scale, network))
            except InfeasibleArchitecture as error:
                failures.append(f"trial {trial.id}: {error}")
                continue
        found.append(Finalist(trial, place, read_description(place).precision["validation"]))
    if not found:
        raise EvaluationError(f"Every detector's training failed: {'; '.join(failures)}")
    if failures:
        say(f"{count(len(failures), 'training')} failed: {'; '.join(failures)}")
    return found


def _report(folder, found, goal, say):
    """Says which detectors there are, the best first, and writes it as JSON."""
    rows = []
    say("\ntrial        mAP %    mAP@0.5 %   cost in the search")
    for each in found:
        cost, known = each.trial.measurement.cost, each.precision
        words = percent(known.map, known.map_error), percent(known.map_50, known.map_50_error)
        say(f"{each.trial.id:>5} {words[0]:>12} {words[1]:>12}   {_cost(cost, goal)}")
        rows.append(
            {
                "trial": each.trial.id,
                "folder": each.folder.name,
                "validation_map": each.map,
                "validation_map_50": known.map_50,
                "validation_map_error": known.map_error,
                goal.cost: cost_of(cost, goal.cost),
                "meets_target": goal.is_met(cost),
            }
        )
    why = "the highest mAP of those that meet the target"
    if goal.target is None:
        why = "the highest mAP"
    elif not goal.is_met(found[0].trial.measurement.cost):
        why = "the cheapest, because none meets the target"
    write_json(folder / RESULT, {"ships": rows[0]["folder"], "why": why, "detectors": rows})
    say(f"{found[0].folder} ships: {why}")


def _cost(cost, goal):
    found = cost_of(cost, goal.cost)
    return "not measured" if found is None else cost_text(found, goal.cost)


def _write_files(best, settings, task, device, say):
    model, description = read_detector(best.folder)
    data = read_data(task.detection_data_dir, description.seed)
    check_classes(data, description, best.folder)
    records = write_files(
        model,
        description,
        best.folder,
        data=data,
        number_types=tuple(each for each in DETECTOR_TYPES if each in settings.number_types),
        suppression=Suppression(**description.suppression),
        licence=settings.licence,
        device=device,
        say=say,
    )
    failed = [f"{each.file}: {each.failure}" for each in records if each.failure]
    if failed:
        raise EvaluationError(f"{count(len(failed), 'file')} failed, the others are kept: {'; '.join(failed)}")
