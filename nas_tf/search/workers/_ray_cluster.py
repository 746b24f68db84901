"""A Ray cluster as a search finds it: who is in it, what fits in it, and which files its nodes see."""

import dataclasses
import math
import os
import socket
import time
import uuid

from nas_tf.search.workers._ray_files import Parcel, pack, stamp_of
from nas_tf.trial import EvaluationError, UserError

DEVICE = "nas_device"  # the custom resource of the node on which the device hangs
_CONNECT_SECONDS = 5.0
_HEAD_GONE_SECONDS = 5.0
_NODE_GONE_SECONDS = 30.0
_PACKAGES = ("mobile-nas-tf", "keras", "tensorflow", "ray")


@dataclasses.dataclass(frozen=True)
class Options:
    """What a client is told at its start, as `nas_tf.search.workers.ray.Config` has it, and more.

    Attributes:
        address: HOST:PORT of the cluster's head, `auto`, or empty: a cluster of this machine alone is begun.
        cpus_per_child, gpus_per_child: shares of a child.
        tries: processes that a network may cost.
        ship_mb: files that are shipped to nodes which do not see them, at most.
        num_workers: how many children at once; 0: as many as there is room for.
        setup: the `nas_tf.search.evaluation.Setup`, or None if only functions are called.
        on_cluster: whether the device of the setup hangs on a node.
        seen: paths that every node has to see.
    """

    address: str
    cpus_per_child: float
    gpus_per_child: float
    tries: int
    ship_mb: int
    num_workers: int
    setup: object = None
    on_cluster: bool = False
    seen: tuple[str, ...] = ()


class Cluster:
    """A cluster that this process has joined, or has begun on this machine. It refuses what cannot work there.

    Attributes:
        ray: the module.
        num_workers: how many children it is to train at once.

    Raises:
        UserError: nobody is at the address, nodes have other versions, or lack what is asked for.
    """

    def __init__(self, options):
        self._options = options
        _check_address(options.address)
        if not options.address:
            os.environ.setdefault("RAY_worker_niceness", "0")  # as that of worker processes
        try:
            import ray
        except ModuleNotFoundError as error:
            raise UserError(
                f"Expected Ray for --workers=ray: pip install 'mobile-nas-tf[ray]'. There is no {error.name}"
            ) from error
        self.ray = ray
        self._connect()
        self._check_nodes()
        self.num_workers = self._check_room()
        self.parcels(options.seen, ship_mb=0)

    def _connect(self):
        options = self._options
        how = {"log_to_driver": True, "logging_level": "ERROR", "namespace": f"nas_tf_{uuid.uuid4().hex}"}
        try:
            if options.address:
                self.ray.init(options.address, **how)
            else:
                self.ray.init("local", resources={DEVICE: 1}, include_dashboard=False, **how)
        except Exception as error:
            where = f"--ray_address={options.address}" if options.address else "a cluster of this machine"
            words = line_of(error)
            if "AuthToken" in str(error) or "uthentication" in str(error):
                words = "It asks for a token: give it the head's in ~/.ray/auth_token, and export RAY_AUTH_MODE=token"
            raise UserError(f"Expected to join {where} with Ray {self.ray.__version__}. {words}") from error
        self._head = self.ray.get_runtime_context().gcs_address

    def check_head(self):
        """Raises `EvaluationError` if the head of the cluster does not answer."""
        gone = self.head_gone()
        if gone:
            raise gone

    def head_gone(self):
        """Returns the `EvaluationError` that says so if the head of the cluster does not answer, or None."""
        host, _, port = self._head.rpartition(":")
        end = time.monotonic() + _HEAD_GONE_SECONDS
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
                return None
            except OSError as error:
                if time.monotonic() > end:
                    return EvaluationError(f"The head of the Ray cluster, {self._head}, does not answer: {error}")
                time.sleep(0.5)

    def _alive(self):
        return [node for node in self.ray.nodes() if node["Alive"]]

    def _check_nodes(self):
        """Raises `UserError` unless every node has the versions that this machine has."""
        own = _versions(_PACKAGES)
        for node, found in self._everywhere(_versions, _PACKAGES):
            wrong = {name: (own[name], found.get(name)) for name in own if own[name] != found.get(name)}
            if wrong:
                name, (ours, theirs) = next(iter(wrong.items()))
                raise UserError(
                    f"Expected {name} {ours} on every node, as it is where the search runs. Received: node "
                    f"{node['NodeManagerAddress']}, which has {theirs or 'none'}. Install the same there"
                )

    def _everywhere(self, function, *arguments):
        """Yields `(node, value)` of a function, which no module has to be installed for, of each node."""
        remote = self.ray.remote(num_cpus=0, max_retries=2)(_by_value(function))
        nodes = self._alive()
        references = [self.pinned(remote, node["NodeID"]).remote(*arguments) for node in nodes]
        for node, reference in zip(nodes, references):
            try:
                yield node, self.ray.get(reference, timeout=120)
            except self.ray.exceptions.RayError as error:
                if self._is_gone(node):
                    continue
                raise UserError(
                    f"Expected node {node['NodeManagerAddress']} to run a function. {type(error).__name__}: "
                    f"{line_of(cause(error))}"
                ) from error

    def _is_gone(self, node):
        """Returns whether a node is found to be dead within the time that the cluster may take to find that."""
        end = time.monotonic() + _NODE_GONE_SECONDS
        while time.monotonic() < end:
            if node["NodeID"] not in {each["NodeID"] for each in self._alive()}:
                return True
            time.sleep(0.5)
        return False

    def pinned(self, remote, node_id):
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        return remote.options(scheduling_strategy=strategy)

    def needs(self):
        gpus = f" and {self._options.gpus_per_child:g} GPUs" if self._options.gpus_per_child else ""
        return f"{self._options.cpus_per_child:g} CPUs{gpus}"

    def room(self):
        """Returns how many children the nodes have room for at once."""
        options = self._options
        count = 0
        for node in self._alive():
            has = node["Resources"]
            rooms = [
                math.inf if not need else math.floor(has.get(name, 0) / need + 1e-6)
                for name, need in (("CPU", options.cpus_per_child), ("GPU", options.gpus_per_child))
            ]
            count += min(rooms)
        return int(count)

    def _check_room(self):
        """Returns how many children there are to be at once, or raises `UserError` if there is no room for them."""
        room, asked = self.room(), self._options.num_workers
        if room < max(1, asked):
            raise UserError(
                f"Expected room for {max(1, asked)} children, each with {self.needs()}. The nodes have room for "
                f"{room}. Give fewer --num_workers, smaller --ray_cpus_per_child or --ray_gpus_per_child, or add nodes"
            )
        options = self._options
        if options.on_cluster and not any(node["Resources"].get(DEVICE) for node in self._alive()):
            raise UserError(
                f"Expected a node on which the device of --device={options.setup.device.name} hangs. No node has the "
                f"resource {DEVICE}: begin that node with ray start ... --resources='{{\"{DEVICE}\": 1}}'"
            )
        return asked or room

    def parcels(self, paths, ship_mb=None):
        """Returns a tuple of the `Parcel`s of some paths. Those that every node sees are not shipped."""
        ship_mb = self._options.ship_mb if ship_mb is None else ship_mb
        stamps, missing = {path: stamp_of(path) for path in paths}, {}
        if not stamps:
            return ()
        for node, seen in self._everywhere(_stamps_of, list(stamps)):
            for path in stamps:
                if seen[path] != stamps[path]:
                    missing.setdefault(path, node["NodeManagerAddress"])
        shipped_mb = sum(stamps[path][1] for path in missing) / 1e6
        if missing and shipped_mb > ship_mb:
            path, node = max(missing.items(), key=lambda each: stamps[each[0]][1])
            ship = f", or give --ray_ship_mb={math.ceil(shipped_mb)} to ship that much to each node" if ship_mb else ""
            raise UserError(
                f"Expected every node to see {path}, {stamps[path][1] / 1e6:.0f} MB. Node {node} does not. Lay it "
                f"where all see it{ship}"
            )
        return tuple(
            pack(path, self.ray.put) if path in missing else Parcel(path, stamp) for path, stamp in stamps.items()
        )


def _check_address(address):
    """Raises `UserError` if an address is none, or nobody is there."""
    if address in ("", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise UserError(
            f"Expected --ray_address=HOST:PORT of the head of a Ray cluster, or auto. Received: {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Expected the head of a Ray cluster at --ray_address={address}. Nobody answers there: {error}"
        ) from error


def _versions(packages):
    """Returns a dict of the versions of Python and of some packages, here."""
    import importlib.metadata
    import platform

    found = {"Python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _stamps_of(paths):
    from nas_tf.search.workers._ray_files import stamp_of

    return {path: stamp_of(path) for path in paths}


def _by_value(function):
    """Returns a function that is sent as it is, and not by the name of its module, which a node may lack."""
    import types

    return types.FunctionType(function.__code__, {"__builtins__": __builtins__, "__name__": "__main__"})


def cause(error):
    return getattr(error, "cause", None) or error


def line_of(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
