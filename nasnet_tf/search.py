"""Searches a Normal and a Reduction cell on small images, to be stacked for large ones (NASNet, arXiv 1707.07012).

nasnet-search --run_dir=runs/cells --data_dir=flowers/ --num_trials=200
nasnet-search --run_dir=runs/fast_cells --device=host --reward=soft --target_latency_of=nasnet_a

Each trial trains a child at the proxy scale; with --device its deployment network is timed there, and with a --reward
other than accuracy that latency counts. The same command on the same --run_dir goes on where it stopped.
"""

import functools

from nas_tf.apps import search as command
from nas_tf.search import run
from nasnet_tf.family import FAMILY
from nasnet_tf.family import NASNetSearchSettings as Settings

__all__ = ["Settings", "cli", "search"]

search = functools.partial(run.search, FAMILY)
search.__doc__ = "`nas_tf.search.run.search` of this family: `search(settings, objective, limits, proxy, parts, say)`."


def cli():
    command.cli(FAMILY, __doc__)


if __name__ == "__main__":
    cli()
