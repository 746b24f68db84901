"""What the two papers say about latency and size, beside what is measured here.

python -m benchmarks.paper_claims --device=host
python -m benchmarks.paper_claims --device=android --android_serials=SERIAL

Latencies of different chips cannot be compared, but ratios may. A ratio that differs from the paper's by more than 15 %
is taken apart: the ratio of multiply-adds, that of the speeds at which they run, and the activations that are written.
"""

import dataclasses
import math
import pathlib
import tempfile

from mnas_tf import published as mnas
from mnas_tf.spaces.mnasnet import Scale
from nas_tf import complexity, flags
from nas_tf.bars import progress_bar
from nas_tf.devices import Meter
from nas_tf.export import to_tflite
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob
from nas_tf.trial import UserError
from nasnet_tf.published import NASNetALarge

MNAS, NASNET = "arXiv 1807.11626", "arXiv 1707.07012"
# name: (published network, width multiplier)
NETWORKS = {
    "MnasNet-A1": ("mnasnet_a1", 1.0),
    "MnasNet-B1": ("mnasnet_b1", 1.0),
    "MnasNet-small": ("mnasnet_small", 1.0),
    "MnasNet-A1 x 0.35": ("mnasnet_a1", 0.35),
    "MobileNetV1": ("mobilenet", 1.0),
    "MobileNetV2 x 0.35": ("mobilenet_v2", 0.35),
    "MobileNetV2 x 1.4": ("mobilenet_v2", 1.4),
    "NASNet-A mobile": ("nasnet_mobile", 1.0),
}
# (the faster, the slower, how often faster, source)
SPEED_CLAIMS = (
    ("MnasNet-A1", "NASNet-A mobile", 183 / 78, f"{MNAS}, abstract: 2.3 x; 78 and 183 ms"),
    ("MnasNet-A1", "MobileNetV2 x 1.4", 1.8, f"{MNAS}, abstract"),
    ("MnasNet-A1", "MobileNetV1", 113 / 78, f"{MNAS}, table 1: 78 and 113 ms"),
    ("MnasNet-small", "MnasNet-A1", 78 / 23.2, f"{MNAS}, tables 1 and 4: 23.2 and 78 ms"),
    ("MobileNetV2 x 0.35", "MnasNet-A1 x 0.35", 22.8 / 21.4, f"{MNAS}, table 4: 21.4 and 22.8 ms"),
)
# (network, millions of multiply-adds, millions of parameters, source)
SIZE_CLAIMS = (
    ("MnasNet-A1", 312, 3.9, MNAS),
    ("MnasNet-small", 68, 2.0, MNAS),
    ("MnasNet-A1 x 0.35", 63, 1.7, MNAS),
    ("MobileNetV1", 575, None, MNAS),
    ("MobileNetV2 x 0.35", 59, 1.66, MNAS),
    ("NASNet-A mobile", 564, 5.3, NASNET),
    ("NASNet-A large", 23_800, 88.9, NASNET),
)
SPEED_TOLERANCE, SIZE_TOLERANCE = 0.15, 0.03


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    device: str = knob("host", "Where the networks are timed.", folder="nas_tf.devices")
    passes: int = knob(3, "Timings of each network, in turn; the median counts.")


def look_at(name, folder):
    """Returns a dict of a network's size, operations (batch normalisation folded) and path of its TFLite file."""
    keras = import_keras()
    keras.backend.clear_session()
    if name == "NASNet-A large":
        model, path = NASNetALarge(), None
    else:
        published, width = NETWORKS[name]
        model = mnas.build(published, Scale(224, 1000, width))
        path = folder / f"{len(list(folder.iterdir()))}.tflite"
        to_tflite(model, path)
    folded = (keras.layers.BatchNormalization, keras.layers.InputLayer, keras.layers.Dropout)
    kept = [layer for layer in model.layers if not isinstance(layer, folded)]
    return {
        "mult_adds": complexity.mult_adds(model) / 1e6,
        "params": complexity.num_params(model) / 1e6,
        "operations": len(kept),
        "activation_mb": sum(4 * math.prod(layer.output.shape[1:]) for layer in kept) / 1e6,
        "path": path,
    }


def why(facts, fast, slow, paper, here):
    """Returns why a ratio differs: the ratios of multiply-adds and of speeds, and what else the slower network does."""
    one, other = facts[fast], facts[slow]
    counts = other["mult_adds"] / one["mult_adds"]
    return (
        f"why: {slow} has {counts:.2f} x the multiply-adds of {fast}; it runs them at {counts / here:.2f} of "
        f"the other's speed here, at {counts / paper:.2f} on the paper's phone. For a million of them it writes "
        f"{other['activation_mb'] / other['mult_adds']:.3f} MB of activations in {other['operations']} operations, "
        f"{fast} {one['activation_mb'] / one['mult_adds']:.3f} MB in {one['operations']}"
    )


def verdict(paper, here, tolerance):
    return "holds" if abs(here / paper - 1) <= tolerance else f"differs: {here / paper:.2f} x the paper's"


def main():
    knobs = flags.read(Knobs)
    part = flags.read_part("nas_tf.devices", knobs.device)
    device = part.make(None, None)
    if not isinstance(device, Meter):
        raise UserError(f"Expected a --device that times files. Received: {knobs.device!r}")
    device.check()
    with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
        facts = {
            name: look_at(name, pathlib.Path(folder))
            for name in progress_bar([*NETWORKS, "NASNet-A large"], desc="converting")
        }
        for number in range(knobs.passes):
            for name in progress_bar(NETWORKS, desc=f"timing, pass {number + 1}"):
                facts[name].setdefault("ms", []).append(device.measure(str(facts[name]["path"])).latency_ms)
    for name in NETWORKS:
        facts[name]["ms"] = sorted(facts[name]["ms"])[knobs.passes // 2]
    report(facts, device.describe())


def report(facts, about):
    print(f"device: { {name: value for name, value in about.items() if name != 'settings'} }\n")
    print(f"{'claim':<58} {'paper':>8} {'here':>8}  verdict; source")
    for fast, slow, paper, source in SPEED_CLAIMS:
        here = facts[slow]["ms"] / facts[fast]["ms"]
        claim = f"{fast} is faster than {slow}, times"
        found = verdict(paper, here, SPEED_TOLERANCE)
        print(f"{claim:<58} {paper:>8.2f} {here:>8.2f}  {found}; {source}")
        if found != "holds":
            print(f"    {why(facts, fast, slow, paper, here)}")
    for name, mult_adds, params, source in SIZE_CLAIMS:
        for what, paper, here in (
            ("multiply-adds, M", mult_adds, facts[name]["mult_adds"]),
            ("parameters, M", params, facts[name]["params"]),
        ):
            if paper is not None:
                claim = f"{name}: {what}"
                print(f"{claim:<58} {paper:>8g} {here:>8.2f}  {verdict(paper, here, SIZE_TOLERANCE)}; {source}")
    print(f"\n{'network':<20} {'ms':>8} {'M madds':>8} {'G madds/s':>10} {'operations':>11} {'activations MB':>15}")
    for name in NETWORKS:
        each = facts[name]
        print(
            f"{name:<20} {each['ms']:>8.2f} {each['mult_adds']:>8.1f} {each['mult_adds'] / each['ms']:>10.1f} "
            f"{each['operations']:>11} {each['activation_mb']:>15.1f}"
        )


if __name__ == "__main__":
    flags.define(Knobs)
    flags.define_parts("nas_tf.devices")
    flags.run(main, __doc__)
