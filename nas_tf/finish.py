"""A network trained at the scale it ships at, and its folder: architecture.json, model.keras, TFLite, SavedModel."""

import dataclasses
import json
import pathlib

from nas_tf.distribution import Machine, synchronize
from nas_tf.export import to_keras, to_saved_model, to_tflite
from nas_tf.files import write_file
from nas_tf.quiet import import_keras, quiet
from nas_tf.training import evaluate, train
from nas_tf.trial import UserError

INPUT = "float32 RGB in [-1, 1]: pixel / 127.5 - 1"


def best_network(request, space, best, folder):
    """Trains and exports a search's best trial into `folder`, unless it holds it already; its description."""
    settings, setup = request.settings, request.setup
    folder, architecture = pathlib.Path(folder), space.decode(best.tokens)
    asked = {"trial": best.id, "epochs": settings.final_epochs, "fingerprint": architecture.fingerprint}
    try:
        description = json.loads((folder / "architecture.json").read_text())
        if description["asked"] == asked:
            return description
    except (OSError, ValueError, KeyError):
        pass  # absent, or left by an earlier best: made anew
    dataset = setup.make_dataset(setup.deploy_scale.image_size, settings.final_samples)
    cost = best.measurement.cost
    description = {
        **describe(setup.space, architecture, setup.deploy_scale, dataset),
        "asked": asked,
        "data": setup.data(settings.final_samples),
        "latency": cost.latency and cost.latency.to_json(),
        "num_params": cost.num_params,
        "mult_adds": cost.mult_adds,
    }
    recipe = dataclasses.replace(setup.recipe, epochs=settings.final_epochs) if settings.final_epochs else None
    model, outcome = train_network(
        lambda scale: space.build(architecture, scale), setup.deploy_scale, dataset, recipe, settings.seed
    )
    outcome["accuracy"]["proxy"] = best.measurement.accuracy
    return write_network(folder, model, {**description, **outcome}, space, setup.number_type, setup.calibration())


def train_network(
    build, scale, dataset, recipe, seed, train_scale=None, *, machine=None, log=None, start=None, reads_test=True,
    progress="training the network to ship",
):  # fmt: skip
    """`(keras.Model, dict)`: the network `build(scale)` after `recipe` (None: with its initial weights), and how it
    came to them.

    Where a network is trained with what it ships without, such as an auxiliary head, `train_scale` has that: the
    weights are then carried over, layer by layer, to the network at `scale`. `machine` is what it is trained on, `log`
    a `nas_tf.training.Log`; `start(model)` may put weights into it first, and says which. Validation and, unless
    `reads_test` is False, test accuracy are read once, after training.
    """
    keras = import_keras()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    machine, train_scale = machine or Machine(), train_scale or scale
    with machine.scope() as num_devices:
        model = build(train_scale)
        begun = f", from {start(model)}" if start else ""
        if recipe is None:
            return model, {"weights": "untrained (initial weights)", "accuracy": {}}
        synchronize(model, num_devices > 1)
        trained = train(model, dataset, recipe, seed=seed, progress=progress, log=log)
    if train_scale != scale or machine != Machine():
        source, model = model, build(scale)
        if train_scale == scale:
            model.set_weights(source.get_weights())
        for layer in model.layers if train_scale != scale else ():
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())
    accuracy = {"validation": trained.accuracy}
    if reads_test:
        accuracy["test"] = evaluate(model, dataset.test(), recipe.batch_size)
    return model, {
        "weights": f"trained for {recipe.epochs} epochs at {scale.image_size} px{begun}",
        "recipe": dataclasses.asdict(recipe),
        "machine": dataclasses.asdict(machine),
        "accuracy": accuracy,
        "history": list(trained.history),
    }


def read_description(path, flag="architecture"):
    """The JSON value of an `architecture.json` that a flag names.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"Expected --{flag} to be a JSON file. Received: {str(path)!r}: {error}") from error


def describe(space_part, architecture, scale, dataset):
    """JSON-ready dict of what a network is, without its weights."""
    return {
        "space": space_part.to_json(),
        "architecture": architecture.to_json(),
        "text": str(architecture),
        "fingerprint": architecture.fingerprint,
        "scale": dataclasses.asdict(scale),
        "input": INPUT,
        "class_names": list(dataset.class_names),
        "dataset": dataset.describe(),
    }


def write_network(folder, model, description, space, number_type="float32", calibration=None):
    """Writes the folder of a trained network of `space`, its TFLite file of `number_type` (`nas_tf.export.to_tflite`);
    `architecture.json` comes last: it vouches for the rest."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "architecture.json").unlink(missing_ok=True)
    to_keras(model, folder / "model.keras")
    to_tflite(model, folder / "model.tflite", 1, number_type, calibration)
    to_saved_model(model, folder / "saved_model", description.get("class_names", ()))
    space.draw(space.architecture(description["architecture"]), folder)
    description = {**description, "tflite_number_type": number_type}
    write_file(folder / "architecture.json", json.dumps(description, indent=2) + "\n")
    return description


def read_network(folder):
    """`(keras.Model, dict)`: the network and the description in a folder that `write_network` wrote.

    Raises:
        UserError: a file is missing or damaged.
    """
    folder = pathlib.Path(folder)
    for name in ("architecture.json", "model.keras"):
        if not (folder / name).is_file():
            raise UserError(f"Expected the folder of a trained network. There is no file {str(folder / name)!r}")
    try:
        description = json.loads((folder / "architecture.json").read_text())
    except ValueError as error:
        raise UserError(f"{folder / 'architecture.json'} is damaged: {error}") from error
    return read_keras(folder / "model.keras"), description


def read_keras(path):
    """The `keras.Model` in a `.keras` file.

    Raises:
        UserError: it is missing or damaged.
    """
    keras = import_keras()
    try:
        with quiet():
            return keras.saving.load_model(path, compile=False)
    except Exception as error:  # h5py, zipfile and Keras each raise their own kinds
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path} is missing or damaged: {first_line}") from error
