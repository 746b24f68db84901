"""Trains one network of the MnasNet family and writes its folder: architecture.json, model.keras, TFLite, SavedModel.

mnas-train --architecture=runs/first/best/architecture.json --data_dir=flowers/ --out_dir=net
mnas-train --architecture=mnasnet_a1 --image_size=96 --epochs=20 --out_dir=a1
mnas-train --architecture=mnasnet_a1 --dataset=tfds --tfds_name=imagenet2012 --recipe=imagenet --out_dir=a1_imagenet
mnas-train --architecture=mnasnet_b1 --initial_weights=mnasnet_100.safetensors \\
    --data_dir=flowers/ --recipe=cosine --out_dir=flowers_b1

The same command on the same --out_dir goes on where it stopped, and ends as if it had not.
"""

import functools

from mnas_tf.family import FAMILY
from mnas_tf.family import MnasNetTrainSettings as Settings
from nas_tf.apps import train as command

__all__ = ["Settings", "cli", "train"]

train = functools.partial(command.train, FAMILY)
train.__doc__ = "`nas_tf.apps.train.train` of this family: `train(settings, machine, parts)`."


def cli():
    command.cli(FAMILY, __doc__)


if __name__ == "__main__":
    cli()
