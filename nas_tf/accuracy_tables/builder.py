"""Makes an accuracy table.

The parent is fine-tuned. For each of its blocks, everything that the space offers in its place inherits from it, is
trained to give the same maps, and keeps the better of these weights. Then networks of such blocks are trained briefly,
to fit what their damage means, and others to test the fit. Every step's result is kept at once, so that the same call
goes on where one stopped.
"""

import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import pathlib

import numpy as np

from nas_tf import resume
from nas_tf.accuracy import standard_error
from nas_tf.accuracy_tables import jobs, prediction
from nas_tf.accuracy_tables.repair import Repair
from nas_tf.bars import progress_bar
from nas_tf.datasets import Source
from nas_tf.files import JsonLines
from nas_tf.judges.blocks import images_facts
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks.accuracy_table import AccuracyTable, Alternative, Library
from nas_tf.plugins import Part
from nas_tf.quiet import count
from nas_tf.recycling import Processes, ThisProcess
from nas_tf.settings import knob
from nas_tf.training.children import ChildTraining
from nas_tf.trial import EvaluationError, OwnFileError, UserError

_PACKAGES = ("mobile-nas-tf", "keras", "tensorflow")
_GROUP = 8  # alternatives that one call repairs
LEAST_IMAGES = 200
_RATES = (0.25, 0.5, 0.75, 1.0)  # shares of the blocks of a network drawn that are changed
_LEAST_NETWORKS = {"fitted": 8, "tested": 3}


@dataclasses.dataclass(frozen=True)
class Thoroughness(Repair):
    """How thoroughly an accuracy table is made and tested."""

    num_fitted: int = knob(24, "Networks on which it is fitted what damage to blocks means.", least=10)
    num_tested: int = knob(16, "Networks, not seen before, on which the table is tested.", least=4)
    widths: tuple[float, ...] = knob((1.0,), "Factors on the parent's filters, each for a library; 1 among them.")

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "widths", tuple(map(float, self.widths)))
        if 1.0 not in self.widths or len(set(self.widths)) < len(self.widths) or min(self.widths) <= 0:
            raise UserError(f"Expected --widths, each once, above 0, and 1 among them. Received: {self.widths}")


@dataclasses.dataclass(frozen=True)
class AccuracyPlan:
    """What an accuracy table is made of, and how: plain data for every process.

    Attributes:
        space: the search space's `nas_tf.plugins.Part`.
        images: the `nas_tf.datasets.Source`.
        scale, deploy_scale: the family's `Scale` of children and of the network that ships, in the parent's style.
        num_samples: training images that are seen; 0: all.
        published, parent: as in `nas_tf.judges.Task`.
        training: how the parent and whole networks are trained.
        thoroughness: how thoroughly it is made.
        num_workers: processes that train; 0: this one does, for small networks.
    """

    space: Part
    images: Source
    scale: object
    deploy_scale: object
    num_samples: int
    published: str
    parent: str
    training: ChildTraining
    thoroughness: Thoroughness
    num_workers: int = 1

    @property
    def image_sizes(self):
        """tuple[int, ...]: of the networks that ship, in pixels, beside that of `deploy_scale`."""
        return tuple(self.space.settings.get("image_sizes", ()))

    @property
    def seed(self):
        """int: decides splits, which networks, and the order of images."""
        return self.images.seed


def space_for_blocks(space, parent, image_size, widths=(1.0,)):
    """Returns a search space's `Part` as a table needs it: round a parent's architecture, where nothing else is set.

    Args:
        space: the `Part`.
        parent: the architecture.
        image_size: of the network that ships, in pixels.
        widths: factors on the parent's filters.
    """
    defaults = space.space.settings_for_blocks(parent, image_size)
    if len(widths) > 1:
        defaults["widths"] = tuple(each for each in widths if each != 1.0)
    return dataclasses.replace(space, settings={**defaults, **space.settings})


def check_parent(space, parent):
    """Raises `UserError` unless a space has a parent's architecture, and offers each of its blocks in its own place."""
    try:
        space.encode(parent)
        blocks, offered = space.blocks(parent), space.block_choices(parent)
    except ValueError as error:
        raise UserError(f"Expected a parent of search space {space.name!r} as it is set. Received: {error}") from error
    for number, (block, choices) in enumerate(zip(blocks, offered), 1):
        if block not in choices:
            raise UserError(
                f"Expected search space {space.name!r}, as it is set, to offer the parent's own blocks. Received: "
                f"block {number}, {block}, which is not among its choices"
            )


def build(plan, path, say=print, make_calls=None):
    """Makes, writes and returns the `nas_tf.networks.accuracy_table.AccuracyTable` of a plan, with its validation.

    Args:
        plan: the `AccuracyPlan`.
        path: of the table's file; what is made first lies in the folder beside it.
        say: takes each line of text.
        make_calls: returns what makes the calls, as `nas_tf.recycling.Processes` does; None: such processes, here.
            It is called once all else was found right.

    Raises:
        UserError: the images are too few, the parent does not fit the space, or the folder belongs to another plan.
        EvaluationError: a network could not be trained; the same call goes on from there.
    """
    path, space, thoroughness = pathlib.Path(path), plan.space.space, plan.thoroughness
    parent = jobs.published(plan)
    space.counterparts(parent.architecture, parent.architecture)
    check_parent(space, parent.architecture)
    dataset = plan.images.make(plan.scale.image_size, plan.num_samples)
    num_examples = dataset.train().num_examples
    if num_examples < LEAST_IMAGES:
        raise UserError(
            f"Expected at least {LEAST_IMAGES} training images for an accuracy table. Received: {num_examples}"
        )
    images = images_facts(dataset, plan.images, plan.num_samples)
    asked = {
        "space": plan.space.to_json(),
        **parent.facts(),
        "scale": dataclasses.asdict(plan.scale),
        "deploy_scale": dataclasses.asdict(plan.deploy_scale),
        "images": images,
        "training": dataclasses.asdict(plan.training),
        **dataclasses.asdict(thoroughness),
    }
    folder = tables.folder_of(path)
    folder.mkdir(parents=True, exist_ok=True)
    resume.begin(folder / "asked.json", asked, instead="remove it, or choose another --out")
    libraries = []
    make_calls = make_calls or (lambda: Processes(plan.num_workers) if plan.num_workers else ThisProcess())
    with contextlib.closing(make_calls()) as processes:
        for width in (1.0, *(each for each in thoroughness.widths if each != 1.0)):
            libraries.append(_Making(plan, folder, width, processes, say).library())
    table = AccuracyTable(
        path,
        space=plan.space.to_json(),
        parent=parent.facts(),
        scale=resume.as_json(dataclasses.asdict(plan.scale)),
        deploy_scale=resume.as_json(dataclasses.asdict(plan.deploy_scale)),
        images=images,
        training=dataclasses.asdict(plan.training),
        libraries=tuple(libraries),
        facts={
            "thoroughness": resume.as_json(dataclasses.asdict(thoroughness)),
            "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
            "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    )
    table.write()
    return table


class _Making:
    """The library of one width in the making."""

    def __init__(self, plan, folder, width, processes, say):
        self._plan, self._width, self._processes, self._say = plan, width, processes, say
        self._folder = folder / tables.library_name(width)
        self._space = plan.space.space
        self._parent = jobs.parent_at(plan, width)
        self._alternatives = JsonLines(self._folder / "alternatives.jsonl", ("block", "text"))
        self._networks = JsonLines(self._folder / "networks.jsonl", ("kind", "number"))

    def library(self):
        space, plan = self._space, self._plan
        self._run(
            {"parent": (jobs.prepare, plan, self._folder.parent, self._width)}, "fine-tuning the parent", self._ignore
        )
        choices = space.block_choices(self._parent)
        self._repair(choices)
        blocks = self._found(choices)
        return self._fitted(blocks)

    def _ignore(self, key, value):
        """Does nothing: what came of it is in files."""

    def _run(self, calls, what, then):
        """Makes calls in other processes, and calls `then(key, value)` of each that ends well."""
        if not calls:
            return
        done = progress_bar(self._processes.run(calls), total=len(calls), desc=what, unit="job")
        for key, value, failure in done:
            if failure is not None:
                done.close()
                raise (
                    failure
                    if isinstance(failure, (UserError, OwnFileError))
                    else EvaluationError(f"{what}: {key} failed: {failure}")
                )
            then(key, value)

    def _repair(self, choices):
        calls = {}
        for number, (block, offered) in enumerate(zip(self._space.blocks(self._parent), choices), 1):
            missing = [each for each in offered if each != block and (number, str(each)) not in self._alternatives]
            for first in range(0, len(missing), _GROUP):
                group = missing[first : first + _GROUP]
                key = f"block{number}, {first + len(group)} of {len(missing)}"
                calls[key] = jobs.repair_group, self._plan, self._folder.parent, self._width, number, group
        self._run(calls, f"repairing {count(sum(map(len, choices)), 'block')}", lambda _, found: self._keep(found))

    def _keep(self, found):
        for line in found:
            self._alternatives.add(line)

    def _found(self, choices):
        """Returns a tuple with a dict for each block from text to `Alternative`. Those that diverged are left out."""
        blocks, left_out = [], []
        for number, (own, offered) in enumerate(zip(self._space.blocks(self._parent), choices), 1):
            found = {str(own): Alternative(0.0, 0.0, "own")}
            for each in offered:
                line = self._alternatives.get((number, str(each)))
                if line is None:
                    continue
                if line["failure"]:
                    left_out.append(f"block {number}: {each}: {line['failure']}")
                else:
                    found[str(each)] = Alternative(*(line[name] for name in ("loss", "divergence", "kept", "file")))
            if len(found) == 1 and len(offered) > 1:
                self._say(f"block {number} stays the parent's: nothing in its place could be trained")
            blocks.append(found)
        if left_out:
            self._say(f"{count(len(left_out), 'block')} left out: {'; '.join(left_out[:3])}")
        return tuple(blocks)

    def _fitted(self, blocks):
        plan, space = self._plan, self._space
        networks = {
            (kind, number): architecture
            for kind, drawn in draw_networks(space, self._parent, blocks, plan).items()
            for number, architecture in enumerate(drawn)
        }
        table = self._draft(blocks)
        calls = {
            f"{kind} {number}": (jobs.train_network, plan, table, architecture)
            for (kind, number), architecture in networks.items()
            if (kind, number) not in self._networks
        }

        def keep(key, value):
            kind, number = key.split()
            self._networks.add({"kind": kind, "number": int(number), **value})

        self._run(calls, f"training {count(len(networks), 'network')} briefly", keep)
        return self._fit(blocks, networks)

    def _draft(self, blocks):
        """Returns a table with this library alone, whose predictions are not fitted yet."""
        plan = self._plan
        library = Library(self._width, self._parent.to_json(), blocks, {}, (0.0,) * len(blocks), {})
        scales = (resume.as_json(dataclasses.asdict(each)) for each in (plan.scale, plan.deploy_scale))
        path = self._folder.parent.with_suffix(".json")
        parent, training = jobs.published(plan).facts(), dataclasses.asdict(plan.training)
        return AccuracyTable(path, plan.space.to_json(), parent, *scales, {}, training, (library,))

    def _fit(self, blocks, networks):
        values = {key: self._networks.get(key) for key in networks}
        diverged = [key for key in networks if values[key]["failure"]]
        rows = {kind: [key for key in networks if key[0] == kind and key not in diverged] for kind in _LEAST_NETWORKS}
        for kind, least in _LEAST_NETWORKS.items():
            if len(rows[kind]) < least:
                raise EvaluationError(
                    f"of the networks that are {kind} only {len(rows[kind])} could be trained; expected {least} at "
                    f"least. The last failed with: {values[diverged[-1]]['failure']}"
                )
        if diverged:
            self._say(f"{count(len(diverged), 'network')} left out: {values[diverged[0]]['failure']}")

        def table_of(keys):
            sizes = [self._space.image_size(networks[key]) or self._plan.deploy_scale.image_size for key in keys]
            return (
                sizes,
                [self._damages(blocks, networks[key]) for key in keys],
                [values[key]["accuracy"] for key in keys],
            )

        found = prediction.fit(*table_of(rows["fitted"]))
        sizes, damages, reached = table_of(rows["tested"])
        predicted = found.predict(sizes, damages)
        validation = prediction.compare(predicted, reached)
        validation["standard_error_points"] = 100 * float(
            np.mean([standard_error(each, values[key]["num_images"]) for key, each in zip(rows["tested"], reached)])
        )
        validation["networks"] = [
            {"architecture": str(networks[key]), "predicted": float(each), **values[key]}
            for key, each in zip(rows["tested"], predicted)
        ]
        facts = {
            "validation": validation,
            "fitted": [{"architecture": str(networks[key]), **values[key]} for key in rows["fitted"]],
            "penalty": found.penalty,
            "cross_validated_points": found.cross_validated_points,
        }
        return Library(self._width, self._parent.to_json(), blocks, found.sizes, found.weights, facts)

    def _damages(self, blocks, architecture):
        return [
            tables.damage(alternatives[str(block)])
            for block, alternatives in zip(self._space.blocks(architecture), blocks)
        ]


def draw_networks(space, parent, blocks, plan):
    """Returns a dict with the networks that are `fitted`, and those that are `tested`.

    The parent at every image size is among the first. The others are drawn at random: a size, a share of the blocks
    that are changed, and what stands in their place.

    Args:
        space: the search space.
        parent: the architecture of the library's parent.
        blocks: tuple with a dict for each block whose keys are the texts of what there is.
        plan: the `AccuracyPlan`.
    """
    thoroughness = plan.thoroughness
    rng = np.random.default_rng(plan.seed)
    sizes = [None, *plan.image_sizes]
    own = space.blocks(parent)
    offered = [
        [block for block in choices if str(block) in known and block != mine]
        for choices, known, mine in zip(space.block_choices(parent), blocks, own)
    ]
    found = {space.assembled(parent, own, size): None for size in sizes}
    wanted = len(found) + thoroughness.num_fitted + thoroughness.num_tested
    for _ in range(100 * wanted):
        rate = rng.choice(_RATES)
        size = sizes[rng.integers(len(sizes))]
        chosen = [
            choices[rng.integers(len(choices))] if choices and rng.random() < rate else mine
            for choices, mine in zip(offered, own)
        ]
        found[space.assembled(parent, chosen, size)] = None
        if len(found) == wanted:
            break
    else:
        raise UserError(
            f"There are only {len(found)} different networks of what was repaired. Expected {wanted}: ask for fewer "
            "with --num_fitted and --num_tested"
        )
    drawn = list(found)
    return {"fitted": drawn[: -thoroughness.num_tested], "tested": drawn[-thoroughness.num_tested :]}
