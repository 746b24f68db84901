"""What rungs save, and what they cost: the quality of the five best networks against seconds of training.

python -m benchmarks.rungs --out_dir=rungs_digits
python -m benchmarks.rungs --data_dir=cifar10_jpeg.zip --parent=tf_efficientnet_lite0.in1k.safetensors --out_dir=rungs

Random networks of MnasNet's space are judged at every rung. Their truth is another training, of another seed, at the
highest one. Then searches are replayed: the networks arrive in random orders, and a share of each rung goes on. Of each
search the five that are best at the highest rung that they reached are looked at: their mean truth, and the seconds in
all, as a share of those of a search without rungs that judges as well: with a parent, where a child begins anew at each
rung, of the highest one alone; without, where it goes on from the one below, of all rungs. Intervals are over networks,
drawn anew. What is done is kept, row by row.
"""

import contextlib
import dataclasses
import functools
import pathlib
import sys
import time

import numpy as np

from benchmarks.contest import Facts
from mnas_tf.family import FAMILY
from mnas_tf.search import Settings as SearchSettings
from nas_tf import flags, resume
from nas_tf.ranks import rank_correlation
from nas_tf.recycling import Processes
from nas_tf.rewards import AccuracyReward
from nas_tf.search.request import make_request
from nas_tf.search.rungs import Rungs
from nas_tf.settings import Settings, knob
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import Cost, InfeasibleArchitecture, Measurement, UserError

_TOP = 5
_ORDERS = 500
_SHARES = (1 / 2, 1 / 3, 1 / 4)


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "Folder or zip of images; empty: digits.", path=True)
    parent: str = knob("", "Parent whose weights children inherit; empty: none, the judge is proxy.", path=True)
    out_dir: str = knob("rungs", "Keeps what is done.", path=True)
    num_networks: int = knob(40, "Networks.", least=10)
    image_size: int = knob(16, "Of the children's images, in pixels.", least=8)
    num_samples: int = knob(0, "Training images; 0: all.", least=0)
    proxy_epochs: int = knob(1, "Epochs of the lowest rung of the judge proxy.", least=1)
    merged_rungs: int = knob(
        1, "The lowest rungs, so many, are replayed as one: nobody is judged before the last.", least=1
    )
    width: float = knob(0.35, "Width multiplier of children of the judge proxy.", above=0)


def main():
    knobs = flags.read(Knobs)
    folder = pathlib.Path(knobs.out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    resume.begin(folder / "made.json", dataclasses.asdict(knobs), ("out_dir", "num_networks", "merged_rungs"))
    facts, drawn, found = Facts(folder / "facts.jsonl"), networks(knobs), []
    with contextlib.closing(Processes(1)) as processes:
        for number, tokens in enumerate(drawn):
            value = facts.get(f"network {number}", lambda t=tokens: processes.call(judged, knobs, t))
            print(f"{number + 1} of {len(drawn)}: {value}", flush=True)
            if value is not None:
                found.append((value["rungs"], value["seconds"], value["truth"]))
    reached, seconds, truth = map(np.array, zip(*found))
    works, merged = np.array(judge_of(knobs).rung_works), knobs.merged_rungs
    if merged >= len(works):
        raise UserError(
            f"Expected --merged_rungs below {len(works)}, as the judge has so many rungs. Received: {merged}"
        )
    seconds, works = (
        np.concatenate([each[..., :merged].sum(-1, keepdims=True), each[..., merged:]], -1) for each in (seconds, works)
    )
    whole_seconds = seconds[:, -1] if knobs.parent else seconds.sum(1)
    report(reached[:, merged - 1 :], seconds, whole_seconds, truth, tuple(works))
    print(f"command: python -m benchmarks.rungs {' '.join(sys.argv[1:])}")


def networks(knobs):
    """Returns tokens of random networks; around a parent, ones that inherit much have some of its answers."""
    rng, space = np.random.default_rng(0), request_of(knobs).setup.task.space.space
    parent, found = request_of(knobs).setup.parent(), {}
    own = space.encode(parent.architecture) if parent else None
    while len(found) < knobs.num_networks:
        tokens = [int(rng.integers(choices)) for choices in space.num_choices]
        if own:
            tokens = [mine if rng.random() < 0.5 else token for mine, token in zip(own, tokens)]
        found.setdefault(space.decode(tokens).fingerprint, tuple(tokens))
    return list(found.values())


@functools.cache
def request_of(knobs):
    settings = SearchSettings(
        run_dir=str(pathlib.Path(knobs.out_dir) / "run"),
        data_dir=knobs.data_dir,
        parent=knobs.parent or None,
        proxy_image_size=knobs.image_size,
        deploy_image_size=knobs.image_size,
        proxy_samples=knobs.num_samples,
        proxy_width_multiplier=knobs.width,
        device="none",
    )
    return make_request(FAMILY, settings, proxy=ProxyRecipe(proxy_epochs=knobs.proxy_epochs))


@functools.cache
def judge_of(knobs):
    judge, folder = request_of(knobs).setup.make_judge(), pathlib.Path(knobs.out_dir) / "run" / "judge"
    judge.check()
    judge.prepare(folder)
    return judge


def judged(knobs, tokens):
    """Returns the accuracies and the seconds of each rung, and the truth; None if the network diverges."""
    judge, reached, seconds = judge_of(knobs), [], []
    try:
        for rung in range(len(judge.rung_works)):
            begin = time.perf_counter()
            reached.append(judge.accuracy(tokens, rung=rung).accuracy)
            seconds.append(time.perf_counter() - begin)
        for rung in range(len(judge.rung_works)):
            truth = judge.accuracy(tokens, repeat=1, rung=rung).accuracy
    except InfeasibleArchitecture:
        return None
    return {"rungs": reached, "seconds": seconds, "truth": truth}


def report(reached, seconds, whole_seconds, truth, works):
    """Prints what each share leads to.

    Args:
        reached: float [networks, rungs], accuracies.
        seconds: float [networks, rungs], what they took.
        whole_seconds: float [networks], what judging as well takes without rungs.
        truth: float [networks].
        works: of the rungs.
    """
    rng = np.random.default_rng(0)
    for rung in range(1, len(works)):
        correlation = rank_correlation(reached[:, rung], reached[:, rung - 1])
        print(f"rung {rung + 1}: rank correlation with the rung below {correlation:.2f}")
    print(f"rank correlation of the highest rung with another training: {rank_correlation(reached[:, -1], truth):.2f}")
    print(f"\n{len(truth)} networks; truth in percent of the top {_TOP}, and seconds, of {_ORDERS} searches")
    print(f"{'':22}{'top 5':>8}{'below all at the top rung':>34}{'reach it':>12}{'seconds, of no rungs':>26}")
    rows = {share: [] for share in (None, *_SHARES)}
    for _ in range(_ORDERS):
        order = rng.choice(len(truth), len(truth), replace=True)  # networks drawn anew, in a random order
        for share, row in rows.items():
            drawn = (each[order] for each in (reached, seconds, whole_seconds, truth))
            row.append(replayed(*drawn, works, share))
    whole = np.array(rows[None])
    for share, row in rows.items():
        top, took, at_top = np.array(row).T
        below, of_whole = 100 * (whole[:, 0] - top), took / whole[:, 1]
        name = "all at the top rung" if share is None else f"{share:.2f} go on"
        low, high = np.percentile(below, [2.5, 97.5])
        lead = f"{below.mean():.2f} ({low:5.2f} to {high:5.2f})"
        print(f"{name:22}{100 * top.mean():8.2f}{lead:>34}{at_top.mean():12.2f}{of_whole.mean():26.2f}")


def replayed(reached, seconds, whole_seconds, truth, works, share):
    """Returns the mean truth of the top five of a search, its seconds, and the share that reached the highest rung."""
    if share is None:
        best = np.argsort(-reached[:, -1], kind="stable")[:_TOP]
        return truth[best].mean(), whole_seconds.sum(), 1.0
    rungs, highest, took = Rungs(works, share, AccuracyReward()), [], 0.0
    for row, each in zip(reached, seconds):
        rung = 0
        while rungs.add(rung, Measurement(row[rung], Cost(1, 1, 1), 1.0)):
            rung += 1
        highest.append((rung, row[rung]))
        took += each[: rung + 1].sum()
    best = sorted(range(len(truth)), key=lambda i: highest[i], reverse=True)[:_TOP]
    return truth[best].mean(), took, np.mean([rung == len(works) - 1 for rung, _ in highest])


if __name__ == "__main__":
    from benchmarks import rungs  # whose functions other processes find by this name

    flags.define(rungs.Knobs)
    flags.run(rungs.main, __doc__)
