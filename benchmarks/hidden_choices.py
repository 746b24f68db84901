"""How many choices the child of a search cannot show: they change the network that ships, and so its latency, alone.

python -m benchmarks.hidden_choices --search_space=mnasnet --proxy_image_size=32 --proxy_width_multiplier=0.5

Takes random architectures and every other choice of each of their decisions. Of the choices that make another network
to ship, it counts those whose child is the same function: its layers have the same filters, kernels whose weights are
used at the same places, and the same skips. "Now" is the scale of children in a search; "before" rounds filters to
multiples of 8 and builds all strides.
"""

import collections
import dataclasses
import functools
import sys

import numpy as np

from mnas_tf.family import SPACES, MnasNetSearchSettings, search_scales
from mnas_tf.spaces._network import built_layers
from nas_tf import flags
from nas_tf.settings import Settings, knob

NUM_CLASSES = 10
WITHOUT = {"filter_multiple": 8, "least_map_size": 1}


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    search_space: str = knob("mnasnet", "Search space.", folder=SPACES)
    proxy_image_size: int = knob(32, "Height and width of the children's images in pixels.", least=1)
    proxy_width_multiplier: float = knob(0.5, "Factor on the filters of the children.", above=0)
    architectures: int = knob(300, "Random architectures.", least=1)
    seed: int = knob(0, "Of the random architectures.")


def child_scales(space_part, image_size, width_multiplier):
    """Returns a dict of the scale of children `before` and `now`."""
    settings = MnasNetSearchSettings(run_dir="-", proxy_image_size=image_size, proxy_width_multiplier=width_multiplier)
    now, _ = search_scales(settings, space_part.module.Scale, NUM_CLASSES)
    return {"before": dataclasses.replace(now, **WITHOUT), "now": now}


@functools.cache
def used_offsets(kernel_size, size, strides):
    """Returns a frozenset of the offsets at which a kernel ever reads a map of this size, along one axis.

    An offset is counted from the position that the kernel answers for. Padding is TensorFlow's `SAME`.
    """
    padding = max((-(-size // strides) - 1) * strides + kernel_size - size, 0) // 2
    offsets = range(-padding, kernel_size - padding)
    return frozenset(each for each in offsets for at in range(0, size, strides) if 0 <= at + each < size)


def function_of(architecture, scale):
    """Returns a tuple of what the layers of a `MnasNet` compute at `scale`, weights aside."""
    (_, *maps), found = built_layers(architecture, scale), [scale.filters(architecture.stem_filters)]
    layers = [(block, *layer) for block in architecture.blocks for layer in block.layers()]
    for (block, inputs, _, skip), (size, strides) in zip(layers, maps, strict=True):
        channels = scale.filters(inputs)
        found.append(
            (
                block.op,
                block.expansion_ratio,
                (channels, scale.filters(block.filters), scale.squeeze_filters(block.se_ratio, channels)),
                used_offsets(block.kernel_size, size, strides),
                "identity" if skip == "pool" and size == 1 else skip,
            )
        )
    return tuple(found)


def count(space, scales, architectures, seed=0):
    """Counts the single other choices of random architectures.

    Returns:
        A dict from question to a `collections.Counter` of `choices`, those that change the network that ships, and for
        each name in `scales` of those that its child does not show.
    """
    rng, found = np.random.default_rng(seed), {}
    for _ in range(architectures):
        tokens = tuple(int(rng.integers(each)) for each in space.num_choices)
        architecture = space.decode(tokens)
        functions = {name: function_of(architecture, scale) for name, scale in scales.items()}
        for i, decision in enumerate(space.decisions):
            counts = found.setdefault(decision.name.rpartition("/")[2], collections.Counter())
            for token in range(len(decision.choices)):
                other = space.decode((*tokens[:i], token, *tokens[i + 1 :]))
                if other.fingerprint == architecture.fingerprint:
                    continue
                counts["choices"] += 1
                for name, scale in scales.items():
                    counts[name] += function_of(other, scale) == functions[name]
    return found


def main():
    knobs = flags.read(Knobs)
    part = flags.read_part(SPACES, knobs.search_space)
    scales = child_scales(part, knobs.proxy_image_size, knobs.proxy_width_multiplier)
    found = count(part.space, scales, knobs.architectures, knobs.seed)
    found["all"] = sum(found.values(), collections.Counter())
    print(f"{'question':<18} {'choices':>8}" + "".join(f"{f'hidden {name}':>15} {'%':>6}" for name in scales))
    for question, counts in found.items():
        figures = (f"{counts[name]:>15} {100 * counts[name] / max(counts['choices'], 1):>6.2f}" for name in scales)
        print(f"{question:<18} {counts['choices']:>8}" + "".join(figures))
    print(f"now: {part.space.child_note(scales['now'])}")
    print(f"command: python -m benchmarks.hidden_choices {' '.join(sys.argv[1:])}")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.define_parts(SPACES)
    flags.run(main, __doc__)
