"""One network trained at the scale at which it ships."""

import dataclasses

from nas_tf.bars import doing
from nas_tf.networks.description import UNTRAINED, Accuracies
from nas_tf.quiet import count, fresh_keras
from nas_tf.training.features import without_frozen
from nas_tf.training.head import fit_head
from nas_tf.training.machine import Machine, synchronize
from nas_tf.training.train import train


@dataclasses.dataclass(frozen=True)
class Training:
    """How a network came to its weights; the fields are those of `nas_tf.networks.description.NetworkDescription`."""

    weights: str = UNTRAINED
    recipe: dict | None = None
    machine: dict | None = None
    accuracy: Accuracies = dataclasses.field(default_factory=Accuracies)
    history: tuple[dict, ...] = ()

    def described(self, description):
        """Returns `description`, a `NetworkDescription`, with this training in it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(description, **fields)


def train_network(
    build,
    scale,
    dataset,
    recipe,
    seed,
    train_scale=None,
    *,
    machine=None,
    log=None,
    start=None,
    progress="training the network to ship",
    teacher=None,
):
    """Builds and trains a network. The validation accuracy is that of the trained network; no test image is read.

    Args:
        build: `build(scale)` returns the `keras.Model` at a scale.
        scale: the scale at which it ships.
        dataset: `nas_tf.datasets.Dataset`.
        recipe: `nas_tf.training.recipe.Recipe`; None leaves the initial weights.
        seed: decides initial weights and the order of images.
        train_scale: the scale at which it is trained, if it is trained with something that does not ship, such as an
            auxiliary head. The weights are then carried over, layer by layer, to the network at `scale`.
        machine: `nas_tf.training.machine.Machine` that it is trained on; None: the default.
        log: `nas_tf.training.train.Log`, or None.
        start: `start(model)` first puts weights into the network, and returns in words which; or None.
        progress: what the progress bar is called.
        teacher: as `nas_tf.training.train.train` takes it.

    Returns:
        `(keras.Model, Training)`.
    """
    fresh_keras(seed)
    machine, train_scale = machine or Machine(), train_scale or scale
    with machine.scope() as num_devices:
        model = build(train_scale)
        begun = f", from {start(model)}" if start else ""
        if recipe is None:
            return model, Training()
        has_begun = log is not None and log.path.exists()
        if recipe.head == "closed_form" and not has_begun:
            doing("fitting the classifier")
            fit_head(model, dataset.train())
        synchronize(model, num_devices > 1)
        trained = _train(model, dataset, recipe, seed=seed, progress=progress, log=log, teacher=teacher)
    if train_scale != scale or machine != Machine():
        source, model = model, build(scale)
        if train_scale == scale:
            model.set_weights(source.get_weights())
        for layer in model.layers if train_scale != scale else ():
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())
    return model, Training(
        weights=f"trained for {count(recipe.epochs, 'epoch')} at {scale.image_size} px{begun}",
        recipe={**dataclasses.asdict(recipe), "peak_learning_rate": trained.learning_rate},
        machine=dataclasses.asdict(machine),
        accuracy=Accuracies(validation=trained.accuracy),
        history=trained.history,
    )


def _train(model, dataset, recipe, *, log, teacher, **keywords):
    """Trains a network, or the later layers of one whose early layers the recipe freezes."""
    if not recipe.frozen_fraction:
        return train(model, dataset, recipe, log=log, teacher=teacher, **keywords)
    later, features, recipe = without_frozen(model, dataset, recipe, teacher, log and log.path.parent)
    teacher = teacher if later is model else None
    return train(later, features, recipe, log=log, teacher=teacher, **keywords)
