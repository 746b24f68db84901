"""Whether a search by both tables pays, at equal measured latency, against what a user would do instead.

python -m benchmarks.search_pays --data_dir=cifar10_jpeg.zip --accuracy_table=acc.json --latency_table=lat.json \\
    --parent=tf_efficientnet_lite0.in1k.safetensors --out_dir=pays

For each target, a share of the parent's latency on this machine:
* found: the networks that both tables say are best, with their repaired blocks.
* a: the parent at a smaller image size, or narrower (its channels chosen as children's are) at the largest size.
* b: the other networks with published weights in --weights_dir, at the largest size that meets the target.
* c: NetAdapt's greedy way (arXiv 1804.03230) from the same parent: again and again, for each block the largest thing in
  its place that saves enough is fine-tuned briefly, and the most accurate one is kept.
* d: the best of 8 random networks that differ from the parent in at most three blocks, by the judge `inherited`.
* e: the best import with all the time that the search took, at two learning rates.

Every network is timed in turns with the parent and must be within 5 % below the target. All but `e` have equal tries: a
fine-tuning, and one with the fine-tuned parent as teacher; validation images choose, also within a, b and d. Test
images, which nothing chose by, say who is better: a paired bootstrap over images, each with the share of the training
seeds that were right, and Holm's correction over the rivals. What is done is kept, row by row.
"""

import contextlib
import dataclasses
import functools
import itertools
import pathlib
import sys
import tempfile
import time

import numpy as np

from mnas_tf import pretrained
from mnas_tf.family import FAMILY
from nas_tf import flags
from nas_tf.accuracy_tables.choosing import Chooser
from nas_tf.datasets import Source, scale_pixels
from nas_tf.export import to_keras, to_tflite
from nas_tf.family import space_from_file
from nas_tf.files import JsonLines, write_array
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks import inheritance
from nas_tf.networks.accuracy_table import AccuracyTable, Predictor
from nas_tf.networks.folder import read_keras
from nas_tf.plugins import Part
from nas_tf.quiet import fresh_keras
from nas_tf.recycling import Processes
from nas_tf.settings import Settings, knob
from nas_tf.shipping.race import answered_right
from nas_tf.shipping.turns import in_turns
from nas_tf.space import fingerprint
from nas_tf.training.children import ChildTraining, Trainer, child_scale
from nas_tf.training.network import train_network
from nas_tf.training.recipe import PLANS
from nas_tf.trial import EvaluationError

RIVALS = ("a", "b", "c", "d", "e")
_BELOW = 0.05  # of the target: how far below it a network may be
_WIDTHS, _LARGEST = (1.0, 0.75, 0.5), 1.25
_RANDOM, _MOST_CHANGES = 8, 3
_NETADAPT_STEP = 0.07  # of the parent's latency, that each step saves at least
_BOOTSTRAPS = 10_000
_PATIENCE = 30  # minutes in which timing is tried again


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "Folder or zip of images, with a folder for each class.", path=True)
    accuracy_table: str = knob("", "Accuracy table.", path=True)
    latency_table: str = knob("", "Latency table of the same space, made on this machine.", path=True)
    parent: str = knob("efficientnet_lite0", "The parent of the accuracy table.", path=True)
    weights_dir: str = knob("", "Folder with published weights of other networks, for rival b.", path=True)
    out_dir: str = knob("pays", "Keeps what is done.", path=True)
    targets: tuple[float, ...] = knob((0.8, 0.6), "Shares of the parent's latency.")
    num_samples: int = knob(0, "Training images of the networks compared; 0: those of the table.", least=0)
    epochs: int = knob(3, "Epochs of a fine-tuning.", least=1)
    seeds: int = knob(3, "Trainings of each network.", least=1)
    search_minutes: float = knob(45.0, "What the search took, which rival e has for its training.", above=0)
    rivals: tuple[str, ...] = knob(RIVALS, "Which rivals.", choices=RIVALS)


@dataclasses.dataclass(frozen=True)
class Contender:
    """One network to train: plain data.

    Attributes:
        rival: "found", or a letter.
        name: in words.
        architecture: JSON; of an import, its name, width and image size.
        start: whose weights it begins with: "table" (repaired blocks), "parent" (the fine-tuned parent, by
            inheritance), "import" (published ones), or a file of Keras.
        epochs: of its training.
    """

    rival: str
    name: str
    architecture: dict
    start: str
    epochs: int


class Bench:
    """What all steps need, made anew in each process."""

    def __init__(self, knobs):
        self.knobs, self.folder = knobs, pathlib.Path(knobs.out_dir)
        self.table = AccuracyTable.read(knobs.accuracy_table)
        self.space = space_from_file(self.table.space, self.table.path).space
        self.parent = FAMILY.parent(knobs.parent)
        images = self.table.images
        self.images = Source(
            Part("nas_tf.datasets", "image_folder"), knobs.data_dir, images["seed"], images["race_fraction"]
        )
        scale = type(FAMILY.space("mnasnet").module.Scale())
        self.scale = scale(**self.table.deploy_scale)
        self.predictor = Predictor(self.table, self.space)
        self.num_samples = knobs.num_samples or images["num_samples"]

    @functools.cached_property
    def trainer(self):
        child = child_scale(self.scale, self.scale)
        training = ChildTraining(**self.table.training)
        parts = self.images, child, self.table.images["num_samples"], self.table.images["seed"]
        trainer = Trainer(training, self.space, *parts, self.parent)
        trainer.open(self.table.folder / tables.library_name(1.0) / "parent")
        return trainer

    @functools.cached_property
    def estimator(self):
        part = Part("nas_tf.devices", "table", {"file": self.knobs.latency_table})
        return part.make(self.space, self.scale)

    def build(self, architecture):
        if isinstance(architecture, dict):  # an import's
            return self.build_import(architecture)[0]
        return self.space.build(architecture, self.space.scale_of(architecture, self.scale))

    def build_import(self, network, with_weights=False):
        """Returns an import and its scale; its weights are read only if they are asked for."""
        name, width = network["name"], network["width"]
        scale = pretrained.Scale(network["image_size"], self.scale.num_classes, width_multiplier=width, bn_momentum=0.9)
        path = pretrained.weights_file(name, width, self.knobs.weights_dir) if with_weights else None
        return pretrained.build(name, scale, path), scale

    @functools.lru_cache(maxsize=2)  # noqa: B019  one bench for each process
    def dataset(self, image_size):
        return self.images.make(image_size, self.num_samples)

    def narrow(self, width, size):
        narrow = self.space.slimmed(self.parent.architecture, width)
        return self.space.assembled(narrow, self.space.blocks(narrow), size)


_bench = functools.lru_cache(maxsize=1)(Bench)


def main():
    knobs = flags.read(Knobs)
    bench = Bench(knobs)
    bench.folder.mkdir(parents=True, exist_ok=True)
    facts = Facts(bench.folder / "facts.jsonl")
    with contextlib.closing(Processes(1)) as processes:
        base_ms = facts.get("parent_ms", lambda: measured(bench, [bench.parent.architecture])[0])
        print(f"the parent: {base_ms:.3f} ms", flush=True)
        for share in knobs.targets:
            of_target(bench, facts, processes, share)
    print(f"command: python -m benchmarks.search_pays {' '.join(sys.argv[1:])}")


class Facts(JsonLines):
    """What is known, by name."""

    def __init__(self, path):
        super().__init__(path, ("name",))

    def get(self, name, make=None):
        """Returns the value of a name, made by `make()` if it is not known."""
        found = super().get((name,))
        if found is None:
            self.add({"name": name, "value": make()})
        return super().get((name,))["value"]


def of_target(bench, facts, processes, share):
    """Trains found networks and rivals of one target, and prints their table."""
    own = bench.parent.architecture
    base_ms = bench.estimator.estimate([own])[0]
    target_ms = share * base_ms
    contenders = {"found": facts.get(f"{share} found", lambda: found_networks(bench, target_ms, share))}
    makers = {"a": smaller_parents, "b": other_imports, "c": netadapt, "d": random_networks, "e": long_import}
    for rival in bench.knobs.rivals:
        contenders[rival] = facts.get(
            f"{share} {rival}", lambda rival=rival: makers[rival](bench, facts, processes, target_ms, share)
        )
    chosen = {}
    for rival, offered in contenders.items():
        if not offered:
            continue
        rows = []
        for contender in offered:
            for teacher in (False, True) if rival != "e" else (False,):
                key = f"{share} {contender['name']} {'taught' if teacher else 'plain'} 0"
                value = facts.get(key, lambda c=contender, t=teacher: trained(bench, processes, c, t, 0))
                rows.append((value["validation"], contender, teacher))
        best = max(rows, key=lambda row: row[0])
        rights = []
        for seed in range(bench.knobs.seeds):
            _, contender, teacher = best
            key = f"{share} {contender['name']} {'taught' if teacher else 'plain'} {seed}"
            value = facts.get(key, lambda c=contender, t=teacher, s=seed: trained(bench, processes, c, t, s))
            rights.append(np.load(bench.folder / value["right"]))
        chosen[rival] = best[1], np.array(rights, float)
    report(bench, share, chosen)


def report(bench, share, chosen):
    """Prints the table of a target: test accuracies, leads, and what of them chance would give."""
    ours = chosen["found"][1].mean(0)
    p_values = {rival: bootstrap(ours, rights.mean(0)) for rival, (_, rights) in chosen.items() if rival != "found"}
    ranked, corrected, most = sorted(p_values, key=p_values.get), {}, 0.0
    for number, rival in enumerate(ranked):
        most = max(most, min(1.0, (len(ranked) - number) * p_values[rival]))
        corrected[rival] = most
    print(f"\ntarget {share:.0%} of the parent's latency")
    for rival, (contender, rights) in chosen.items():
        mean = rights.mean(0)
        error, spread = mean.std() / np.sqrt(len(mean)), rights.mean(1)
        lead = (
            f"  found leads by {100 * (ours.mean() - mean.mean()):+.1f}, p = {corrected[rival]:.4f}"
            if (rival != "found")
            else ""
        )
        print(
            f"{rival:>6}  {100 * mean.mean():.1f} ± {100 * error:.1f} %  seeds {np.round(100 * spread, 1)}  "
            f"{contender['latency_share']:.3f} of the parent  {contender['name']}{lead}",
            flush=True,
        )


def bootstrap(ours, theirs):
    """Returns how often a lead would be no lead on other images: one-sided, paired."""
    rng, differences = np.random.default_rng(0), ours - theirs
    values, counts = np.unique(differences, return_counts=True)
    drawn = rng.multinomial(len(differences), counts / len(differences), _BOOTSTRAPS) @ values
    return float((1 + (drawn <= 0).sum()) / (1 + _BOOTSTRAPS))


def measured(bench, architectures):
    """Returns what networks take, in ms, timed in turns."""
    device = Part("nas_tf.devices", "host").make(bench.space, bench.scale)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(device):
        device.check()
        paths = {}
        for number, architecture in enumerate(architectures):
            fresh_keras(0)
            paths[str(number)] = str(pathlib.Path(folder) / f"{number}.tflite")
            to_tflite(bench.build(architecture), paths[str(number)])
        for patience in range(_PATIENCE, -1, -1):
            try:
                found = in_turns(device, paths)
                break
            except EvaluationError as error:  # other programs run beside it
                if not patience:
                    raise
                print(f"{error}; again in a minute", flush=True)
                time.sleep(60)
    return [found[str(number)].latency_ms for number in range(len(architectures))]


def shares(bench, architectures):
    """Returns what networks take, in shares of what the parent takes beside them."""
    own, *rest = measured(bench, [bench.parent.architecture, *architectures])
    return [each / own for each in rest]


def contender(rival, name, architecture, start, share, epochs):
    return {
        **dataclasses.asdict(Contender(rival, name, architecture.to_json(), start, epochs)),
        "latency_share": share,
    }


def found_networks(bench, target_ms, share):
    """The three best networks of both tables that meet the target when they are timed."""
    chooser, found = Chooser(bench.predictor, bench.estimator), []
    for factor in (1.0, 0.98, 0.96, 0.94):
        best = [each.architecture for each in chooser.best(factor * target_ms, 3)]
        for each, took in zip(best, shares(bench, best)):
            if took <= share * 1.005 and each not in [one for one, _ in found]:
                found.append((each, took))
        if len(found) >= 3:
            break
    return [contender("found", f"found {each}", each, "table", took, bench.knobs.epochs) for each, took in found[:3]]


def smaller_parents(bench, facts, processes, target_ms, share):
    """For each width the parent at the largest size that meets the target."""
    found = []
    for width in _WIDTHS:
        largest = int(_LARGEST * bench.scale.image_size) // 4 * 4  # a narrow network may see larger images
        sizes = list(range(largest, bench.scale.image_size // 2 - 1, -4))
        took = facts.get(
            f"sizes {width}", lambda w=width, s=sizes: shares(bench, [bench.narrow(w, size) for size in s])
        )
        fits = [(size, each) for size, each in zip(sizes, took) if each <= share * 1.005]
        if fits:
            size, each = fits[0]
            start = "import" if width == 1 else "parent"
            name = f"parent x {width:g} at {size} px"
            found.append(contender("a", name, bench.narrow(width, size), start, each, bench.knobs.epochs))
    return found


def other_imports(bench, facts, processes, target_ms, share):
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
            fits = [(each, one) for each, one in zip(offered, took) if one <= share * 1.005]
            if fits:
                network, one = fits[0]
                words = f"{name} x {width:g} at {network['image_size']} px"
                row = dataclasses.asdict(Contender("b", words, network, "import", bench.knobs.epochs))
                found.append({**row, "latency_share": one})
    if not found:
        print("b: no other network's weights are at hand", flush=True)
    return found


def random_networks(bench, facts, processes, target_ms, share):
    """The best of eight, by the judge `inherited`."""
    rng, own = np.random.default_rng(0), bench.parent.architecture
    choices, drawn = bench.space.block_choices(own), []
    while len(drawn) < _RANDOM:
        places = rng.choice(len(choices), rng.integers(1, _MOST_CHANGES + 1), replace=False)
        new = list(own.blocks)
        for place in places:
            new[place] = choices[place][rng.integers(len(choices[place]))]
        sizes = (None, *bench.space.image_sizes)
        each = bench.space.assembled(own, new, sizes[rng.integers(len(sizes))])
        ms = bench.estimator.estimate([each])[0]
        if each not in drawn and (1 - _BELOW) * target_ms <= ms <= target_ms:
            drawn.append(each)
    reached = []
    for number, each in enumerate(drawn):
        value = facts.get(
            f"{share} d {number}",
            lambda e=each: processes.call(judge_inherited, bench.knobs, e.to_json()),
        )
        reached.append(value)
    order = np.argsort(reached)[::-1]
    took = shares(bench, [drawn[i] for i in order[:3]])
    best = next(((drawn[i], each) for i, each in zip(order, took) if each <= share * 1.02), (drawn[order[0]], took[0]))
    return [contender("d", f"random {best[0]}", best[0], "parent", best[1], bench.knobs.epochs)]


def netadapt(bench, facts, processes, target_ms, share):
    """NetAdapt: the same path serves all targets."""
    own = bench.parent.architecture
    current, file, base_ms = own, "", bench.estimator.estimate([own])[0]
    for step in itertools.count():
        if bench.estimator.estimate([current])[0] <= target_ms:
            break
        value = facts.get(
            f"netadapt {step}",
            lambda c=current, f=file, s=step: netadapt_step(bench, facts, processes, c, f, s, base_ms),
        )
        current, file = bench.space.architecture(value["architecture"]), value["file"]
    took = shares(bench, [current])[0]
    return [contender("c", f"netadapt {current}", current, file, took, bench.knobs.epochs)]


def netadapt_step(bench, facts, processes, current, file, step, base_ms):
    """One step: of the proposals of all blocks the most accurate one after a short fine-tuning."""
    now_ms, found = bench.estimator.estimate([current])[0], []
    for number, choices in enumerate(bench.space.block_choices(bench.parent.architecture)):
        offered = []
        for block in choices:
            each = bench.space.assembled(current, [*current.blocks[:number], block, *current.blocks[number + 1 :]])
            offered.append((bench.estimator.estimate([each])[0], each))
        fits = [row for row in offered if row[0] <= now_ms - _NETADAPT_STEP * base_ms]
        if fits:
            each = max(fits, key=lambda row: row[0])[1]
            name = f"netadapt_{step}_{number}.keras"
            reached = facts.get(
                f"netadapt {step} block {number}",
                lambda e=each, n=name: processes.call(judge_from, bench.knobs, e.to_json(), current.to_json(), file, n),
            )
            found.append((reached, each, name))
    if not found:
        raise SystemExit(f"no block can save {_NETADAPT_STEP:.0%} of the parent's latency any more")
    _, each, name = max(found, key=lambda row: row[0])
    return {"architecture": each.to_json(), "file": name}


def long_import(bench, facts, processes, target_ms, share):
    """The parent at the largest image size that meets the target, at two rates for all the time of the search."""
    best = next(
        each for each in smaller_parents(bench, facts, processes, target_ms, share) if each["start"] == "import"
    )
    key = f"{share} {best['name']} plain 0"
    seconds = facts.get(key, lambda: trained(bench, processes, best, False, 0))["epoch_seconds"]
    epochs = max(bench.knobs.epochs, round(60 * bench.knobs.search_minutes / 2 / seconds))
    return [
        {**best, "rival": "e", "name": f"{best['name']}, {epochs} epochs, rate {rate}", "epochs": epochs, "rate": rate}
        for rate in (3e-4, 1e-3)
    ]


def judge_inherited(knobs, architecture):
    """Returns the validation accuracy of a child after the short fine-tuning of the judge `inherited`."""
    bench = _bench(knobs)
    architecture = bench.space.architecture(architecture)
    size = bench.space.scale_of(architecture, bench.scale).image_size
    inheritable = bench.trainer.inheritable(size)
    fresh_keras(0)
    model = bench.space.build(architecture, bench.trainer.scale)
    inheritance.inherit(model, inheritable, bench.trainer.counterparts(architecture))
    return bench.trainer.train(model, size, 0).accuracy


def judge_from(knobs, architecture, current, file, name):
    """Returns the same of a child of a network that is itself a child, and keeps its weights in a file."""
    bench = _bench(knobs)
    architecture, current = (bench.space.architecture(each) for each in (architecture, current))
    model = read_keras(bench.folder / file) if file else bench.trainer.read_parent()
    source = inheritance.Parent(model, scale_pixels(bench.trainer.images().examples))
    child = bench.space.build(architecture, bench.trainer.scale)
    inheritance.inherit(child, source, bench.space.counterparts(architecture, current))
    found = bench.trainer.train(child, bench.scale.image_size, 0).accuracy
    to_keras(child, bench.folder / name)
    return found


def trained(bench, processes, contender, is_taught, seed):
    return processes.call(train_contender, bench.knobs, contender, is_taught, seed)


def train_contender(knobs, contender, is_taught, seed):
    """Fine-tunes a network; returns its validation accuracy, and the file that says which test images were right."""
    bench, network = _bench(knobs), contender["architecture"]
    is_other = "blocks" not in network
    architecture = None if is_other else bench.space.architecture(network)
    scale = bench.build_import(network)[1] if is_other else bench.space.scale_of(architecture, bench.scale)
    dataset = bench.dataset(scale.image_size)
    begin = time.perf_counter()
    recipe = dataclasses.replace(PLANS["finetune"].recipe, epochs=contender["epochs"])
    if "rate" in contender:
        recipe = dataclasses.replace(recipe, learning_rate=contender["rate"], other_learning_rate=0.0)

    def start(model):
        if is_other:
            return "published weights"
        if contender["start"] == "table":
            return tables.begin(bench.table, bench.space, architecture, model)
        if contender["start"] == "import":
            return bench.parent.load(model)
        if contender["start"] == "parent":
            source = bench.trainer.inheritable(scale.image_size)
            return str(
                inheritance.inherit(model, source, bench.space.counterparts(architecture, bench.parent.architecture))
            )
        model.set_weights(read_keras(bench.folder / contender["start"]).get_weights())
        return contender["start"]

    if contender["start"] == "parent":
        bench.trainer.inheritable(scale.image_size)  # before the session is cleared
    teacher = bench.trainer.read_parent(scale.image_size) if is_taught else None
    model, training = train_network(
        lambda scale: (
            bench.build_import(network, with_weights=True)[0] if is_other else bench.space.build(architecture, scale)
        ),
        scale,
        dataset,
        recipe,
        seed,
        start=start,
        teacher=teacher,
    )
    seconds = time.perf_counter() - begin
    right = answered_right(model, dataset.test())
    name = f"right_{fingerprint([contender, is_taught, seed])}.npy"
    write_array(bench.folder / name, right)
    return {
        "validation": training.accuracy.validation,
        "test": float(right.mean()),
        "right": name,
        "seconds": seconds,
        "epoch_seconds": seconds / contender["epochs"],
    }


if __name__ == "__main__":
    from benchmarks import search_pays  # whose functions other processes find by this name

    flags.define(search_pays.Knobs)
    flags.run(search_pays.main, __doc__)
