"""Where accuracy comes from, one source in each file, as in `nas_tf.devices` for latency.

Each file has a frozen dataclass `Config` (its fields become flags, prefixed with the file's name; no Keras at import)
and a function `make(config, task)` that returns a `Judge`. It may have `child_scale(proxy_scale, deploy_scale)`, which
returns the scale of its children where that is not the proxy's, and `space_settings(config)`, which returns a dict of
the settings that the search space has by default. With `TRAINS = False` it trains no networks, and the best one of a
search is not trained either.
"""

import abc
import dataclasses

import numpy as np

from nas_tf.datasets import Source
from nas_tf.plugins import Part, described
from nas_tf.training.recipe import Recipe
from nas_tf.trial import InfeasibleArchitecture

KEPT = "kept"  # folder in a judge's own, whose files come and go


@dataclasses.dataclass(frozen=True)
class Task:
    """What every judge of a search is given, as plain data: which children, on which images, at which scales.

    Attributes:
        space: the search space's `nas_tf.plugins.Part`.
        images: the `nas_tf.datasets.Source` of the images.
        proxy_scale, deploy_scale: the family's `Scale` of the children that are judged and of the network that ships.
        recipe: how a child is trained; the images name their augmentation.
        proxy_samples: training images that a child sees; 0: all.
        seed: decides initial weights and the order of images.
        published: name of the family's module of published networks (`nas_tf.family.Family.published`).
        parent: what `--parent` names, whose weights networks begin with; empty: none.
    """

    space: Part
    images: Source
    proxy_scale: object
    deploy_scale: object
    recipe: Recipe
    proxy_samples: int
    seed: int
    published: str = ""
    parent: str = ""


def child_of(task, tokens):
    """Returns the architecture of the child that `tokens` mean: for smaller images, if it has a size of its own."""
    space = task.space.space
    return space.child(space.decode(tokens), task.proxy_scale, task.deploy_scale)


def build_child(task, tokens):
    """Returns the `keras.Model` of the child that `tokens` mean in a `Task`.

    Raises:
        InfeasibleArchitecture: it cannot be built.
    """
    architecture = child_of(task, tokens)  # outside: tokens of another space are a mistake, and no architecture's fault
    try:
        return task.space.space.build(architecture, task.proxy_scale)
    except ValueError as error:
        raise InfeasibleArchitecture(f"The child cannot be built at {task.proxy_scale}: {described(error)}") from error


def repeated_seed(seed, repeat):
    """Returns the seed of an independent measurement; with `repeat` 0 it is `seed` itself."""
    return int(np.random.SeedSequence((seed, repeat)).generate_state(1)[0]) if repeat else seed


class Judge(abc.ABC):
    """Says how accurate the architecture of some tokens is.

    A run makes a judge in its own process and calls `check`, `describe` and `prepare`, in this order. Every worker
    makes its own, calls `prepare` and then `accuracy` for one architecture after another.
    """

    rung_works = (1.0,)
    """tuple of float: how much work each of its rungs is, where `accuracy` without a rung is 1. With more than one, its
    `accuracy` takes `rung`, from 0: what comes of that much work, on top of that of the rungs below.
    """

    @abc.abstractmethod
    def check(self):
        """Raises `nas_tf.trial.UserError`, which says what to do, if the judge cannot answer. Takes seconds at most."""

    @abc.abstractmethod
    def describe(self):
        """Returns a JSON-ready dict of everything that an accuracy depends on, apart from the `Task`.

        Its `judge` is the judge's name. A run that is resumed with another dict is refused.
        """

    def prepare(self, folder):  # noqa: B027  most have nothing to make
        """Makes what the judge needs first, such as a fine-tuned parent, in `folder`, which is inside the run's.

        What is there is not made again, and what a kill left half made is completed. The first call is in the run's own
        process, so that a worker finds what it needs. A run whose files in `folder` have changed is refused, but
        for those in its folder `KEPT`.
        `nas_tf.resume.begin` records what they were made with.
        """

    def start(self, architecture):
        """Returns `start(model)`, which puts the weights into a network with which the judge has its children begin.

        None: it inherits from the parent of the run, or begins with random weights if there is none.
        """
        return None

    @abc.abstractmethod
    def accuracy(self, tokens, max_steps=None, repeat=0):
        """Returns the `nas_tf.training.train.Trained` of the architecture that `tokens` mean.

        Args:
            tokens: one token for each decision of the space.
            max_steps: ends training early, for a rehearsal.
            repeat: 0 for the first time; other numbers ask for independent measurements, which show the judge's noise.

        Raises:
            nas_tf.trial.InfeasibleArchitecture: the architecture cannot be built, or its training diverged.
            nas_tf.trial.EvaluationError: something failed through no fault of the architecture.
        """
