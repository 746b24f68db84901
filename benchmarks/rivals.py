"""What a user would do instead of a search by both tables: the rivals of `search_pays`.

Each takes a bench, facts, processes and a target as a share of the parent's latency, and returns contenders.
"""

import dataclasses
import itertools

import numpy as np

from benchmarks.contest import Contender, bench_of, draw_networks, judge_inherited, shares, train_contender
from mnas_tf import pretrained
from nas_tf.complexity import mult_adds
from nas_tf.datasets import scale_pixels
from nas_tf.export import to_keras
from nas_tf.networks import inheritance
from nas_tf.networks.folder import read_keras

ABOVE = 1.005  # of the target: how far above it a network may be, for noise
_BELOW = 0.05  # of the target: how far below it a random network may be
_NEAR = (0.4, 1.1)  # multiply-adds of what is timed, in shares of the parent's, beside the target
_WIDTHS, _LARGEST = (1.0, 0.875, 0.75, 0.625, 0.5), 1.25
_RANDOM, _MOST_CHANGES = 8, 3
_NETADAPT_STEP = 0.07  # of the parent's latency, that each step saves at least
_RATES = (3e-4, 1e-3)


def smaller_parents(bench, facts, processes, share):
    """For each width the parent at the largest size that meets the target.

    Latency does not follow multiply-adds, but not every size need be timed: those are that have about so many.
    """
    found, own = [], mult_adds(bench.build(bench.parent.architecture))
    for width in _WIDTHS:
        largest = int(_LARGEST * bench.scale.image_size) // 4 * 4  # a narrow network may see larger images
        sizes = [
            size
            for size in range(largest, bench.scale.image_size // 2 - 1, -4)
            if _NEAR[0] * share <= mult_adds(bench.build(bench.narrow(width, size))) / own <= _NEAR[1] * share
        ]
        took = facts.get(
            f"{share} sizes {width}", lambda w=width, s=sizes: shares(bench, [bench.narrow(w, size) for size in s])
        )
        size, each = next(((size, each) for size, each in zip(sizes, took) if each <= share * ABOVE), (0, 0.0))
        if size:
            found += parents(bench, "a", width, size, each)
    return found


def parents(bench, rival, width, size, share):
    """Returns the parent with so wide blocks at a size, which takes this share of its latency, as contenders.

    It begins with the weights that were fine-tuned at its own size, and at full width also with the published ones.
    """
    network, name = bench.narrow(width, size).to_json(), f"parent x {width:g} at {size} px"
    found = [Contender(rival, f"{name}, fine-tuned before", network, "parent", bench.knobs.epochs, share)]
    if width == 1:
        found.append(Contender(rival, name, network, "import", bench.knobs.epochs, share))
    return found


def other_imports(bench, facts, processes, share):
    """Each other network with weights at hand, at the largest size that meets the target."""
    found = []
    for name in pretrained.NAMES:
        for width in pretrained.widths(name):
            if name == bench.parent.name or pretrained.why_not(name, width, bench.knobs.weights_dir) is not None:
                continue
            offered = [
                {"name": name, "width": width, "image_size": size} for size in range(bench.scale.image_size, 31, -8)
            ]
            took = facts.get(f"sizes {name} {width}", lambda o=offered: shares(bench, o))
            fits = [(each, one) for each, one in zip(offered, took) if one <= share * ABOVE]
            if fits:
                network, one = fits[0]
                words = f"{name} x {width:g} at {network['image_size']} px"
                found.append(Contender("b", words, network, "import", bench.knobs.epochs, one))
    if not found:
        print("b: no other network's weights are at hand", flush=True)
    return found


def netadapt(bench, facts, processes, share):
    """NetAdapt: the same path serves all targets."""
    own = bench.parent.architecture
    current, file, base_ms = own, "", bench.estimator.estimate([own])[0]
    for step in itertools.count():
        if bench.estimator.estimate([current])[0] <= share * base_ms:
            break
        value = facts.get(
            f"netadapt {step}",
            lambda c=current, f=file, s=step: _netadapt_step(bench, facts, processes, c, f, s, base_ms),
        )
        if value is None:
            return []
        current, file = bench.space.architecture(value["architecture"]), value["file"]
    took = shares(bench, [current])[0]
    if took > share * ABOVE:
        print(f"c: its network takes {took:.3f} of the parent's latency when it is timed", flush=True)
    return [Contender("c", f"netadapt {current}", current.to_json(), file, bench.knobs.epochs, took)]


def _netadapt_step(bench, facts, processes, current, file, step, base_ms):
    """One step: of the proposals of all blocks the most accurate one after a short fine-tuning."""
    now_ms, offers = bench.estimator.estimate([current])[0], {}
    for number, choices in enumerate(bench.space.block_choices(bench.parent.architecture)):
        offered = []
        for block in choices:
            each = bench.space.assembled(current, [*current.blocks[:number], block, *current.blocks[number + 1 :]])
            offered.append((bench.estimator.estimate([each])[0], each))
        fits = [row for row in offered if row[0] <= now_ms - _NETADAPT_STEP * base_ms]
        if fits:
            offers[number] = max(fits, key=lambda row: row[0])[1], f"netadapt_{step}_{number}.keras"
    if not offers:
        print(f"c: no block can save {_NETADAPT_STEP:.0%} of the parent's latency any more", flush=True)
        return None
    calls = {
        f"netadapt {step} block {number}": (_judge_from, bench.knobs, each.to_json(), current.to_json(), file, name)
        for number, (each, name) in offers.items()
    }
    reached = facts.fill(processes, calls)
    each, name = list(offers.values())[int(np.argmax(reached))]
    return {"architecture": each.to_json(), "file": name}


def _judge_from(knobs, architecture, current, file, name):
    """Returns a short fine-tuning's accuracy for a child of a network that is itself a child; keeps its weights."""
    bench = bench_of(knobs)
    architecture, current = (bench.space.architecture(each) for each in (architecture, current))
    model = read_keras(bench.folder / file) if file else bench.trainer.read_parent()
    source = inheritance.Parent(model, scale_pixels(bench.trainer.images().examples))
    child = bench.space.build(architecture, bench.trainer.scale)
    inheritance.inherit(child, source, bench.space.counterparts(architecture, current))
    found = bench.trainer.train(child, bench.scale.image_size, 0).accuracy
    to_keras(child, bench.folder / name)
    return found


def random_networks(bench, facts, processes, share):
    """The best of eight, by the judge `inherited`."""

    def draw(rng, choices):
        new = list(bench.parent.architecture.blocks)
        for place in rng.choice(len(choices), rng.integers(1, _MOST_CHANGES + 1), replace=False):
            new[place] = choices[place][rng.integers(len(choices[place]))]
        return new

    drawn = draw_networks(bench, _RANDOM, (1 - _BELOW) * share, share, draw)
    calls = {f"{share} d {number}": (judge_inherited, bench.knobs, each.to_json()) for number, each in enumerate(drawn)}
    reached = facts.fill(processes, calls)
    order = np.argsort(reached)[::-1]
    took = shares(bench, [drawn[i] for i in order])
    fits = [(drawn[i], each) for i, each in zip(order, took) if each <= share * ABOVE]
    return [
        Contender("d", f"random {best}", best.to_json(), "parent", bench.knobs.epochs, each) for best, each in fits[:1]
    ]


def long_import(bench, facts, processes, share):
    """The best smaller parent, at two rates for all the time of the search."""

    def trained(offered):
        calls = {f"{each.name} plain 0": (train_contender, bench.knobs, vars(each), False, 0) for each in offered}
        return facts.fill(processes, calls)

    def at_rates(parent, epochs):
        return [
            dataclasses.replace(
                parent, rival="e", name=f"{parent.name}, {epochs} epochs, rate {rate}", epochs=epochs, rate=rate
            )
            for rate in _RATES
        ]

    smaller = smaller_parents(bench, facts, processes, share)
    best = max(zip(smaller, trained(smaller)), key=lambda row: row[1]["validation"])[0]
    seconds = np.mean([each["epoch_seconds"] for each in trained(at_rates(best, bench.knobs.epochs))])
    at_once = min(bench.knobs.num_workers, len(_RATES))
    epochs = round(60 * bench.knobs.search_minutes * at_once / len(_RATES) / seconds)
    return at_rates(best, max(bench.knobs.epochs, epochs))


RIVALS = {"a": smaller_parents, "b": other_imports, "c": netadapt, "d": random_networks, "e": long_import}
