"""Turns a trained network into files that ship: TFLite of several number types, a SavedModel, a model card.

Each TFLite file is run on the validation images and timed on a device. With --draw it only draws cells.

nasnet-export --network_dir=flowers_net --data_dir=flowers --device=host
nasnet-export --draw --architecture=nasnet_a --out_dir=pictures
"""

import dataclasses
import pathlib

from nas_tf.apps import export as command
from nas_tf.apps.export import ExportSettings, export
from nas_tf.settings import NETWORK, knob
from nas_tf.trial import UserError
from nasnet_tf.family import read_architecture

__all__ = ["Settings", "cli", "draw", "export"]


@dataclasses.dataclass(frozen=True)
class Settings(ExportSettings):
    architecture: str = knob(
        "", "With --draw: an architecture.json, or nasnet_a, in place of a folder.", path=True, group=NETWORK
    )
    draw: bool = knob(False, "Only draw the two cells, as SVG and PNG.", group=NETWORK)

    def __post_init__(self):
        super().__post_init__()
        if self.architecture and not self.draw:
            raise UserError("--architecture names cells to --draw; a network to export is given by --network_dir")


def draw(settings):
    """Draws the cells and returns a list of the paths of the pictures."""
    from nasnet_tf.spaces.nasnet import SPACE

    if bool(settings.architecture) == bool(settings.network_dir) or not (settings.network_dir or settings.out_dir):
        raise UserError(
            "Expected --draw with --network_dir, or with --architecture and --out_dir. Received: "
            f"--network_dir={settings.network_dir} --architecture={settings.architecture} --out_dir={settings.out_dir}"
        )
    source = settings.architecture or str(pathlib.Path(settings.network_dir) / "architecture.json")
    return SPACE.draw(read_architecture(source, SPACE), settings.out_dir or settings.network_dir)


def cli():
    command.cli(Settings, __doc__, instead=lambda settings: draw(settings) if settings.draw else None)


if __name__ == "__main__":
    cli()
