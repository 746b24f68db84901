"""Searches a mobile network for accuracy within a measured latency (MnasNet, arXiv 1807.11626).

mnas-search --run_dir=runs/flowers --data_dir=flowers/ --num_trials=200

Each trial trains a child at the proxy scale and times its deployment network, converted to TFLite, on --device. The
same command on the same --run_dir goes on where it stopped.
"""

import functools

from mnas_tf.family import FAMILY
from mnas_tf.family import MnasNetSearchSettings as Settings
from nas_tf.apps import search as command
from nas_tf.search import run

__all__ = ["Settings", "cli", "search"]

search = functools.partial(run.search, FAMILY)
search.__doc__ = "`nas_tf.search.run.search` of this family: `search(settings, objective, limits, proxy, parts, say)`."


def cli():
    command.cli(FAMILY, __doc__)


if __name__ == "__main__":
    cli()
