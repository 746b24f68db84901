"""Who is in the race: the best networks of a search, and published ones that could be imported."""

import dataclasses
import functools
import pathlib
import typing

from nas_tf.networks.description import NetworkDescription
from nas_tf.networks.folder import describe
from nas_tf.training.recipe import PLANS, Recipe
from nas_tf.trial import Trial


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A network in the race, before it is trained.

    Attributes:
        name: as in "trial 17" or "efficientnet_lite0 at 96 px".
        folder: its own.
        image_size: height and width of its images in pixels.
        recipe: the `nas_tf.training.recipe.Recipe` of its first try.
        build: `build(scale)` returns the `keras.Model`.
        scales: the scales at which it ships and is trained.
        description: its `NetworkDescription` before it is trained.
        start: `start(dataset)` returns what puts weights into it first (`nas_tf.training.network.train_network`), or
            None.
        trial: the `Trial` that it comes from; None for an import.
    """

    name: str
    folder: pathlib.Path
    image_size: int
    recipe: Recipe
    build: typing.Callable
    scales: tuple
    description: NetworkDescription
    start: typing.Callable
    trial: Trial | None = None

    @property
    def is_import(self):
        return self.trial is None


def searched(workshop, folder, trials):
    """Lists the `Entrant`s of trials, in `folder`, with the weights of the run's parent if it has one."""
    task, found = workshop.setup.task, []
    space = task.space.space
    for trial in trials:
        architecture = space.decode(trial.tokens)
        scale, train_scale = workshop.scales(architecture)
        description = describe(task.space, architecture, scale, workshop.dataset)
        entrant = Entrant(
            name=f"trial {trial.id}",
            folder=folder / f"trial_{trial.id:05d}",
            image_size=scale.image_size,
            recipe=workshop.plan.recipe,
            build=functools.partial(_build, task.space, architecture),
            scales=(scale, train_scale),
            description=dataclasses.replace(description, trial=trial.id),
            start=functools.partial(workshop.setup.start, architecture, train_scale),
            trial=trial,
        )
        found.append(entrant)
    return found


def imported(workshop, folder, found):
    """Lists the `Entrant`s of `nas_tf.shipping.imports.Import`s, in `folder`. They are fine-tuned."""
    entrants = []
    for each in found:
        dataset = workshop.setup.task.images.make(each.image_size, workshop.num_samples)
        scale = each.scale(dataset.num_classes, bn_momentum=PLANS["finetune"].scale["bn_momentum"])
        description = NetworkDescription(
            text=str(each),
            scale=dataclasses.asdict(scale),
            class_names=tuple(dataset.class_names),
            dataset=dataset.facts(),
            width=each.width,
        )
        entrant = Entrant(
            name=str(each),
            folder=folder / each.key,
            image_size=each.image_size,
            recipe=_fine_tuned(workshop.plan.recipe),
            build=each.build,
            scales=(scale, scale),
            description=description,
            start=_published,
        )
        entrants.append(entrant)
    return entrants


def _build(space, architecture, scale):
    return space.space.build(architecture, scale)


def _published(dataset):
    return lambda model: "published ImageNet weights"


def _fine_tuned(recipe):
    """Returns the recipe of imports: that of the other entrants if it begins with weights, else fine-tuning as long."""
    if recipe.head == "closed_form":
        return recipe
    return dataclasses.replace(PLANS["finetune"].recipe, epochs=recipe.epochs, batch_size=recipe.batch_size)
