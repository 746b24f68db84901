"""Augmentation is what it is said to be, as measured: whole pixels, reflected borders, crops as published, no blur."""

import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from nas_tf.training.augmentation import CROP_AREAS, CROP_RATIOS, ResizedCrop, Shift
from nas_tf.training.input_pipeline import with_input_pipeline

SIZE = 16
NOISE = np.random.default_rng(0).integers(0, 256, (400, SIZE, SIZE, 3)).astype("float32")


def pipeline(augmentation, size=SIZE):
    """A model of what training does to pixels from 0 to 255 before a network takes them."""
    inputs = keras.Input((size, size, 3))
    model = with_input_pipeline(keras.Model(inputs, keras.layers.Identity()(inputs)), augmentation)
    return lambda images, training=True: np.asarray(model(images, training=training))[:, 0]


def offsets_of(image, original, limit):
    """The whole shifts, down and right, of which `image` is `original` with reflected borders."""
    padded = np.pad(original, ((limit, limit), (limit, limit), (0, 0)), mode="symmetric")
    height, width, _ = image.shape
    return [
        (row - limit, column - limit)
        for row in range(2 * limit + 1)
        for column in range(2 * limit + 1)
        if np.array_equal(padded[row : row + height, column : column + width], image)
    ]


@pytest.mark.parametrize("augmentation,limit", [("shift", 2), ("shift_flip", 2)])  # of 16 px: 1.6 and 2
def test_shifts_are_by_whole_pixels_and_reflect_borders(augmentation, limit):
    see = pipeline(augmentation)
    originals, seen = see(NOISE, training=False), []
    for image, original in zip(see(NOISE), originals, strict=True):
        straight = offsets_of(image, original, limit)
        mirrored = offsets_of(image[:, ::-1], original, limit)
        assert len(straight) + len(mirrored) == 1
        seen.append((bool(mirrored), *(straight or mirrored)[0]))
    every = range(-limit, limit + 1)
    assert {(row, column) for _, row, column in seen} == {(row, column) for row in every for column in every}
    mirrored = sum(flag for flag, _, _ in seen) / len(seen)
    assert 0.4 < mirrored < 0.6 if augmentation == "shift_flip" else mirrored == 0


@pytest.mark.parametrize("size,fraction,limit", [(32, 0.125, 4), (28, 0.1, 3), (8, 0.1, 1), (4, 0.1, 0)])
def test_the_largest_shift_is_a_share_of_the_size(size, fraction, limit):
    offsets, steps = Shift(fraction, seed=0).draw(2000, (size, size))
    assert set(np.unique(offsets)) == set(range(-limit, limit + 1)) and np.all(np.asarray(steps) == 1)
    counts = np.unique(np.asarray(offsets), return_counts=True)[1]
    assert counts.min() > 0.8 * 4000 / (2 * limit + 1)


def sharpness(images):
    """The mean square of the differences of neighbours: what blurring takes from images first."""
    return sum(np.square(np.diff(images, axis=axis)).mean() for axis in (1, 2))


def test_training_images_are_as_sharp_as_validation_images():
    images = NOISE.reshape(100, 32, 32, 3)
    for augmentation in ("shift", "shift_flip"):
        see = pipeline(augmentation, 32)
        trained, judged = see(images), see(images, training=False)
        # The pixels at a border are there twice: one neighbour in 31 does not differ.
        assert sharpness(trained) == pytest.approx(sharpness(judged), rel=1 / 31)
        inside = slice(4, 28)
        assert sharpness(trained[:, inside, inside]) == pytest.approx(sharpness(judged), rel=0.01)
    # The measure sees what shifts by fractions of pixels do.
    blurred = keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=0)(images, training=True)
    assert sharpness(np.asarray(blurred)) < 0.7 * sharpness(images)


def crops(count=3000, size=64):
    """Random crops of an image whose first two channels are its rows and its columns."""
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    image = np.stack([rows, columns, 0 * rows], axis=-1).astype("float32")
    return np.asarray(ResizedCrop(seed=0)(np.broadcast_to(image, (count, *image.shape)), training=True))


def test_crops_are_as_published():
    size = 64
    images = crops(size=size)
    tops, bottoms = images[:, 0, 0, 0], images[:, -1, 0, 0]
    lefts, rights = images[:, 0, 0, 1], images[:, 0, -1, 1]
    heights, widths = bottoms - tops + 1, rights - lefts + 1
    areas, ratios = heights * widths / size**2, widths / heights
    # Areas are uniform; but of those above 3/4, a part (`fitting`) is too high or too wide for the image.
    possible = np.linspace(*CROP_AREAS, 10_001)
    fitting = np.minimum(1, -np.log(possible) / math.log(CROP_RATIOS[1]))
    expected = (possible * fitting).sum() / fitting.sum()
    assert CROP_AREAS[0] - 1e-4 < areas.min() < 0.09 and 0.95 < areas.max() <= 1
    assert areas.mean() == pytest.approx(expected, rel=0.03)
    assert np.mean(areas < 0.75) == pytest.approx(fitting[possible < 0.75].sum() / fitting.sum(), rel=0.03)
    assert CROP_RATIOS[0] - 1e-3 < ratios.min() < 0.76 and 1.31 < ratios.max() < CROP_RATIOS[1] + 1e-3
    assert abs(np.log(ratios).mean()) < 0.02
    small = areas < 0.3
    assert np.std(np.log(ratios[small])) == pytest.approx(math.log(CROP_RATIOS[1]) / math.sqrt(3), rel=0.1)
    # They lie everywhere, and each axis has its own place.
    for begin, side in ((tops, heights), (lefts, widths)):
        places = (begin / (size - side))[small]
        assert np.histogram(places, 4, (0, 1))[0].min() > 0.2 * small.sum()
    assert abs(np.corrcoef(tops[small], lefts[small])[0, 1]) < 0.1


def test_crops_hold_nothing_but_the_image():
    images = crops(500)
    assert images[..., :2].min() >= 0 and images[..., :2].max() <= 63 + 1e-4
    for axis in (0, 1):  # rows grow downwards only, and columns to the right only: no smeared border
        along, across = (np.diff(images[..., axis], axis=1 + each) for each in (axis, 1 - axis))
        assert along.min() > 0.2 and np.abs(across).max() < 1e-4
        # Each crop is resized evenly.
        assert np.ptp(along, axis=1 + axis).max() < 1e-3


def test_a_crop_of_everything_is_the_image():
    """No crop of these shapes fits into a strip, so that all of it is taken."""
    for shape in ((2, 200, 3), (200, 2, 3)):
        strips = NOISE[:5].reshape(-1)[: 3 * math.prod(shape)].reshape(3, *shape)
        np.testing.assert_array_equal(ResizedCrop(seed=0)(strips, training=True), strips)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_images_can_be_cropped(size):
    image = np.full((50, size, size, 3), 7, "float32")
    np.testing.assert_allclose(ResizedCrop(seed=0)(image, training=True), image, rtol=1e-6)


@pytest.mark.parametrize("augmentation", ["none", "shift", "shift_flip", "crop_flip"])
def test_outside_training_images_pass_unchanged(augmentation):
    see = pipeline(augmentation)
    np.testing.assert_array_equal(see(NOISE[:20], training=False), NOISE[:20] * (1 / 127.5) - 1)
    assert np.array_equal(see(NOISE[:20]), see(NOISE[:20], training=False)) is (augmentation == "none")


@pytest.mark.parametrize("augmentation", ["shift", "shift_flip", "crop_flip"])
def test_a_seed_decides_the_images_of_every_step(augmentation):
    steps = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        see = pipeline(augmentation)
        steps.append([see(NOISE[:20]) for _ in range(2)])
    np.testing.assert_array_equal(steps[0], steps[1])
    assert not np.array_equal(steps[0][0], steps[0][1])


@pytest.mark.real
def test_the_same_under_jax():
    """Where borders are reflected and where the centres of pixels lie is each backend's own code."""
    pytest.importorskip("jax")
    some = "reflect_borders or nothing_but_the_image"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", some]
    process = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-2000:]
