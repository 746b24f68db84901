"""A convolution with its batch normalisation and ReLU, as `blocks.py` names them, in a built network.

Maps are arrays or Keras tensors, float32 [images, height, width, channels].
"""

import dataclasses
import functools

import numpy as np

from nas_tf.networks import _least_squares

_ROWS = 2048  # positions of maps from which weights are fitted; twice as many were no better


class Stage:
    """The layers of one convolution. `name` is what their names begin with, as `block2_layer1_expand`.

    Attributes:
        conv, bn: its Keras layers.
        depthwise: whether the convolution is.
    """

    def __init__(self, layers, name):
        self.name = name
        self._layers = [
            layers[f"{name}_{each}"] for each in ("pad", "conv", "bn", "relu") if f"{name}_{each}" in layers
        ]
        self.conv, self.bn = layers[f"{name}_conv"], layers[f"{name}_bn"]
        self.depthwise = type(self.conv).__name__ == "DepthwiseConv2D"
        self.padded = f"{name}_pad" in layers
        self.relu = layers.get(f"{name}_relu")

    @property
    def size(self):
        """int: height and width of the kernel."""
        return self.conv.kernel_size[0]

    @property
    def kernel(self):
        """float32 [height, width, inputs, outputs]; of a depthwise convolution [height, width, channels, 1]."""
        return np.asarray(self.conv.get_weights()[0])

    @property
    def norm(self):
        """The `Norm` of its batch normalisation."""
        return Norm(*self.bn.get_weights(), self.bn.epsilon)

    @property
    def outgoing(self):
        """float32 [inputs, outputs]: with which weights it reads its inputs; their size alone where it is depthwise."""
        kernel = self.kernel
        if self.depthwise:
            return np.diag(np.sqrt(np.square(kernel).sum((0, 1, 3))) * np.abs(self.norm.factor))
        return (kernel * self.norm.factor).transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1)

    def settle(self, x):
        """Gives a stage with weights of its own the statistics of what it reads, maps `x`: nothing else has any yet."""
        raw = np.asarray(functools.reduce(lambda maps, layer: layer(maps), self._layers[: 2 if self.padded else 1], x))
        gamma, beta, *_ = self.bn.get_weights()
        self.set(self.kernel, Norm(gamma, beta, raw.mean((0, 1, 2)), raw.var((0, 1, 2)), self.bn.epsilon))

    def set(self, kernel, norm):
        self.conv.set_weights([kernel.astype("float32")])
        self.bn.set_weights(norm.arrays)

    @property
    def output(self):
        """The Keras tensor that it returns."""
        return self._layers[-1].output

    def run(self, x):
        """Returns what the stage makes of maps `x`."""
        return functools.reduce(lambda maps, layer: layer(maps), self._layers, x)

    def before_relu(self, x):
        """Returns the same without its ReLU."""
        return functools.reduce(lambda maps, layer: layer(maps), self._layers[: -1 if self.relu else None], x)

    def first_tap(self, map_size):
        """int: how many pixels before the one that it answers for the kernel begins, on maps of this size."""
        if self.padded:
            return self.size // 2
        strides = self.conv.strides[0]
        return max((-(-map_size // strides) - 1) * strides + self.size - map_size, 0) // 2

    def patches(self, x, rows):
        """Returns float32 [rows, height x width of the kernel, channels]: what the kernel reads of maps `x`.

        `rows` are indices into the positions of the stage's maps, all images in turn.
        """
        x, strides, taps = np.asarray(x), self.conv.strides[0], range(self.size)
        height, width = (-(-each // strides) for each in x.shape[1:3])
        image, at = np.divmod(rows, height * width)
        top, left = (strides * each for each in np.divmod(at, width))
        if self.size > 1:
            before = [(self.first_tap(each), self.size) for each in x.shape[1:3]]
            x = np.pad(x, ((0, 0), *before, (0, 0)))
        return np.stack([x[image, top + row, left + column] for row in taps for column in taps], axis=1)

    def fit(self, x, wanted, rows, strength):
        """Changes kernel and batch normalisation so that the stage gives, before its ReLU, nearly `wanted` of `x`.

        It is least squares with a ridge that holds the kernel near the one that is there. The statistics of batch
        normalisation become those of `x`, its gamma and beta such that the function is the fitted one: a training step
        that takes the batch's statistics begins with the same function.

        Args:
            x: the maps that the stage reads.
            wanted: float32 [rows, channels].
            rows: positions of the stage's maps, as `patches` takes them.
            strength: of the ridge.
        """
        read, norm, kernel = self.patches(x, rows), self.norm, self.kernel
        if self.depthwise:
            read = np.ascontiguousarray(read.transpose(2, 0, 1))  # [channels, rows, taps]
            flat = kernel.reshape(-1, kernel.shape[2]).T * norm.factor[:, None]
            centre = read.mean(1, keepdims=True)
            missing = wanted - (read @ flat[..., None])[..., 0].T
            flat = flat + _least_squares.corrections_per_channel(read - centre, (missing - missing.mean(0)).T, strength)
            raw = (read @ flat[..., None])[..., 0].T
            self._set_fitted(flat.T.reshape(kernel.shape), raw, wanted.mean(0))
            return
        read = read.reshape(len(read), -1)
        flat = kernel.reshape(read.shape[1], -1) * norm.factor
        missing = wanted - read @ flat
        flat = flat + _least_squares.correction(read - read.mean(0), missing - missing.mean(0), strength)
        self._set_fitted(flat.reshape(kernel.shape), read @ flat, wanted.mean(0))

    def _set_fitted(self, kernel, raw, mean):
        """Sets weights that give `raw` moved to `mean`. `raw` is what `kernel` gives. The old kernel's size is kept."""
        axes = (0, 1, 3) if self.depthwise else (0, 1, 2)
        was, now = (np.sqrt(np.square(each).sum(axes)) for each in (self.kernel, kernel))
        size = np.where((was > 0) & (now > 0), was / np.maximum(now, 1e-30), 1.0)
        variance = np.square(size) * raw.var(0)
        gamma = np.sqrt(variance + self.bn.epsilon) / size
        shape = (1, 1, -1, 1) if self.depthwise else (1, 1, 1, -1)
        norm = Norm(gamma, np.asarray(mean), size * raw.mean(0), variance, self.bn.epsilon)
        self.set(kernel * size.reshape(shape), norm)


@dataclasses.dataclass(frozen=True)
class Norm:
    """The arrays of a batch normalisation, float32 [channels], in the order of Keras, and its epsilon."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float

    @property
    def arrays(self):
        return [each.astype("float32") for each in (self.gamma, self.beta, self.mean, self.variance)]

    @property
    def factor(self):
        """What it multiplies by."""
        return self.gamma / np.sqrt(self.variance + self.epsilon)

    def of(self, channels):
        """Returns that of some channels, by their numbers."""
        return Norm(*(each[channels] for each in self.arrays), self.epsilon)

    def times(self, factor):
        """Returns that whose output is `factor` times as large."""
        return dataclasses.replace(self, gamma=self.gamma * factor, beta=self.beta * factor)


def some_rows(maps_shape):
    """Returns int [rows]: positions of maps of this shape, at random and always the same, at most 2,048."""
    count = int(np.prod(maps_shape[:3]))
    return np.random.default_rng(0).permutation(count)[:_ROWS]


def at_rows(maps, rows):
    """Returns float32 [rows, channels]: the maps at some positions."""
    maps = np.asarray(maps)
    return maps.reshape(-1, maps.shape[-1])[rows]


def with_taps(kernel, size, offset):
    """Returns the kernel at another height and width: zeros round it, or the part of it that is left.

    Args:
        kernel: float32 [height, width, inputs, outputs].
        size: height and width of the result.
        offset: pixels from the new kernel's first tap to the old one's; below 0 where the old one begins earlier.
    """
    old = kernel.shape[0]
    new = np.zeros((size, size, *kernel.shape[2:]), kernel.dtype)
    first, last = max(offset, 0), min(offset + old, size)
    new[first:last, first:last] = kernel[first - offset : last - offset, first - offset : last - offset]
    return new
