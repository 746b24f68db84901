"""Turns a trained network into files that ship: TFLite of several number types, a SavedModel, a model card.

Each TFLite file is run on the validation images and timed on a device.

mnas-export --network_dir=flowers_net --data_dir=flowers --device=host
"""

from nas_tf.apps import export as command
from nas_tf.apps.export import ExportSettings as Settings
from nas_tf.apps.export import export

__all__ = ["Settings", "cli", "export"]


def cli():
    command.cli(Settings, __doc__)


if __name__ == "__main__":
    cli()
