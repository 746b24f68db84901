"""scikit-learn's handwritten digits: 1,797 real images that come with its package, so that nothing is downloaded.

Pixels from 0 to 16 become 0 to 255, and 8 x 8 grey becomes `image_size` x `image_size` RGB (bilinear). One fifth of all
images is the test split, another fifth the validation split.
"""

import dataclasses
import hashlib

import numpy as np

from nas_tf.datasets import Dataset, Images, check_request, split_names
from nas_tf.datasets._partition import check_fractions, partition
from nas_tf.settings import Settings
from nas_tf.trial import UserError

_FRACTIONS = {"test": 0.2, "validation": 0.2}


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """There is nothing to choose."""


def make(config, *, data_dir, image_size, num_samples, seed, race_fraction=0.0):
    """Returns the `Digits`.

    Raises:
        UserError: a folder was given, which this data set does not read, or an argument is out of range.
    """
    check_request(image_size, num_samples, seed)
    if data_dir:
        raise UserError(
            f"The data set 'digits' reads no folder. Received: data_dir={str(data_dir)!r}. "
            "For images of your own leave --dataset out, or choose --dataset=image_folder"
        )
    return Digits(image_size, num_samples, seed, race_fraction)


class Digits(Dataset):
    """The handwritten digits 0 to 9."""

    name = "digits"
    class_names = tuple("0123456789")
    augmentation = "shift"

    def __init__(self, image_size, num_samples, seed, race_fraction=0.0):
        from sklearn.datasets import load_digits

        digits = load_digits()
        self._pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
        self._labels = digits.target.astype(np.int32)
        self._image_size, self._seed = image_size, seed
        self._fractions = {**_FRACTIONS, **({"race": race_fraction} if race_fraction else {})}
        check_fractions(**self._fractions)
        self._indices = partition(self._labels, self.class_names, self._fractions, num_samples, seed)

    def describe(self):
        return {
            "name": self.name,
            "source": "sklearn.datasets.load_digits",
            "classes": list(self.class_names),
            "image_size": self._image_size,
            "num_examples": {split: len(self._indices[split]) for split in split_names(self._fractions)},
            "splits": f"test and validation are one fifth each, stratified, drawn with seed {self._seed}",
            "digest": hashlib.sha256(self._pixels.tobytes()).hexdigest()[:16],
        }

    def labels(self, split):
        return self._labels[self._indices[split]]

    def read(self, split):
        from PIL import Image

        size, indices = self._image_size, self._indices[split]
        images = np.empty((len(indices), size, size, 3), np.uint8)
        for i, pixels in enumerate(self._pixels[indices]):
            resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
            images[i] = np.asarray(resized)[..., np.newaxis]
        return Images(images, self.labels(split))
