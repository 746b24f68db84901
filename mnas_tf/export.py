"""Turns a trained network into TFLite and a SavedModel, and prints its latency on a device.

mnas-export --network_dir=flowers_net --device=host
"""

import dataclasses

from nas_tf import finish, flags
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    network_dir: str = knob(
        "", "Folder with architecture.json and model.keras, as mnas-train and mnas-search write it."
    )
    out_dir: str = knob("", "Folder for model.tflite and saved_model; empty: the same.")
    batch_size: int = knob(1, "Batch size that the TFLite file is fixed to.")
    device: str = knob("host", "Where the file is timed.", folder="nas_tf.devices")

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"Expected --batch_size of at least 1. Received: {self.batch_size}")


def export(settings, parts=None):
    """Writes the files and gives `(path of the TFLite file, its latency in milliseconds)`."""
    if not settings.network_dir:
        raise UserError("Expected --network_dir, the folder of a trained network. Received: none")
    device = Part("nas_tf.devices", settings.device, (parts or {}).get(settings.device, {}))
    return finish.export_network(settings.network_dir, settings.out_dir, settings.batch_size, device)


def main():
    settings = flags.read(Settings)
    parts = {settings.device: flags.read_part("nas_tf.devices", settings.device).settings}
    path, latency_ms = export(settings, parts)
    print(f"{path}\n{path.parent / 'saved_model'}\nlatency on {settings.device}: {latency_ms:.3f} ms")


def cli():
    flags.define(Settings)
    flags.define_parts("nas_tf.devices")
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
