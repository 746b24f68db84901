"""An image and its mirror image: two views of which an epoch sees one, and the next epoch the other."""

import dataclasses

import numpy as np

from nas_tf.datasets import Steps


def num_views(dataset):
    """Returns 2 if a mirror image is of the same class in a data set, else 1."""
    return 2 if dataset.augmentation.endswith("flip") else 1


def views_of(images, count):
    """Returns a list of `count` views, each like `images`, [n, height, width, channels]."""
    return [images, images[:, :, ::-1]][:count]


@dataclasses.dataclass(frozen=True)
class ViewSteps(Steps):
    """Steps over views: image n has the index n, its mirror image n + `num_examples`.

    An epoch mirrors half of the images, the next one the other half. Without a seed none is mirrored.
    """

    views: int = 1

    def indices(self, i):
        found = super().indices(i)
        if self.views == 1 or self.seed is None:
            return found
        epoch = (self.first_step + i) // self.per_epoch
        first = np.random.default_rng((self.seed, self.num_examples)).integers(0, 2, self.num_examples)
        return found + self.num_examples * ((first[found] + epoch) % 2)
