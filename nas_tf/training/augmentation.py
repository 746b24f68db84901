"""What moves and crops images at random while a network is trained, as Keras layers.

Each layer takes float images [batch, height, width, channels], draws anew for each of them, and does nothing outside
training. This module imports Keras at its top: it is imported where a network is trained.
"""

import math

import keras
from keras import ops

# As published (arXiv 1409.4842, section 6): shares of the image's area, and width / height.
CROP_AREAS, CROP_RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)
CROP_TRIES = 10


class _Resampled(keras.layers.Layer):
    """Its pixel `i` of an axis is the image's at `offset + step x i`; centres of pixels have whole numbers.

    Args:
        seed: of the random numbers, whose state is a variable of the model.
        **kwargs: as for `keras.layers.Layer`.
    """

    interpolation = "bilinear"

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_jit = keras.backend.backend() != "tensorflow"  # whose transform XLA does not know
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        if not training:
            return images
        offsets, steps = self.draw(ops.shape(images)[0], tuple(images.shape[1:3]))
        (y, x), (dy, dx) = (ops.unstack(each, 2, axis=1) for each in (offsets, steps))
        zero = ops.zeros_like(x)
        return ops.image.affine_transform(
            images,
            ops.stack([dx, zero, x, zero, dy, y, zero, zero], axis=1),
            interpolation=self.interpolation,
            fill_mode="reflect",
            data_format="channels_last",
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def draw(self, count, size):
        """Returns float32 [count, 2] offsets and steps, vertical and horizontal, for images of this (height, width)."""
        raise NotImplementedError


class Shift(_Resampled):
    """Shifts each image by whole pixels, so that it stays as sharp as it was, and reflects it at its borders.

    Args:
        fraction: the largest shift, as a share of height and of width. All shifts are equally likely.
        **kwargs: as for the base.
    """

    interpolation = "nearest"

    def __init__(self, fraction, **kwargs):
        super().__init__(**kwargs)
        self.fraction = fraction

    def draw(self, count, size):
        limits = [round(self.fraction * each) for each in size]
        shifts = [keras.random.randint((count,), -each, each + 1, seed=self.seed_generator) for each in limits]
        offsets = ops.cast(ops.stack(shifts, axis=1), "float32")
        return offsets, ops.ones_like(offsets)


class ResizedCrop(_Resampled):
    """Crops each image at random and resizes the crop to the size of the image.

    The crop has a share of the area of 8 % to 100 % and a width / height of 3/4 to 4/3, the first uniform and the
    second uniform in its logarithm. Of ten draws the first counts that fits into the image; if none does, the whole
    image. A crop reaches from the centre of its first pixel to that of its last: no pixel beside it is read.
    """

    def draw(self, count, size):
        areas, logarithms = (
            keras.random.uniform((count, CROP_TRIES), *bounds, dtype="float32", seed=self.seed_generator)
            for bounds in (CROP_AREAS, [math.log(ratio) for ratio in CROP_RATIOS])
        )
        tries = ops.stack([areas * ops.exp(-logarithms), areas * ops.exp(logarithms)], axis=2)
        whole = ops.convert_to_tensor(size, dtype="float32")
        sides = ops.sqrt(tries * math.prod(size))
        fits = ops.all(sides <= whole, axis=2)
        first = ops.logical_and(fits, ops.cumsum(ops.cast(fits, "int32"), axis=1) == 1)
        chosen = ops.sum(ops.where(first[:, :, None], sides, 0.0), axis=1)  # 0: none fits
        chosen = ops.where(chosen > 0, ops.maximum(chosen, 1.0), whole)
        places = keras.random.uniform((count, 2), dtype="float32", seed=self.seed_generator)
        return places * (whole - chosen), (chosen - 1) / ops.maximum(whole - 1, 1.0)
