"""Makes a latency table: times every building unit of a search space on a device, once for all its networks.

nas-table --search_space=mnasnet --device=host --out=host_mnasnet.json
nas-table --search_space=nasnet --device=android --deploy_image_size=224 --num_classes=10 --out=phone_nasnet.json
mnas-search --device=table --table=host_mnasnet.json --run_dir=runs/first ...

Ends by timing random networks that it has not seen, and prints how far the table is off. Scale flags (--deploy_...) and
--num_classes must be those of the search that will use the table. The same command goes on where it stopped.
"""

import dataclasses
import pathlib
import shutil

from nas_tf import flags, plugins
from nas_tf.family import deploy_scale, deploy_settings, families, family_of
from nas_tf.files import check_writable
from nas_tf.latency_tables import builder
from nas_tf.plugins import Part
from nas_tf.reports.latency_table import draw_scatter, validation_text
from nas_tf.settings import DEVICE, NETWORK, RUN, knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class TableSettings(builder.Thoroughness):
    """The settings of nas-table. Those of the scale are the families' (`nas_tf.family.deploy_settings`)."""

    search_space: str = knob(
        "mnasnet", "Search space, of any family; or the path of a .py file.", path=True, group=NETWORK
    )
    device: str = knob("host", "Device that times files.", folder="nas_tf.devices", group=DEVICE)
    num_classes: int = knob(1000, "Classes of the networks.", least=1, group=NETWORK)
    out: str = knob(
        "",
        "The table's file, such as host_mnasnet.json; a picture and the timings come beside it.",
        path=True,
        group=RUN,
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.out.endswith(".json"):
            raise UserError(f"Expected --out, a file that ends in .json. Received: {self.out!r}")
        if pathlib.Path(self.out).exists():
            raise UserError(f"--out={self.out} exists already. Choose another, or remove it")


def make_table(settings, deploy, parts=None, say=print):
    """Makes a table, writes it and returns the `nas_tf.devices.table.LatencyTable`.

    Args:
        settings: the `TableSettings`.
        deploy: an instance of `nas_tf.family.deploy_settings()`.
        parts: dict from the name of the space and of the device to its settings.
        say: takes each line of text.
    """
    parts = plugins.expand_all(parts)
    family = family_of(settings.search_space)
    space = family.space(settings.search_space, parts.get(settings.search_space))
    plan = builder.TablePlan(
        space=space,
        scale=deploy_scale(family, space.module.Scale, deploy, settings.num_classes),
        device=Part("nas_tf.devices", settings.device, parts.get(settings.device, {})),
        thoroughness=settings,
    )
    out = pathlib.Path(settings.out)
    check_writable(out.parent)
    folder = out.with_suffix(".timings")
    table = builder.build(plan, folder, say)
    table.write(out)
    draw_scatter(out.with_suffix(".png"), table)
    shutil.rmtree(folder / "files", ignore_errors=True)
    say(validation_text(table))
    say(f"\n{out}\n{out.with_suffix('.png')}")
    return table


def main():
    settings, deploy = flags.read(TableSettings), flags.read(deploy_settings())
    folder = family_of(settings.search_space).space_folder
    parts = {
        settings.search_space: flags.read_part(folder, settings.search_space).settings,
        settings.device: flags.read_part("nas_tf.devices", settings.device).settings,
    }
    make_table(settings, deploy, parts)


def cli():
    flags.define(TableSettings)
    flags.define(deploy_settings())
    flags.define_parts("nas_tf.devices")
    for family in families():
        flags.define_parts(family.space_folder, "search_space")
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
