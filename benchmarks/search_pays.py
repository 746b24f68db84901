"""Whether a search by both tables pays, at equal measured latency, against what a user would do instead.

python -m benchmarks.search_pays --data_dir=cifar10_jpeg.zip --accuracy_tables=acc.json --latency_table=lat.json \\
    --parent=tf_efficientnet_lite0.in1k.safetensors --out_dir=pays

For each target, a share of the parent's latency on this machine:
* found: the networks that both tables say are best, with their repaired blocks; of each accuracy table, if several
  searches are named: they differ in their seed, so in the images that they saw.
* a: the parent at a smaller image size, or narrower (its channels chosen as children's are) at the largest size.
* b: the other networks with published weights in --weights_dir, at the largest size that meets the target.
* c: NetAdapt's greedy way (arXiv 1804.03230) from the same parent: again and again, for each block the largest thing in
  its place that saves enough is fine-tuned briefly, and the most accurate one is kept.
* d: the best of 8 random networks that differ from the parent in at most three blocks, by the judge `inherited`.
* e: the best of a with all the time that the search took, at two learning rates.

Every network is timed in turns with the parent, and those that are chosen for a target once more, all together. All but
`e` have equal tries: a fine-tuning, and one with the fine-tuned parent as teacher; validation images choose, also among
the three networks that are found, among those of a and b, and the random ones of d. NetAdapt's has been through a
short fine-tuning in each step before. The parent itself, at its own latency, stands beside them. Test images, which
nothing chose by (and race images where those are few), say who is better: a bootstrap over images, paired, and over the
trainings of each side, or over its searches if there are several (the noise of a single one is not known), and Holm's
correction over the rivals. What is done is kept, row by row.
"""

import contextlib
import dataclasses
import sys

import numpy as np

from benchmarks.contest import SLOW_SECONDS, Bench, Contender, shares, train_contender
from benchmarks.rivals import ABOVE, RIVALS, parents
from nas_tf import flags
from nas_tf.accuracy_tables.choosing import Chooser
from nas_tf.recycling import Processes
from nas_tf.reports import _picture
from nas_tf.settings import Settings, knob
from nas_tf.space import fingerprint
from nas_tf.trial import UserError

_BOOTSTRAPS = 5000
_CHOSEN = 3
_WORDS = {
    "found": "found by both tables",
    "parent": "the parent",
    "a": "a: a smaller parent",
    "b": "b: another import",
    "c": "c: NetAdapt",
    "d": "d: the best of 8 random networks",
    "e": "e: a smaller parent, trained long",
}
_FACTORS = (1.09, 1.06, 1.03, 1.0, 0.97, 0.94)  # of the target, for the latency table's errors


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "Folder or zip of images, with a folder for each class.", path=True)
    accuracy_tables: tuple[str, ...] = knob((), "Accuracy tables, one a search; rivals use the first one's parent.")
    latency_table: str = knob("", "Latency table of the same space, made on this machine.", path=True)
    parent: str = knob("efficientnet_lite0", "The parent of the accuracy tables.", path=True)
    weights_dir: str = knob("", "Folder with published weights of other networks, for rival b.", path=True)
    out_dir: str = knob("pays", "Keeps what is done.", path=True)
    targets: tuple[float, ...] = knob((0.8, 0.6), "Shares of the parent's latency.")
    num_samples: int = knob(0, "Training images of the networks compared; 0: those of the table.", least=0)
    epochs: int = knob(3, "Epochs of a fine-tuning.", least=1)
    seeds: int = knob(3, "Trainings of each network.", least=1)
    long_seeds: int = knob(1, "Trainings of rival e, each of which takes half of --search_minutes or more.", least=1)
    search_minutes: float = knob(45.0, "What the search took, which rival e has for its training.", above=0)
    num_workers: int = knob(1, "Trainings at once; TF_NUM_INTRAOP_THREADS says of how many threads.", least=1)
    rivals: tuple[str, ...] = knob(tuple(RIVALS), "Which rivals.", choices=tuple(RIVALS))
    picture: str = knob("", "Where a picture is written; empty: none.", path=True)


def main():
    knobs = flags.read(Knobs)
    bench = Bench(knobs)
    facts = bench.facts(weights_dir=knobs.weights_dir, search_minutes=knobs.search_minutes)
    if not bench.has_one_split and "test (" in (bench.table.images["splits"] or ""):
        raise UserError("Expected accuracy tables of one seed, or a folder of test images: the seed decides the split")
    chosen = {}
    with contextlib.closing(Processes(knobs.num_workers, SLOW_SECONDS)) as processes:
        parent = contest(bench, facts, processes, parents(bench, "parent", 1.0, bench.scale.image_size, 1.0))
        for share in knobs.targets:
            benches = [Bench(knobs, number) for number in range(len(knobs.accuracy_tables))]
            offered = [found_networks(each, facts, share) for each in benches]
            if not all(offered):
                print(f"target {share:.0%}: none of the tables' best meets it when it is timed", flush=True)
                continue
            chosen[share] = {"parent": [parent]}
            chosen[share]["found"] = [contest(bench, facts, processes, each) for each in offered]
            for rival in knobs.rivals:
                offered = known(facts, f"{share} {rival}", RIVALS[rival], bench, facts, processes, share)
                if offered:
                    chosen[share][rival] = [contest(bench, facts, processes, offered)]
            chosen[share] = timed_together(bench, facts, share, chosen[share])
            report(share, chosen[share])
    if knobs.picture:
        draw(knobs.picture, chosen)
    print(f"command: python -m benchmarks.search_pays {' '.join(sys.argv[1:])}")


def known(facts, name, make, *args):
    """Returns contenders by name, made by `make(*args)` if they are not known."""
    return [Contender(**each) for each in facts.get(name, lambda: [vars(each) for each in make(*args)])]


def contest(bench, facts, processes, offered):
    """Returns the contender with the best validation accuracy, and which answers were right.

    These are float [trainings, test images]: 1 where a training was right.
    """

    def trained(tries):
        calls = {}
        for contender, is_taught, seed in tries:
            call = train_contender, bench.knobs, vars(contender), is_taught, seed
            calls[f"{contender.name} {'taught' if is_taught else 'plain'} {seed}"] = call
        return facts.fill(processes, calls)

    tries = [(each, is_taught, 0) for each in offered for is_taught in (False, True) if not (is_taught and each.rate)]
    contender, is_taught, _ = max(zip(tries, trained(tries)), key=lambda row: row[1]["validation"])[0]
    seeds = bench.knobs.long_seeds if contender.rate else bench.knobs.seeds
    found = trained([(contender, is_taught, seed) for seed in range(seeds)])
    return contender, np.array([np.load(bench.folder / each["right"]) for each in found], float)


def found_networks(bench, facts, share):
    """The three best networks of both tables that meet the target when they are timed, also where the table says that
    they are a little above it: timing decides."""

    def make():
        chooser, found = Chooser(bench.predictor, bench.estimator), {}
        base_ms = bench.estimator.estimate([bench.parent.architecture])[0]
        for factor in _FACTORS:
            best = [each.architecture for each in chooser.best(factor * share * base_ms, _CHOSEN)]
            for each, took in zip(best, shares(bench, best)):
                if took <= share * ABOVE:
                    found.setdefault(each, took)
            if len(found) >= _CHOSEN:
                break
        which = f" by table {bench.table.digest[:6]}"
        return [
            Contender(
                "found", f"found{which} {each}", each.to_json(), "table", bench.knobs.epochs, took, search=bench.search
            )
            for each, took in list(found.items())[:_CHOSEN]
        ]

    found = known(facts, f"{share} found {bench.table.digest}", make)
    return [dataclasses.replace(each, search=bench.search) for each in found]  # tables may be named in another order


def timed_together(bench, facts, share, chosen):
    """Returns what is chosen for a target, timed in turns with one another: over hours, shares differ by percents."""
    contenders = [each for rows in chosen.values() for each, _ in rows]
    architectures = [each.architecture for each in contenders]
    decoded = [bench.space.architecture(each) if "blocks" in each else each for each in architectures]
    took = iter(facts.get(f"{share} together {fingerprint(architectures)}", lambda: shares(bench, decoded)))
    return {
        rival: [(dataclasses.replace(each, latency_share=next(took)), rights) for each, rights in rows]
        for rival, rows in chosen.items()
    }


def report(share, chosen):
    """Prints the table of a target: test accuracies, leads, and how likely chance would give them."""
    ours = answers(chosen["found"])
    p_values = {rival: bootstrap(chosen["found"], rows) for rival, rows in chosen.items() if rival != "found"}
    rivals = sorted((each for each in p_values if each != "parent"), key=p_values.get)
    most = 0.0
    for number, rival in enumerate(rivals):
        most = max(most, min(1.0, (len(rivals) - number) * p_values[rival]))
        p_values[rival] = most
    print(f"\ntarget {share:.0%} of the parent's latency; p is one-sided, corrected over {', '.join(rivals) or 'none'}")
    for rival, rows in chosen.items():
        mean, error = answers(rows), error_of(rows)
        lead = ""
        if rival != "found":
            lead = f"  found leads by {100 * (ours.mean() - mean.mean()):+.1f}, p = {p_values[rival]:.4f}"
        for contender, rights in rows:
            seeds = ", ".join(f"{100 * each:.1f}" for each in rights.mean(1))
            print(f"{rival:>6}  {contender.latency_share:.3f} of the parent  seeds {seeds}  {contender.name}")
        print(f"{rival:>6}  {100 * mean.mean():.1f} ± {100 * error:.1f} %{lead}", flush=True)


def error_of(rows):
    """Returns the standard error of the mean accuracy over images and, where there are several, over `repeats`."""
    mean, found = answers(rows), repeats(rows).mean(1)
    of_repeats = found.var(ddof=1) / len(found) if len(found) > 1 else 0.0
    return np.sqrt(mean.var() / len(mean) + of_repeats)


def repeats(rows):
    """Returns float [repeats, test images] of what was done several times: searches, or the trainings of one."""
    return rows[0][1] if len(rows) == 1 else np.stack([rights.mean(0) for _, rights in rows])


def answers(rows):
    """Returns float [test images]: the share of all trainings that were right."""
    return np.concatenate([rights for _, rights in rows]).mean(0)


def bootstrap(ours, theirs):
    """Returns how often a lead would be no lead with other `repeats` and on other images: one-sided, paired.

    Few that are drawn from few differ less than those would that are made anew: what they differ by is scaled for that.
    """
    rng, sides, no_lead = np.random.default_rng(0), [repeats(rows) for rows in (ours, theirs)], 0
    for _ in range(_BOOTSTRAPS):
        one, other = (_drawn(side, rng) for side in sides)
        values, counts = np.unique(one - other, return_counts=True)
        no_lead += rng.multinomial(len(one), counts / len(one)) @ values <= 0
    return float((1 + no_lead) / (1 + _BOOTSTRAPS))


def _drawn(side, rng):
    """Returns float [test images]: the mean of as many repeats, drawn with replacement."""
    count, mean = len(side), side.mean(0)
    scale = np.sqrt(count / (count - 1)) if count > 1 else 0.0
    return mean + scale * (side[rng.integers(count, size=count)].mean(0) - mean)


def draw(path, chosen):
    """Draws test accuracy against measured latency, with standard errors."""
    figure = _picture.new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    for number, rival in enumerate(("found", "parent", *RIVALS)):
        of_rival = [(share, each[rival]) for share, each in chosen.items() if rival in each]
        points = [(np.mean([each.latency_share for each, _ in rows]), answers(rows)) for _, rows in of_rival if rows][
            : 1 if rival == "parent" else None
        ]
        if points:
            x, means = zip(*points)
            y = [100 * each.mean() for each in means]
            errors = [100 * error_of(rows) for _, rows in of_rival if rows][: len(y)]
            style = {"color": f"C{number}", "capsize": 3, "lw": 1.4 if rival == "found" else 0.8}
            axes.errorbar(x, y, errors, marker="o" if rival == "found" else "s", ms=5, label=_WORDS[rival], **style)
    axes.set(xlabel="measured latency, in shares of the parent's", ylabel="test accuracy, %")
    axes.legend(fontsize=8)
    _picture.write(path, figure)


if __name__ == "__main__":
    from benchmarks import search_pays  # whose Knobs other processes find by this name

    flags.define(search_pays.Knobs)
    flags.run(search_pays.main, __doc__)
