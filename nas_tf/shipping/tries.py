"""The ways of training that every entrant of a race gets."""

import dataclasses

from nas_tf.training.recipe import Recipe

TRIES = 3
_SECOND_RATE = 1 / 4  # of the first, where the recipe names none


@dataclasses.dataclass(frozen=True)
class Try:
    """One way of training that every entrant gets.

    Attributes:
        name: what its folder is called.
        recipe: the `nas_tf.training.recipe.Recipe`.
        teacher: `keras.Model` that is learned from too, or None.
    """

    name: str
    recipe: Recipe
    teacher: object = None


def first_tries(recipe, tries=TRIES):
    """Returns the tries that come first: the recipe at two learning rates, or as it is where one try is all."""
    other = recipe.other_learning_rate or _SECOND_RATE * recipe.peak_learning_rate
    alone = dataclasses.replace(recipe, other_learning_rate=0.0, learning_rate_batch=0)
    if tries == 1:
        name = "better_rate" if recipe.other_learning_rate else f"rate_{recipe.peak_learning_rate:.3g}"
        return (Try(name, recipe),)
    rates = recipe.peak_learning_rate, other
    return tuple(Try(f"rate_{rate:.3g}", dataclasses.replace(alone, learning_rate=rate)) for rate in rates)


def tries_in_words(tries):
    """Returns in words what the tries of every entrant are."""
    return {
        1: "at the better of two learning rates after a few steps",
        2: "at two learning rates",
        3: "at two learning rates, and at the better one with the search's parent as teacher, if it has one",
    }[tries]
