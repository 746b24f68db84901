"""The last steps of nas-ship: the test images are read, the files written, and what came of it all is said."""

import contextlib
import dataclasses
import functools
import os
import shutil

import numpy as np

from nas_tf import accuracy
from nas_tf.accuracy import chance_of
from nas_tf.files import read_json, write_json
from nas_tf.networks import answers
from nas_tf.networks.folder import read_keras, recorded_network, with_digests, write_description
from nas_tf.quiet import count
from nas_tf.reports import comparison
from nas_tf.reports.comparison import Row
from nas_tf.reports.device import device_name
from nas_tf.shipping._file_writer import network_id
from nas_tf.shipping.candidates import TEST_ACCURACY
from nas_tf.shipping.files import write_files
from nas_tf.shipping.tflite_classifier import TFLiteClassifier
from nas_tf.training import read_count
from nas_tf.training.evaluate import evaluate
from nas_tf.trial import EvaluationError

_BATCH = 64


class Incomplete(EvaluationError):
    """All is written that can be, and something of it is not as it should be."""


def finish(workshop, device_part, settings, records, run_dir, candidate, folder, role):
    """Reads a network's test accuracy, writes its files into `folder`, and returns its `Row`."""
    network = candidate.description
    if network.failure is not None:
        return Row(candidate.name, role, network)
    task = workshop.setup.task
    workshop.say(f"files of {candidate.name}:")
    model = read_keras(candidate.folder / "model.keras")
    image_size, dataset = network.scale["image_size"], workshop.dataset
    if image_size != task.deploy_scale.image_size:
        dataset = task.images.make(image_size, workshop.num_samples)
    test = _test_accuracy(candidate, model, dataset, workshop.setup.task, records, run_dir)
    network = dataclasses.replace(network, accuracy=dataclasses.replace(network.accuracy, test=test))
    with _replaced(folder, network_id(model)) as place:
        files = write_files(
            model,
            network,
            place,
            dataset=dataset,
            calibration=functools.partial(task.images.calibration_images, image_size),
            device=device_part,
            number_types=settings.number_types,
            licence=settings.licence,
            own_space=task.space.name,
            say=workshop.say,
        )
        if network.architecture is not None:
            space = task.space.space
            space.draw(space.architecture(network.architecture), place)
        write_description(place, with_digests(network, files))
        if role == "ships":
            _write_answers(place, files, dataset.class_names, dataset.validation())
    return Row(candidate.name, role, network, tuple(files))


def mend(folder):
    """Puts the network that ships into its `folder` if a kill came while it took another's place there."""
    new, old = _beside(folder)
    if old.exists() and not folder.exists():  # which is renamed only once the new one is whole
        os.rename(new if new.exists() else old, folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder):
    return folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")


@contextlib.contextmanager
def _replaced(folder, network):
    """Yields where the files of a network are written: `folder`, or one beside it that takes its place at the end.

    That is so if `folder` holds another network's files, which stay whole until then.
    """
    mend(folder)
    new, old = _beside(folder)
    if recorded_network(folder) in (None, network):
        yield folder
    else:
        if recorded_network(new) != network:
            shutil.rmtree(new, ignore_errors=True)
        yield new
        os.rename(folder, old)
        os.rename(new, folder)
    for each in (new, old):
        shutil.rmtree(each, ignore_errors=True)


def _write_answers(folder, files, class_names, validation):
    """Has a TFLite file of the network that ships answer on the validation images, for the run's page."""
    fit = [each for each in files if each.file.endswith(".tflite") and each.failure is None]
    network = recorded_network(folder)
    if not fit or answers.read(folder, len(class_names), network):
        return
    classifier = TFLiteClassifier(folder / fit[0].file)
    tally = answers.Tally(classifier.num_classes)
    for images, labels in validation.batches(_BATCH):
        images, labels = np.asarray(images), np.asarray(labels).reshape(-1)
        tally.add(images, labels, classifier.probabilities(images))
    answers.write(folder, tally.answers(network))


def _test_accuracy(candidate, model, dataset, task, records, run_dir):
    """Returns the accuracy on the test images, which are read once for each network that is compared, and counted."""
    path = candidate.folder / TEST_ACCURACY
    found = read_json(path)
    if found is None:
        split = dataset.test()
        read_count.note(run_dir, candidate.name)
        reached = evaluate(model, split)
        found = {"test": reached, "standard_error": accuracy.standard_error(reached, split.num_examples)}
        write_json(path, found)
    if candidate.trial:
        architecture = task.space.space.decode(candidate.trial.tokens)
        details = {"standard_error": found["standard_error"]}
        records.add_full_accuracy(candidate.trial.id, architecture, "test", found["test"], details)
    return found["test"]


def report(folder, rows, folders, workshop, why, notes, race, tries=""):
    """Writes the comparison, says it, and returns the rows.

    Args:
        folder: the chain's folder.
        rows: the `Row`s.
        folders: dict from the name of each network with files to their folder.
        workshop: the `Workshop`.
        why: in words, why the first row ships.
        notes: list of sentences for the page: how often the test images have been read, how noisy the search was.
        race: the table of the race; empty: there was none.
        tries: in words, how often each network of the race was trained.

    Raises:
        Incomplete: a file failed, or the network that ships is no better than guessing.
    """
    name, facts = device_name(workshop.device.describe()), workshop.dataset.facts()
    comparison.write(folder, rows, name, workshop.plan.recipe, facts, why, notes, race, tries)
    workshop.say(comparison.text(rows, name, facts))
    workshop.say("\n".join(notes))
    workshop.say(f"\n{folder / 'network'}\n{folder / 'README.md'}\n{folder / 'comparison.png'}")
    failures = [
        f"{folders[row.name] / each.file}: {each.failure}" for row in rows for each in row.files if each.failure
    ]
    if failures:
        raise Incomplete(f"{count(len(failures), 'file')} failed, all others are kept: {'; '.join(failures)}")
    chance, reached = chance_of(facts), rows[0].network.accuracy.validation
    if chance and not chance.is_beaten_by(reached):
        raise Incomplete(
            f"{rows[0].name} is no better than guessing: {accuracy.text(reached, chance.num_examples)} of the "
            f"validation images right, and {chance}. Raise --epochs, or train on more images with another --out_dir; "
            "a search with more --proxy_epochs finds better networks"
        )
    return rows
