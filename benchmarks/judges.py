"""Which judge finds the networks that are best after longer training, within a window of latency.

python -m benchmarks.judges --data_dir=cifar10_jpeg.zip --accuracy_tables=acc.json --latency_table=lat.json \\
    --parent=tf_efficientnet_lite0.in1k.safetensors --out_dir=judges

Random networks of the space whose latency, by the table, lies within a window are trained longer: that is the truth, on
test images. Each judge orders them. Its regret of the top 5: how far the best of its five is below the best of all.
Intervals are of a bootstrap over networks. Beside judges: multiply-adds, parameters, and nwot (Mellor et al. 2021,
arXiv 2006.04647), which looks at an untrained network's activations. What is done is kept, row by row.
"""

import contextlib
import dataclasses
import sys
import time

import numpy as np

from benchmarks.contest import SLOW_SECONDS, Contender, bench_of, draw_networks, judge_inherited, train_contender
from nas_tf import flags
from nas_tf.complexity import mult_adds, num_params
from nas_tf.datasets import drawn, scale_pixels
from nas_tf.networks import accuracy_table as tables
from nas_tf.quiet import fresh_keras
from nas_tf.ranks import rank_correlation
from nas_tf.recycling import Processes
from nas_tf.settings import Settings, knob
from nas_tf.training.recipe import Recipe
from nas_tf.training.train import train
from nas_tf.trial import UserError

_BOOTSTRAPS = 2000
_TOP = 5
_NWOT_IMAGES = 64
_OWN_BLOCKS = 0.3  # of the parent's blocks that a random network keeps, beside those it draws


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "Folder or zip of images, with a folder for each class.", path=True)
    accuracy_tables: tuple[str, ...] = knob((), "The accuracy table.")
    latency_table: str = knob("", "Latency table of the same space.", path=True)
    parent: str = knob("efficientnet_lite0", "The parent of the accuracy table.", path=True)
    out_dir: str = knob("judges", "Keeps what is done.", path=True)
    num_networks: int = knob(24, "Networks.", least=8)
    window: tuple[float, ...] = knob((0.6, 0.7), "Least and largest latency, in shares of the parent's.")
    epochs: int = knob(6, "Epochs of the longer training, at the better of two rates.", least=1)
    proxy_epochs: int = knob(5, "Epochs of a child that begins with random weights.", least=1)
    num_workers: int = knob(1, "Trainings at once, also while it is measured how long a judge takes.", least=1)
    num_samples: int = knob(0, "Training images of the longer training; 0: those of the table.", least=0)

    def __post_init__(self):
        super().__post_init__()
        if len(self.window) != 2 or self.window[0] >= self.window[1]:
            raise UserError(f"Expected --window, two shares, the smaller one first. Received: {self.window}")


def main():
    knobs = flags.read(Knobs)
    bench = bench_of(knobs)
    facts = bench.facts(window=knobs.window, proxy_epochs=knobs.proxy_epochs)
    compared = networks(bench, knobs)
    judges = {
        "blocks, predicted": predicted,
        "blocks, evaluated": evaluated,
        "blocks, trained": trained,
        "inherited": inherited,
        "proxy, random weights": proxy,
        "nwot": nwot,
        "multiply-adds": multiply_adds,
        "parameters": parameters,
    }
    jsons, rows = [each.to_json() for each in compared], {}
    with contextlib.closing(Processes(knobs.num_workers, SLOW_SECONDS)) as processes:
        calls = {}
        for number, each in enumerate(compared):
            start = vars(Contender("truth", str(each), jsons[number], "parent", knobs.epochs, 0.0))
            calls[f"truth {number}"] = train_contender, knobs, start, True, 0
        truth = [each["test"] for each in facts.fill(processes, calls)]
        for reached, each in zip(truth, compared):
            print(f"{100 * reached:.1f} %  {each}", flush=True)
        for name, judge in judges.items():
            calls = {f"{name} {n}": (judged, knobs, judge.__name__, each) for n, each in enumerate(jsons)}
            found = facts.fill(processes, calls)
            rows[name] = [each["value"] for each in found], np.mean([each["seconds"] for each in found])
    report(np.array(truth), rows)
    print(f"command: python -m benchmarks.judges {' '.join(sys.argv[1:])}")


def networks(bench, knobs):
    """Returns random architectures of the table's space, each once, whose latency lies within the window."""
    own = bench.parent.architecture.blocks

    def draw(rng, choices):
        blocks = [each[rng.integers(len(each))] for each in choices]
        return [own[i] if rng.random() < _OWN_BLOCKS else each for i, each in enumerate(blocks)]

    found = draw_networks(bench, knobs.num_networks, *knobs.window, draw)
    if len(found) < knobs.num_networks:
        raise UserError(
            f"Expected --window with {knobs.num_networks} networks between its shares. Received: "
            f"{', '.join(map(str, knobs.window))}, with {len(found)}"
        )
    return found


def report(truth, rows):
    """Prints a row for each judge."""
    rng, best = np.random.default_rng(0), truth.max()
    samples = rng.integers(0, len(truth), (_BOOTSTRAPS, len(truth)))
    print(f"\n{len(truth)} networks, {100 * truth.min():.1f} to {100 * best:.1f} % after longer training")
    print(f"{'judge':24}{'rank correlation':>26}{'regret of top 5, points':>28}{'s each':>9}")
    for name, (values, seconds) in rows.items():
        values = np.array(values)
        correlations = [rank_correlation(values[each], truth[each]) for each in samples if np.ptp(truth[each]) > 0]
        regrets = [regret(values[each], truth[each]) for each in map(np.unique, samples)]
        low, high = np.nanpercentile(correlations, [2.5, 97.5])
        least, most = np.percentile(regrets, [2.5, 97.5])
        print(
            f"{name:24}{rank_correlation(values, truth):10.2f} ({low:5.2f} to {high:4.2f})"
            f"{regret(values, truth):12.1f} ({least:4.1f} to {most:4.1f}){seconds:9.2f}",
            flush=True,
        )


def regret(values, truth):
    """Returns how far the best of a judge's top five is below the best, in points."""
    return 100 * float(truth.max() - truth[np.argsort(-values, kind="stable")[:_TOP]].max())


def judged(knobs, name, architecture):
    """Returns what a judge, a function of this module, says of an architecture, and the seconds that it took."""
    bench = bench_of(knobs)
    architecture = bench.space.architecture(architecture)
    for lazy in ("parent", "table", "predictor"):
        getattr(bench, lazy)
    assert bench.trainer.images(bench.image_size(architecture)).lessons
    begin = time.perf_counter()
    value = globals()[name](bench, architecture)
    return {"value": float(value), "seconds": time.perf_counter() - begin}


def multiply_adds(bench, architecture):
    return mult_adds(bench.build(architecture))


def parameters(bench, architecture):
    return num_params(bench.build(architecture))


def predicted(bench, architecture):
    return bench.predictor.accuracy(architecture)


def _assembled(bench, architecture):
    fresh_keras(0)
    return tables.assemble(bench.table, bench.space, architecture, bench.trainer.scale)


def evaluated(bench, architecture):
    size = bench.image_size(architecture)
    return bench.trainer.judged(_assembled(bench, architecture), size)[0]


def trained(bench, architecture):
    size = bench.image_size(architecture)
    return bench.trainer.train(_assembled(bench, architecture), size, 0).accuracy


def inherited(bench, architecture):
    return judge_inherited(bench.knobs, architecture.to_json())


def proxy(bench, architecture):
    fresh_keras(0)
    model = bench.space.build(architecture, bench.trainer.scale)
    size = bench.image_size(architecture)
    return train(model, bench.trainer.images(size).dataset, Recipe(bench.knobs.proxy_epochs)).accuracy


def nwot(bench, architecture):
    """The log-determinant of how alike the binary codes of ReLUs are over some images."""
    keras = fresh_keras(0)
    model = bench.space.build(architecture, bench.trainer.scale)
    relus = [layer.output for layer in model.layers if layer.name.endswith("_relu")]
    size = bench.image_size(architecture)
    x = scale_pixels(drawn(bench.trainer.images(size).train, _NWOT_IMAGES).images)
    kernel = np.zeros((len(x), len(x)))
    for maps in keras.Model(model.inputs[0], relus)(x, training=False):
        codes = (np.asarray(maps).reshape(len(x), -1) > 0).astype("float32")
        kernel += codes @ codes.T + (1 - codes) @ (1 - codes).T
    return np.linalg.slogdet(kernel)[1]


if __name__ == "__main__":
    from benchmarks import judges  # whose functions other processes find by this name

    flags.define(judges.Knobs)
    flags.run(judges.main, __doc__)
