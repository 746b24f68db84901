"""Turns a trained network into TFLite and a SavedModel and prints its latency on a device; or draws cells.

nasnet-export --network_dir=flowers_net --device=host
nasnet-export --draw --architecture=nasnet_a --out_dir=pictures
"""

import dataclasses
import pathlib

from nas_tf import finish, flags
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.trial import UserError
from nasnet_tf.train import read_architecture


@dataclasses.dataclass(frozen=True)
class Settings:
    network_dir: str = knob(
        "", "Folder with architecture.json and model.keras, as nasnet-train and nasnet-search write it."
    )
    architecture: str = knob("", "With --draw: an architecture.json, or nasnet_a, in place of a folder.")
    draw: bool = knob(False, "Only draw the two cells, as SVG and PNG.")
    out_dir: str = knob("", "Folder to write into; empty: the network's.")
    batch_size: int = knob(1, "Batch size that the TFLite file is fixed to.")
    device: str = knob("host", "Where the file is timed.", folder="nas_tf.devices")

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"Expected --batch_size of at least 1. Received: {self.batch_size}")
        if self.architecture and not self.draw:
            raise UserError("--architecture names cells to --draw; a network to export is given by --network_dir")


def draw(settings):
    """Draws the cells and gives the paths of the pictures."""
    from nasnet_tf.spaces.nasnet import SPACE

    if bool(settings.architecture) == bool(settings.network_dir) or not (settings.network_dir or settings.out_dir):
        raise UserError(
            "Expected --draw with --network_dir, or with --architecture and --out_dir. Received: "
            f"--network_dir={settings.network_dir} --architecture={settings.architecture} --out_dir={settings.out_dir}"
        )
    source = settings.architecture or str(pathlib.Path(settings.network_dir) / "architecture.json")
    return SPACE.draw(read_architecture(source, SPACE), settings.out_dir or settings.network_dir)


def export(settings, parts=None):
    """Writes the files and gives `(path of the TFLite file, its latency in milliseconds)`."""
    if not settings.network_dir:
        raise UserError("Expected --network_dir, the folder of a trained network. Received: none")
    device = Part("nas_tf.devices", settings.device, (parts or {}).get(settings.device, {}))
    return finish.export_network(settings.network_dir, settings.out_dir, settings.batch_size, device)


def main():
    settings = flags.read(Settings)
    if settings.draw:
        print("\n".join(map(str, draw(settings))))
        return
    parts = {settings.device: flags.read_part("nas_tf.devices", settings.device).settings}
    path, latency_ms = export(settings, parts)
    print(f"{path}\n{path.parent / 'saved_model'}\nlatency on {settings.device}: {latency_ms:.3f} ms")


def cli():
    flags.define(Settings)
    flags.define_parts("nas_tf.devices")
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
