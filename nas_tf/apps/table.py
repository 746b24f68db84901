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

from nas_tf import families, flags, table_builder
from nas_tf.files import check_writable
from nas_tf.flags import knob
from nas_tf.latency_report import draw_scatter, validation_text
from nas_tf.plugins import Part
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    search_space: str = knob("mnasnet", "Search space, of any family; or the path of a .py file.")
    device: str = knob("host", "Device that times files.", folder="nas_tf.devices")
    num_classes: int = knob(1000, "Classes of the networks.")
    out: str = knob("", "The table's file, such as host_mnasnet.json; a picture and the timings come beside it.")
    num_calibration: int = knob(60, "Random networks by which is fitted how units add up.")
    num_validation: int = knob(40, "Random networks, not seen before, by which the table is tested.")
    passes: int = knob(3, "Timings of each of these networks; their median counts.")
    seed: int = knob(0, "Decides which networks, and the order of timings.")
    num_workers: int = knob(0, "Processes that convert; 0: one a core. Nothing is timed meanwhile.")

    def __post_init__(self):
        if not self.out.endswith(".json"):
            raise UserError(f"Expected --out, a file that ends in .json. Received: {self.out!r}")
        if pathlib.Path(self.out).exists():
            raise UserError(f"--out={self.out} exists already. Choose another, or remove it")


def make_table(settings, deploy, parts=None, say=print):
    """The `nas_tf.latency_table.LatencyTable` written to `settings.out`; `deploy` is a `families.deploy_settings()`."""
    parts = parts or {}
    family = families.family_of(settings.search_space)
    space = Part(family.space_folder, settings.search_space, parts.get(settings.search_space, {}))
    plan = table_builder.Plan(
        space=space,
        scale=families.deploy_scale(family, space.module.Scale, deploy, settings.num_classes),
        device=Part("nas_tf.devices", settings.device, parts.get(settings.device, {})),
        num_calibration=settings.num_calibration,
        num_validation=settings.num_validation,
        passes=settings.passes,
        seed=settings.seed,
        num_workers=settings.num_workers,
    )
    out = pathlib.Path(settings.out)
    check_writable(out.parent)
    folder = out.with_suffix(".timings")
    table = table_builder.build(plan, folder, say)
    table.write(out)
    draw_scatter(out.with_suffix(".png"), table)
    shutil.rmtree(folder / "files", ignore_errors=True)
    say(validation_text(table))
    say(f"\n{out}\n{out.with_suffix('.png')}")
    return table


def main():
    settings, deploy = flags.read(Settings), flags.read(families.deploy_settings())
    folder = families.family_of(settings.search_space).space_folder
    parts = {settings.search_space: flags.read_part(folder, settings.search_space).settings,
             settings.device: flags.read_part("nas_tf.devices", settings.device).settings}  # fmt: skip
    make_table(settings, deploy, parts)


def cli():
    flags.define(Settings)
    flags.define(families.deploy_settings())
    for folder in ("nas_tf.devices", *(family.space_folder for family in families.families())):
        flags.define_parts(folder)
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
