"""A network trained at the scale it ships at, and its folder: architecture.json, model.keras, TFLite, SavedModel."""

import dataclasses
import json
import pathlib

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
        "latency": cost.latency and cost.latency.to_json(),
        "num_params": cost.num_params,
        "mult_adds": cost.mult_adds,
    }
    recipe = dataclasses.replace(setup.recipe, epochs=settings.final_epochs) if settings.final_epochs else None
    model, outcome = train_network(space, architecture, setup.deploy_scale, dataset, recipe, settings.seed)
    outcome["accuracy"]["proxy"] = best.measurement.accuracy
    return write_network(folder, model, {**description, **outcome})


def train_network(space, architecture, scale, dataset, recipe, seed):
    """`(keras.Model, dict)`: the network after `recipe` (None: with its initial weights), and how it came to them.

    Validation and test accuracy are read once, after training.
    """
    keras = import_keras()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = space.build(architecture, scale)
    if recipe is None:
        return model, {"weights": "untrained (initial weights)", "accuracy": {}}
    trained = train(model, dataset, recipe, progress="training the network to ship")
    accuracy = {"validation": trained.accuracy, "test": evaluate(model, dataset.test(), recipe.batch_size)}
    weights = f"trained for {recipe.epochs} epochs at {scale.image_size} px"
    return model, {"weights": weights, "recipe": dataclasses.asdict(recipe), "accuracy": accuracy}


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


def write_network(folder, model, description):
    """Writes the folder of a trained network; `architecture.json` comes last, so that it vouches for the rest."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "architecture.json").unlink(missing_ok=True)
    to_keras(model, folder / "model.keras")
    to_tflite(model, folder / "model.tflite")
    to_saved_model(model, folder / "saved_model")
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
    keras = import_keras()
    try:
        with quiet():
            return keras.saving.load_model(folder / "model.keras", compile=False), description
    except Exception as error:  # h5py, zipfile and Keras each raise their own kinds
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{folder / 'model.keras'} is damaged: {first_line}") from error
