"""Networks of one space and one parent, trained and timed alike: what `search_pays` and `judges` both need."""

import contextlib
import dataclasses
import functools
import pathlib
import statistics
import tempfile
import time

import numpy as np

from mnas_tf import pretrained
from mnas_tf.family import FAMILY
from nas_tf import resume
from nas_tf.datasets import Source
from nas_tf.export import to_tflite
from nas_tf.family import space_from_file
from nas_tf.files import JsonLines, digest, write_array
from nas_tf.judges.blocks import images_facts
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks import inheritance
from nas_tf.networks.accuracy_table import AccuracyTable, Predictor
from nas_tf.networks.folder import read_keras
from nas_tf.plugins import Part
from nas_tf.quiet import fresh_keras
from nas_tf.shipping.race import answered_right
from nas_tf.shipping.turns import in_turns
from nas_tf.space import fingerprint
from nas_tf.training.children import ChildTraining, Trainer, child_scale
from nas_tf.training.network import train_network
from nas_tf.training.recipe import PLANS
from nas_tf.training.train import Log
from nas_tf.trial import EvaluationError, UserError

_PATIENCE = 30  # minutes in which timing is tried again
_MOST_DRAWN = 100_000  # random networks, until enough are within two latencies
SLOW_SECONDS = 12 * 3600.0  # after which a training has hung
_ENOUGH = 2000  # test images; where there are fewer, race images, which nothing chose by either, are tested on too


@dataclasses.dataclass(frozen=True)
class Contender:
    """One network to train: plain data.

    Attributes:
        rival: "found", "parent" or a letter.
        name: in words; two contenders of one name are trained alike.
        architecture: JSON; of another import, its name, width and image size.
        start: whose weights it begins with: "table" (repaired blocks), "parent" (the fine-tuned parent, by
            inheritance), "import" (published ones), or a `.keras` file of the bench's folder.
        epochs: of its training.
        latency_share: its measured latency, in shares of the parent's.
        rate: peak of the learning rate, of a long training; 0: the recipe tries two.
        search: which of the accuracy tables it belongs to.
    """

    rival: str
    name: str
    architecture: dict
    start: str
    epochs: int
    latency_share: float
    rate: float = 0.0
    search: int = 0


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

    def fill(self, processes, calls):
        """Returns the values of names; what is not known is made in `processes`, as many at once as these are.

        Args:
            processes: `nas_tf.recycling.Processes`.
            calls: dict from name to `(function, *arguments)`.
        """
        missing = {name: call for name, call in calls.items() if (name,) not in self}
        for number, (name, value, failure) in enumerate(processes.run(missing), 1):
            if failure is not None:
                raise failure
            self.add({"name": name, "value": value})
            print(f"{time.strftime('%H:%M')} {number} of {len(missing)}: {name}", flush=True)
        return [self.get(name) for name in calls]


class Bench:
    """What all steps need, made anew in each process.

    Args:
        knobs: a benchmark's settings: data_dir, accuracy_tables, latency_table, parent, weights_dir, out_dir and
            num_samples.
        search: which of the accuracy tables.
    """

    def __init__(self, knobs, search=0):
        self.knobs, self.search, self.folder = knobs, search, pathlib.Path(knobs.out_dir)
        self.table = AccuracyTable.read(knobs.accuracy_tables[search])
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
        found = images_facts(self.images.make(self.scale.image_size), self.images, images["num_samples"])
        for name in ("digest", "splits", "class_names", "fit", "augmentation"):
            if found[name] != images.get(name):
                raise UserError(f"{self.table.path} was made of other images than --data_dir={knobs.data_dir}: {name}")
        if self.parent.digest != self.table.parent["parent_digest"]:
            raise UserError(f"{self.table.path} was made of another parent than --parent={knobs.parent}")

    @property
    def has_one_split(self):
        """bool: whether the race images of all tables are the same."""
        return len({AccuracyTable.read(each).images["seed"] for each in self.knobs.accuracy_tables}) == 1

    def facts(self, **asked):
        """Returns the `Facts` of the bench's folder, which are of two tables and of these settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tables_of = {"accuracy_table": self.table.digest, "latency_table": digest(self.knobs.latency_table)}
        made = {**tables_of, "num_samples": self.num_samples, "epochs": self.knobs.epochs}
        resume.begin(self.folder / "made.json", made | asked)
        return Facts(self.folder / "facts.jsonl")

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
        device = Part("nas_tf.devices", "table", {"file": self.knobs.latency_table}).make(self.space, self.scale)
        device.check()
        return device

    def image_size(self, architecture):
        return self.space.scale_of(architecture, self.scale).image_size

    def build(self, architecture):
        if isinstance(architecture, dict):  # another import's
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
        """Returns the parent's architecture with so wide blocks, at that image size in pixels."""
        narrow = self.space.slimmed(self.parent.architecture, width)
        return self.space.assembled(narrow, self.space.blocks(narrow), size)


bench_of = functools.lru_cache(maxsize=1)(Bench)


def shares(bench, architectures):
    """Returns what networks take, in shares of what the parent takes, all timed in turns on this machine."""
    device = Part("nas_tf.devices", "host").make(bench.space, bench.scale)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(device):
        device.check()
        paths = {}
        for number, architecture in enumerate([bench.parent.architecture, *architectures]):
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
    base_ms, *rest = (found[str(number)].latency_ms for number in range(len(paths)))
    return [each / base_ms for each in rest]


def draw_networks(bench, count, low, high, draw):
    """Returns up to `count` random architectures, each once, whose latency by the table lies between two shares.

    Args:
        bench: the `Bench`.
        count: how many.
        low, high: shares of the parent's latency.
        draw: returns the blocks of one, of a `numpy.random.Generator` and the choices of each block. Its image size is
            drawn as well.
    """
    rng, own = np.random.default_rng(0), bench.parent.architecture
    choices, sizes = bench.space.block_choices(own), (None, *bench.space.image_sizes)
    base_ms, found = bench.estimator.estimate([own])[0], []
    for _ in range(_MOST_DRAWN):
        blocks = draw(rng, choices)
        each = bench.space.assembled(own, blocks, sizes[rng.integers(len(sizes))])
        share = bench.estimator.estimate([each])[0] / base_ms
        if each not in found and low <= share <= high:
            found.append(each)
        if len(found) == count:
            break
    return found


def judge_inherited(knobs, architecture):
    """Returns the validation accuracy of a child after the short fine-tuning of the judge `inherited`."""
    bench = bench_of(knobs)
    architecture = bench.space.architecture(architecture)
    size = bench.image_size(architecture)
    inheritable = bench.trainer.inheritable(size)
    fresh_keras(0)
    model = bench.space.build(architecture, bench.trainer.scale)
    inheritance.inherit(model, inheritable, bench.trainer.counterparts(architecture))
    return bench.trainer.train(model, size, 0).accuracy


def train_contender(knobs, contender, is_taught, seed):
    """Fine-tunes a network; returns its validation accuracy, and the file that says which test images were right."""
    contender = Contender(**contender)
    bench, network = bench_of(knobs, contender.search), contender.architecture
    is_other = "blocks" not in network
    architecture = None if is_other else bench.space.architecture(network)
    scale = bench.build_import(network)[1] if is_other else bench.space.scale_of(architecture, bench.scale)
    dataset = bench.dataset(scale.image_size)
    name = fingerprint([dataclasses.asdict(contender), is_taught, seed])
    recipe = dataclasses.replace(PLANS["finetune"].recipe, epochs=contender.epochs)
    if contender.rate:
        recipe = dataclasses.replace(recipe, learning_rate=contender.rate, other_learning_rate=0.0)

    def build(scale):
        if is_other:
            return bench.build_import(network, with_weights=True)[0]
        return bench.space.build(architecture, scale)

    def start(model):
        if is_other:
            return "published weights"
        if contender.start == "table":
            return tables.begin(bench.table, bench.space, architecture, model)
        if contender.start == "import":
            return bench.parent.load(model)
        if contender.start == "parent":
            source = bench.trainer.inheritable(scale.image_size)
            counterparts = bench.space.counterparts(architecture, bench.parent.architecture)
            return str(inheritance.inherit(model, source, counterparts))
        model.set_weights(read_keras(bench.folder / contender.start).get_weights())
        return contender.start

    if contender.start == "parent":
        bench.trainer.inheritable(scale.image_size)  # before the session is cleared
    teacher = bench.trainer.read_parent(scale.image_size) if is_taught else None
    # A long training that is stopped goes on from its log, and reads validation accuracy after every epoch.
    log = Log(bench.folder / f"training_{name}.npz") if contender.rate else None
    model, training = train_network(build, scale, dataset, recipe, seed, start=start, teacher=teacher, log=log)
    if log:
        log.path.unlink()
    right = answered_right(model, dataset.test())
    if len(right) < _ENOUGH and bench.has_one_split:
        right = np.concatenate([right, answered_right(model, dataset.race())])
    write_array(bench.folder / f"right_{name}.npy", right)
    return {
        "validation": training.accuracy.validation,
        "test": float(right.mean()),
        "right": f"right_{name}.npy",
        "epoch_seconds": statistics.median(each["seconds"] for each in training.history) if log else None,
    }
