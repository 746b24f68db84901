"""A toy data set as a part of a user's own: three tints under noise."""

import dataclasses

import numpy as np

from nas_tf.datasets import Dataset, Images, Stream


@dataclasses.dataclass(frozen=True)
class Config:
    empty: str = ""
    streams: bool = False
    classes: tuple = ("red", "green", "blue")


def make(config, *, data_dir, image_size, num_samples, seed):
    return Toy(config, image_size)


class Toy(Dataset):
    name, augmentation = "toy", "none"

    def __init__(self, config, size):
        self._config, self._size, self.class_names = config, size, config.classes

    def read(self, split):
        count, seed = {"train": (240, 1), "validation": (202, 2), "test": (50, 3)}[split]
        rng = np.random.default_rng(seed)
        count = 0 if split == self._config.empty else count
        labels = (np.arange(count) % 3).astype("int32")
        tint = 36 * np.eye(3)[labels][:, None, None] + rng.normal(0, 20, (count, 1, 1, 3))
        images = 110 + tint + rng.normal(0, 30, (count, self._size, self._size, 3))
        found = Images(images.clip(0, 255).astype("uint8"), labels)
        return Stream(found.batches, count) if self._config.streams else found

    def describe(self):
        counts = {"train": 240, "validation": 202, "test": 50}
        return {
            "name": self.name,
            "source": "made here",
            "splits": "drawn at random",
            "size": self._size,
            "num_examples": counts,
        }
