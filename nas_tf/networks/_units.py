"""A built network in units that return a map: stem, head, and each layer of a block, as `blocks.py` builds them.

A unit is a convolution, or a mobile inverted bottleneck with or without its expansion, with what follows: squeeze-and-
excitation and the skip. Maps are arrays or Keras tensors, float32 [images, height, width, channels].
"""

import re

import numpy as np

from nas_tf.networks._stages import Stage

_PARTS = ("expand", "depthwise", "project")


class Unit:
    """One unit of a network.

    Attributes:
        name: what the names of its layers begin with.
        stages: dict from `"conv"`, or from those of `"expand"`, `"depthwise"` and `"project"` that it has, to `Stage`s.
        squeeze, excite: the convolutions of its squeeze-and-excitation; None: it has none.
        skip: `"identity"`, `"pool"` or `"none"`.
    """

    def __init__(self, layers, name):
        self.name = name
        self.stages = {each: Stage(layers, f"{name}_{each}") for each in _PARTS if f"{name}_{each}_conv" in layers}
        if not self.stages:
            self.stages = {"conv": Stage(layers, name)}
        self.squeeze, self.excite, self._scaled = (
            layers.get(f"{name}_se_{each}") for each in ("squeeze", "excite", "scale")
        )
        self._pool, self._add = layers.get(f"{name}_pool"), layers.get(f"{name}_add")
        self.skip = "pool" if self._pool else "identity" if f"{name}_add" in layers else "none"

    @property
    def last(self):
        """The `Stage` that returns its channels."""
        return list(self.stages.values())[-1]

    @property
    def first(self):
        """The `Stage` that reads its input."""
        return list(self.stages.values())[0]

    @property
    def spatial(self):
        """The `Stage` with its k x k kernel and its strides."""
        return self.stages.get("depthwise", self.last)

    @property
    def last_part(self):
        """The name of the last stage in `stages`."""
        return list(self.stages)[-1]

    @property
    def squeezed_part(self):
        """The name in `stages` of the stage whose output squeeze-and-excitation reads, if there is any."""
        return "conv" if "conv" in self.stages else "depthwise"

    @property
    def output(self):
        """The Keras tensor that it returns."""
        if self._add is not None:
            return self._add.output
        return self._scaled.output if "conv" in self.stages and self.squeeze is not None else self.last.output

    @property
    def map_size(self):
        """int: height and width of the maps that it returns, in pixels."""
        return self.last.bn.output.shape[1]

    def styles(self, other):
        """Lists `(what, ours, theirs)` of the settings of `blocks.Style`. Both units have the same strides."""
        ours, theirs = self.spatial, other.spatial
        found = [
            ("bn_epsilon", ours.bn.epsilon, theirs.bn.epsilon),
            ("activation", *("relu6" if each.relu.max_value else "relu" for each in (ours, theirs))),
        ]
        if ours.size > 1 and theirs.size > 1:  # smaller ones have no padding
            found.append(("padding", *("symmetric" if each.padded else "same" for each in (ours, theirs))))
        return found

    @property
    def inputs(self):
        """int: channels that it reads."""
        return self.first.kernel.shape[2]

    @property
    def hidden(self):
        """int: channels that its last stage reads."""
        return self.last.kernel.shape[2]

    @property
    def filters(self):
        """int: channels that it returns."""
        return self.last.kernel.shape[3]

    def squeezed(self, x):
        """Returns maps `x` times the scales of squeeze-and-excitation, if it has one."""
        return x if self.squeeze is None else x * self.excite(self.squeeze(self._means(x)))

    def before_squeeze(self, x):
        """Returns what squeeze-and-excitation reads, or would read, where the unit reads maps `x`."""
        for part in self.stages:
            x = x if part == "project" else self.stages[part].run(x)
        return x

    def squeezed_channels(self, x):
        """Returns what its first convolution gives, float32 [images, 1, 1, channels], where the unit reads `x`."""
        return self.squeeze(self._means(self.before_squeeze(x)))

    def read_by_last(self, x):
        """Returns what its last stage reads where the unit reads maps `x`."""
        return x if "conv" in self.stages else self.squeezed(self.before_squeeze(x))

    @staticmethod
    def _means(x):
        return np.asarray(x).mean((1, 2), keepdims=True)

    def skipped(self, x):
        """Returns what is added to what the last stage gives where the unit reads `x`: maps, or 0."""
        return {"identity": lambda: x, "pool": lambda: self._pool(x), "none": lambda: 0.0}[self.skip]()

    def end(self, last, x):
        """Returns the unit's output: `last` is what its last stage gives where the unit reads `x`."""
        return (self.squeezed(last) if "conv" in self.stages else last) + self.skipped(x)

    def run(self, x):
        """Returns the unit's output for maps `x`."""
        return self.end(self.last.run(self.read_by_last(x)), x)


def units_of(model):
    """Returns a dict from name to `Unit` of a `keras.Model` or of a part of one, in order."""
    layers = {layer.name: layer for layer in model.layers}
    found = (re.fullmatch(r"(.+?)(_expand|_depthwise|_project)?_conv", name) for name in layers)
    return {name: Unit(layers, name) for name in dict.fromkeys(match[1] for match in found if match)}


class Network:
    """A built network: its units in order, and its classifier.

    Attributes:
        model: the `keras.Model`.
        units: dict from name to `Unit`, in order.
        classifier: its Dense layer.
    """

    def __init__(self, model):
        layers = {layer.name: layer for layer in model.layers}
        self.model, self.classifier = model, layers["predictions"]
        self.units = units_of(model)
        self._normalization = layers.get("imagenet_normalization")

    @property
    def normalizes(self):
        """Whether images are brought to ImageNet's mean and deviation first."""
        return self._normalization is not None

    def read(self, images):
        """Returns what the first unit reads of `images`, float32 [images, size, size, 3] in [-1, 1]."""
        return self._normalization(images) if self.normalizes else images
