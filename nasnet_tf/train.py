"""Trains one network of searched or published cells and writes its folder.

The folder holds architecture.json, model.keras, TFLite, SavedModel and pictures of the cells.

nasnet-train --architecture=runs/cells/best/architecture.json --data_dir=flowers/ --out_dir=net
nasnet-train --architecture=nasnet_a --recipe=cifar --stem=cifar --cells=6 --filters=32 --image_size=32 --out_dir=a
nasnet-train --initial_weights=imagenet --data_dir=flowers/ --out_dir=flowers_net

The same command on the same --out_dir goes on where it stopped, and ends as if it had not.
"""

import functools

from nas_tf.apps import train as command
from nasnet_tf.family import FAMILY
from nasnet_tf.family import NASNetTrainSettings as Settings

__all__ = ["Settings", "cli", "train"]

train = functools.partial(command.train, FAMILY)
train.__doc__ = "`nas_tf.apps.train.train` of this family: `train(settings, machine, parts)`."


def cli():
    command.cli(FAMILY, __doc__)


if __name__ == "__main__":
    cli()
