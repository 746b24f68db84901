"""Who finishes a race, who of two ships, and why."""

import dataclasses
import pathlib

import numpy as np

from nas_tf import accuracy
from nas_tf.networks.description import NetworkDescription
from nas_tf.shipping.entrants import Entrant
from nas_tf.shipping.tries import Try

SURE = 0.05  # of a lead: how likely it may be by chance alone


@dataclasses.dataclass(frozen=True)
class Finisher:
    """An entrant with its best try.

    Attributes:
        entrant: the `Entrant`.
        attempt: the `Try`.
        folder: of that try, with `model.keras`.
        description: the `NetworkDescription` of that try.
        rights: tuple of bool [n], one for each seed: which race images were answered right.
    """

    entrant: Entrant
    attempt: Try
    folder: pathlib.Path
    description: NetworkDescription
    rights: tuple

    @property
    def right(self):
        """float [n]: the share of its trainings that answered each race image right."""
        return np.mean(self.rights, axis=0)

    @property
    def accuracy(self):
        """float: on the race images, in [0, 1]."""
        return float(self.right.mean())

    @property
    def error(self):
        """float: the standard error of `accuracy`, from the choice of images."""
        return float(self.right.std() / np.sqrt(len(self.right)))

    @property
    def latency_ms(self):
        return (self.description.latency_judged or self.description.latency).latency_ms


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Who ships, and why.

    Attributes:
        winner: the `Finisher` that ships.
        other: the best of the other kind, searched or import, or None.
        p_value: how likely the searched network's lead would be by chance; None: there was one kind only.
    """

    winner: Finisher
    other: Finisher | None = None
    p_value: float | None = None

    def __str__(self):
        """Why the winner ships, in words."""
        if self.other is None:
            return "the most accurate of the race on images that nothing had seen"
        searched, imported = sorted((self.winner, self.other), key=lambda each: each.entrant.is_import)
        lead = 100 * (searched.accuracy - imported.accuracy)
        words = (
            f"of the race images {searched.entrant.name}, searched, has {100 * searched.accuracy:.1f} % right and "
            f"{imported.entrant.name}, the best import, {100 * imported.accuracy:.1f} %: {lead:+.1f} points, "
        )
        if self.p_value < SURE:
            return f"{words}more than chance gives (p = {self.p_value:.3f})"
        if 1 - self.p_value < SURE:
            return f"{words}the import is better (p = {1 - self.p_value:.3f})"
        return f"{words}which is noise (p = {self.p_value:.2f}), and it is the faster of the two"


def said(finisher):
    """Returns the race accuracy of a `Finisher` in percent with its standard error."""
    return accuracy.text(finisher.accuracy, error=finisher.error)
