"""Makes a latency table or an accuracy table of a search space, or chooses the exact best networks by both.

nas-table --search_space=mnasnet --device=host --out=host_mnasnet.json
nas-table --search_space=nasnet --device=android --deploy_image_size=224 --num_classes=10 --out=phone_nasnet.json
mnas-search --device=table --table=host_mnasnet.json --run_dir=runs/first ...

nas-table --check=phone_nasnet.json --device=android

nas-table --of=accuracy --parent=efficientnet_lite0 --data_dir=flowers.zip --deploy_image_size=160 --out=flowers.json
nas-table --accuracy_table=flowers.json --device=host --out=flowers_host.json
nas-table --best --accuracy_table=flowers.json --latency_table=flowers_host.json --target_latency_ms=3 --out=chosen.json

A latency table times every building unit of a space on a device, once for all its networks; scale flags (--deploy_...)
and --num_classes must be those of the search that will use it. An accuracy table repairs everything that may stand in
the place of each block of a trained parent. Both end by testing random networks that they have not seen, and print how
far they are off. The same command goes on where it stopped.
"""

import dataclasses
import functools
import pathlib
import shutil

from nas_tf import datasets, flags, plugins
from nas_tf.accuracy_tables import builder as accuracy_builder
from nas_tf.accuracy_tables.choosing import Chooser
from nas_tf.datasets import Source
from nas_tf.devices.table import LatencyTable
from nas_tf.export import NUMBER_TYPES
from nas_tf.family import deploy_scale, deploy_settings, families, family_of, space_from_file
from nas_tf.files import check_writable, write_json
from nas_tf.latency_tables import builder, checking
from nas_tf.networks.accuracy_table import AccuracyTable, Predictor, folder_of
from nas_tf.plugins import Part
from nas_tf.reports import accuracy_table as accuracy_report
from nas_tf.reports.latency_table import draw_scatter, validation_text, verdict_text
from nas_tf.search.settings import RACE_FRACTION, WORKERS
from nas_tf.settings import CHILDREN, DEVICE, IMAGES, NETWORK, PLACES, RUN, TARGET, knob
from nas_tf.training.children import ChildTraining, child_scale
from nas_tf.trial import UserError

LATENCY, ACCURACY = "latency", "accuracy"


@dataclasses.dataclass(frozen=True)
class TableSettings(builder.Thoroughness):
    """The settings of nas-table. Those of the scale are the families' (`nas_tf.family.deploy_settings`)."""

    of: str = knob(LATENCY, "What the table is of.", choices=(LATENCY, ACCURACY), group=RUN)
    best: bool = knob(
        False, "Choose the best networks by --accuracy_table and --latency_table; no table is made.", group=RUN
    )
    search_space: str = knob(
        "mnasnet", "Search space, of any family; or the path of a .py file.", path=True, group=NETWORK
    )
    check: str = knob(
        "",
        "Latency table, a file or a shipped one, to be checked on --device; no table is made.",
        path=True,
        group=RUN,
    )
    check_networks: int = knob(10, "With --check: how many networks are timed.", least=3, group=RUN)
    check_percent: float = knob(
        0.0,
        "With --check: mean error up to which the table holds; 0: twice its own on unseen networks, at least 5.",
        least=0,
        group=RUN,
    )
    device: str = knob("host", "Device that times files.", folder="nas_tf.devices", group=DEVICE)
    number_type: str = knob(
        "float32", "Type of the TFLite files of a latency table.", choices=NUMBER_TYPES, group=NETWORK
    )
    num_classes: int = knob(1000, "Classes of the networks of a latency table.", least=1, group=NETWORK)
    workers: str = knob(
        "process", "Where blocks are repaired, networks trained and files converted.", folder=WORKERS, group=PLACES
    )
    out: str = knob(
        "",
        "The table's file, such as host_mnasnet.json; a picture and what it was made of come beside it.",
        path=True,
        group=RUN,
    )
    accuracy_table: str = knob(
        "",
        "Accuracy table: a latency table is made for its space, scale and classes.",
        path=True,
        group=NETWORK,
    )
    latency_table: str = knob("", "Latency table, for --best.", path=True, group=TARGET)
    target_latency_ms: float | None = knob(
        None, "With --best: the latency that the networks have at most, in milliseconds.", above=0, group=TARGET
    )
    top_k: int = knob(5, "With --best: how many networks.", least=1, group=TARGET)

    def __post_init__(self):
        super().__post_init__()
        if self.best and (self.check or self.of == ACCURACY):
            raise UserError("--best chooses by tables that are made: leave --check and --of=accuracy out, or --best")
        if self.check:
            return
        if not self.out.endswith(".json"):
            raise UserError(f"Expected --out, a file that ends in .json. Received: {self.out!r}")
        if pathlib.Path(self.out).exists():
            raise UserError(f"--out={self.out} exists already. Choose another, or remove it")
        needed = ("accuracy_table", "latency_table") if self.best else ()
        for name in needed:
            if not getattr(self, name):
                raise UserError(f"--best needs --{name}. Received: none")


@dataclasses.dataclass(frozen=True)
class AccuracyTableSettings(accuracy_builder.Thoroughness):
    """The settings of an accuracy table."""

    dataset: str = knob(
        "",
        "Images of an accuracy table; default: image_folder with a --data_dir, else digits.",
        folder="nas_tf.datasets",
        group=IMAGES,
    )
    data_dir: str = knob("", "Folder or zip of the images, where the data set needs one.", path=True, group=IMAGES)
    parent: str = knob(
        "",
        "Trained network whose blocks are repaired: a published name, a file of weights or the folder of a network.",
        path=True,
        group=NETWORK,
    )
    proxy_image_size: int = knob(
        0, "Image size at which children are trained, in pixels; 0: that at which they ship.", least=0, group=CHILDREN
    )
    proxy_samples: int = knob(3000, "Training images, drawn by class; 0: all.", least=0, group=CHILDREN)
    race_fraction: float = knob(
        RACE_FRACTION, "Share of the images by which nas-ship chooses in the end.", least=0, below=1, group=IMAGES
    )

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "dataset", datasets.chosen(self.dataset, self.data_dir))


def make_table(settings, deploy, parts=None, say=print):
    """Makes a latency table, writes it and returns the `nas_tf.devices.table.LatencyTable`.

    Args:
        settings: the `TableSettings`.
        deploy: an instance of `nas_tf.family.deploy_settings()`.
        parts: dict from the name of the space and of the device to its settings.
        say: takes each line of text.
    """
    parts = plugins.expand_all(parts)
    family = family_of(settings.search_space)
    space = family.space(settings.search_space, parts.get(settings.search_space))
    scale = deploy_scale(family, space.module.Scale, deploy, settings.num_classes)
    if settings.accuracy_table:
        table = AccuracyTable.read(settings.accuracy_table)
        space = space_from_file(table.space, table.path, settings.search_space)
        scale = _scale(space.module.Scale, table.deploy_scale)
    plan = builder.TablePlan(
        space=space,
        scale=scale,
        device=Part("nas_tf.devices", settings.device, parts.get(settings.device, {})),
        thoroughness=settings,
        number_type=settings.number_type,
    )
    out = pathlib.Path(settings.out)
    check_writable(out.parent)
    folder = out.with_suffix(".timings")
    table = builder.build(plan, folder, say, _make_calls(settings, parts, folder))
    table.write(out)
    draw_scatter(out.with_suffix(".png"), table)
    shutil.rmtree(folder / "files", ignore_errors=True)
    say(validation_text(table))
    say(f"\n{out}\n{out.with_suffix('.png')}")
    return table


def make_accuracy_table(settings, accuracy, training, deploy, parts=None, say=print):
    """Makes an accuracy table, writes it and returns the `nas_tf.networks.accuracy_table.AccuracyTable`.

    Args:
        settings: the `TableSettings`.
        accuracy: the `AccuracyTableSettings`.
        training: the `nas_tf.training.children.ChildTraining`.
        deploy: an instance of `nas_tf.family.deploy_settings()`.
        parts: dict from the name of the space and of the data set to its settings.
        say: takes each line of text.
    """
    if not accuracy.parent:
        raise UserError("--of=accuracy needs --parent, a trained network whose blocks are repaired. Received: none")
    parts = plugins.expand_all(parts)
    family = family_of(settings.search_space)
    parent = family.parent(accuracy.parent)
    space = family.space(settings.search_space, parts.get(settings.search_space))
    part = Part("nas_tf.datasets", accuracy.dataset, parts.get(accuracy.dataset, {}))
    images = Source(part, accuracy.data_dir, settings.seed, accuracy.race_fraction)
    size = accuracy.proxy_image_size or deploy.deploy_image_size
    num_classes = images.make(size, accuracy.proxy_samples).num_classes
    ships = parent.scale(deploy_scale(family, space.module.Scale, deploy, num_classes))
    proxy = dataclasses.replace(ships, image_size=size)
    space = accuracy_builder.space_for_blocks(space, parent.architecture, ships.image_size, accuracy.widths)
    plan = accuracy_builder.AccuracyPlan(
        space=space,
        images=images,
        scale=child_scale(proxy, ships),
        deploy_scale=ships,
        num_samples=accuracy.proxy_samples,
        published=family.published,
        parent=accuracy.parent,
        training=training,
        thoroughness=_part_of(accuracy_builder.Thoroughness, accuracy),
        num_workers=settings.num_workers or 1,
    )
    out = pathlib.Path(settings.out)
    check_writable(out.parent)
    make_calls = _make_calls(settings, parts, folder_of(out), images.data_dir, accuracy.parent)
    table = accuracy_builder.build(plan, out, say, make_calls)
    accuracy_report.draw_scatter(out.with_suffix(".png"), table)
    say(accuracy_report.validation_text(table))
    say(f"\n{out}\n{out.with_suffix('.png')}\n{table.folder}")
    return table


def choose(settings, say=print):
    """Chooses the best networks, writes them for `--algorithm=listed`, and returns a list of `Choice`s.

    Args:
        settings: the `TableSettings`.
        say: takes each line of text.
    """
    out = pathlib.Path(settings.out)
    check_writable(out.parent)
    table = AccuracyTable.read(settings.accuracy_table)
    part = space_from_file(table.space, table.path, settings.search_space)
    space = part.space
    scale = _scale(part.module.Scale, table.deploy_scale)
    device = Part("nas_tf.devices", "table", {"file": settings.latency_table}).make(space, scale)
    device.check()
    chooser = Chooser(Predictor(table, space), device)
    front = chooser.front()
    target_ms = settings.target_latency_ms or front[-1].latency_ms
    best = chooser.best(target_ms, settings.top_k)
    rows = [{"architecture": str(c.architecture), "accuracy": c.accuracy, "latency_ms": c.latency_ms} for c in best]
    write_json(out, {"tokens": [space.encode(each.architecture) for each in best], "networks": rows})
    accuracy_report.write_front(out.with_suffix(".csv"), front)
    accuracy_report.draw_front(out.with_suffix(".png"), front, best, settings.target_latency_ms)
    say(accuracy_report.front_text(front, best, settings.target_latency_ms))
    say(f"\n{out}\n{out.with_suffix('.csv')}\n{out.with_suffix('.png')}")
    return best


def check_table(settings, parts=None, say=print):
    """Times networks of a latency table on a device, says whether it holds there, and returns whether it does.

    Space and scale are the table's own.

    Args:
        settings: the `TableSettings`.
        parts: dict from the name of the device to its settings.
        say: takes each line of text.
    """
    parts = plugins.expand_all(parts)
    table = LatencyTable.read(settings.check)
    family = family_of(table.space)
    space = family.space(table.space, table.facts.get("space_settings", {}))
    scale = _scale(space.module.Scale, {**table.scale, **table.scale.get("style", {})})
    device = Part("nas_tf.devices", settings.device, parts.get(settings.device, {}))
    verdict = checking.check(
        table, settings.check, space, scale, device, settings.check_networks, settings.check_percent
    )
    say(verdict_text(table, verdict))
    return verdict.holds


def _make_calls(settings, parts, folder, *seen):
    """Returns a function that makes what calls for a table with files in `folder`; None: its own processes call."""
    if settings.workers == "process":
        return None
    part = Part(WORKERS, settings.workers, parts.get(settings.workers, {}))
    log_path, paths = folder / "workers.log", (folder, *seen)
    options = {"num_workers": settings.num_workers, "seen": paths, "log_path": log_path}
    return functools.partial(part.module.make_calls, part.config, **options)


def _part_of(kind, settings):
    """Returns the settings of a dataclass that `settings` extend."""
    return kind(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)})


def _scale(scale_type, values):
    known = {field.name for field in dataclasses.fields(scale_type)}
    return scale_type(**{name: value for name, value in values.items() if name in known})


def main():
    accuracy, training = flags.read(AccuracyTableSettings), flags.read(ChildTraining)
    settings, deploy = flags.read(TableSettings), flags.read(deploy_settings())
    if settings.best:
        choose(settings)
        return 0
    if settings.check:
        parts = {settings.device: flags.read_part("nas_tf.devices", settings.device).settings}
        return int(not check_table(settings, parts))
    folder = family_of(settings.search_space).space_folder
    parts = {settings.search_space: flags.read_part(folder, settings.search_space).settings}
    parts[settings.workers] = flags.read_part(WORKERS, settings.workers).settings
    if settings.of == ACCURACY:
        parts[accuracy.dataset] = flags.read_part("nas_tf.datasets", accuracy.dataset).settings
        make_accuracy_table(settings, accuracy, training, deploy, parts)
    else:
        parts[settings.device] = flags.read_part("nas_tf.devices", settings.device).settings
        make_table(settings, deploy, parts)
    return 0


def cli():
    flags.define(TableSettings)
    flags.define(AccuracyTableSettings)
    flags.define(ChildTraining)
    flags.define(deploy_settings())
    flags.define_parts("nas_tf.datasets")
    flags.define_parts("nas_tf.devices")
    flags.define_parts(WORKERS)
    for family in families():
        flags.define_parts(family.space_folder, "search_space")
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
