"""A Ray cluster of several nodes on this machine, as `ray start` makes it, and what may befall it."""

import os
import sys

import psutil
from ray.cluster_utils import Cluster

DEVICE = {"nas_device": 1}
# By itself Ray looks every three seconds, five times. A node that is busy has ten seconds to answer all the same.
_QUICK_TO_MISS_A_NODE = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}


class ThreeNodes:
    """A head without CPUs and two nodes with one each, of which the second has the device.

    Args:
        path: folders in which the nodes find modules, before those of this process.
    """

    def __init__(self, path=()):
        os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, path), *sys.path])
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": _QUICK_TO_MISS_A_NODE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add(), self.add(resources=DEVICE)]

    @property
    def address(self):
        return self._cluster.address

    def add(self, num_cpus=1, **options):
        return self._cluster.add_node(num_cpus=num_cpus, **options)

    def lose(self, node):
        self._cluster.remove_node(node, allow_graceful=False)

    def lose_head(self):
        self._cluster.head_node.kill_gcs_server()
        self._cluster.head_node.kill_raylet()

    def close(self):
        self._cluster.shutdown()


def own_workers(function="evaluate"):
    """Processes of Ray's on this machine that run a job of a search right now."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if f"ray::{function}" in " ".join(process.info["cmdline"] or ()):
            found.append(process)
    return found
