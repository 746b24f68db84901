"""Makes an accuracy table.

What it is made of, and what is asked for, is checked first; `library.py` makes the library of each width.
"""

import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import pathlib

from nas_tf import resume
from nas_tf.accuracy_tables import jobs
from nas_tf.accuracy_tables.library import Making
from nas_tf.accuracy_tables.repair import Repair
from nas_tf.datasets import Source
from nas_tf.files import alone
from nas_tf.judges.blocks import images_facts
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks.accuracy_table import AccuracyTable
from nas_tf.plugins import Part
from nas_tf.recycling import Processes, ThisProcess
from nas_tf.settings import knob
from nas_tf.training.children import ChildTraining
from nas_tf.trial import UserError

_PACKAGES = ("mobile-nas-tf", "keras", "tensorflow")
LEAST_IMAGES = 200


@dataclasses.dataclass(frozen=True)
class Thoroughness(Repair):
    """How thoroughly an accuracy table is made and tested."""

    num_fitted: int = knob(24, "Networks on which it is fitted what damage to blocks means.", least=10)
    num_tested: int = knob(16, "Networks, not seen before, on which the table is tested.", least=4)
    widths: tuple[float, ...] = knob((1.0,), "Factors on the parent's filters, each for a library; 1 among them.")

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "widths", tuple(map(float, self.widths)))
        names = {tables.library_name(each) for each in self.widths}
        if 1.0 not in self.widths or len(names) < len(self.widths) or not all(0 < each < 10 for each in self.widths):
            raise UserError(
                f"Expected --widths, each once, above 0, below 10, and 1 among them. Received: {self.widths}"
            )


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
    libraries = []
    make_calls = make_calls or (lambda: Processes(plan.num_workers) if plan.num_workers else ThisProcess())
    with alone(folder, "making of a table"):
        resume.begin(folder / "asked.json", asked, instead="remove it, or choose another --out")
        with contextlib.closing(make_calls()) as processes:
            for width in (1.0, *(each for each in thoroughness.widths if each != 1.0)):
                libraries.append(Making(plan, folder, width, processes, say).library())
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
