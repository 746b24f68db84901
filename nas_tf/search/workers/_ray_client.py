"""The process that speaks with a Ray cluster for a search, over a pipe.

Ray ends the process of its driver when the head of the cluster is gone, takes its signals, and prints: so the search
itself is in another one.
"""

import contextlib
import dataclasses
import math
import multiprocessing.connection
import os
import socket
import time
import traceback
import uuid

from nas_tf import stopping
from nas_tf.search.workers import Outcome
from nas_tf.search.workers._ray_files import Parcel, pack, stamp_of
from nas_tf.trial import EvaluationError, KilledWorker, UserError

DEVICE = "nas_device"  # the custom resource of the node on which the device hangs
_CONNECT_SECONDS = 5.0
_HEAD_SECONDS = 2.0  # between two looks at whether the head is there
_HEAD_GONE_SECONDS = 5.0
_NODE_GONE_SECONDS = 30.0
_PATIENCE_SECONDS = 300.0  # for which no node has what a job needs
_LOOK_SECONDS = 0.3
_HEAR_SECONDS = 0.5  # between two looks at what jobs say
_CRASHES, _MOST_LATE = 3, 2  # after which a job is tried no more
_CALLS = 16  # of a process of Ray's, before it is replaced: TensorFlow keeps memory with every network
_PACKAGES = ("mobile-nas-tf", "keras", "tensorflow", "ray")


@dataclasses.dataclass(frozen=True)
class Options:
    """What a client is told at its start, as `nas_tf.search.workers.ray.Config` has it, and more.

    Attributes:
        address: HOST:PORT of the cluster's head, `auto`, or empty: a cluster of this machine alone is begun.
        cpus_per_child, gpus_per_child: shares of a child.
        ship_mb: files that are shipped to nodes which do not see them, at most.
        num_workers: how many children at once; 0: as many as there is room for.
        setup: the `nas_tf.search.evaluation.Setup`, or None if only functions are called.
        on_cluster: whether the device of the setup hangs on a node.
        seen: paths that every node has to see.
    """

    address: str
    cpus_per_child: float
    gpus_per_child: float
    ship_mb: int
    num_workers: int
    setup: object = None
    on_cluster: bool = False
    seen: tuple[str, ...] = ()


@dataclasses.dataclass
class _Task:
    """A job that is on the cluster."""

    key: object
    job: object
    deadline_seconds: float | None
    since: float | None = None  # it runs; None: it waits
    held_since: float | None = None  # it stands still while a network is timed beside it
    node: str = ""
    machine: str = ""
    pid: int = 0
    lost: int = 0
    late: bool = False  # it was ended for that
    num_late: int = 0


def serve(number, parent):
    """A client's life: options first, then what the search asks for, until the pipe closes."""
    stopping.follow(parent)
    connection, client = multiprocessing.connection.Connection(number), None
    with contextlib.suppress(EOFError, OSError):  # the search is gone
        try:
            client = _Client(connection, connection.recv())
            connection.send(("ready", client.facts))
            client.run()
        except (UserError, EvaluationError) as error:
            connection.send(("refused", error))
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:
            traceback.print_exc()
            failure = EvaluationError(f"Ray failed: {type(error).__name__}: {_line(error)}")
            with contextlib.suppress(AttributeError):
                failure = client.head_gone() or failure
            connection.send(("refused", failure))
    os._exit(0)  # what Ray does at the end of its driver may wait for a head that is gone


class _Client:
    def __init__(self, connection, options):
        self._connection, self._options = connection, options
        _check_address(options.address)
        if not options.address:
            os.environ.setdefault("RAY_worker_niceness", "0")  # as that of worker processes
        try:
            import ray
        except ModuleNotFoundError as error:
            raise UserError(
                f"Expected Ray for --workers=ray: pip install 'mobile-nas-tf[ray]'. There is no {error.name}"
            ) from error

        self._ray = ray
        self._connect()
        self._check_nodes()
        self._check_room()
        self._parcels(options.seen, ship_mb=0)
        node = ray.get_runtime_context().get_node_id()
        from nas_tf.search.workers import _ray_nodes

        self._nodes = _ray_nodes
        self._board = self._pinned(ray.remote(num_cpus=0)(_ray_nodes.Board), node).remote()
        self._device = None
        shares = {"num_cpus": options.cpus_per_child, "num_gpus": options.gpus_per_child}
        how = {**shares, "max_retries": 0, "max_calls": _CALLS}
        self._evaluate = ray.remote(**how)(_ray_nodes.evaluate)
        self._call = ray.remote(**how)(_ray_nodes.call)
        self._tasks, self._asked, self._luggage = {}, {}, None  # by reference
        self._numbers, self._count, self._killing = {}, 0, []
        self._head_at = self._begun_at = self._hear_at = time.monotonic()

    def run(self):
        ready = []
        while True:
            # What ends is mostly followed by what is to be begun.
            waited = [*self._tasks, *self._asked]
            while self._connection.poll(_LOOK_SECONDS if ready or not waited else 0):
                message = self._connection.recv()
                getattr(self, f"_{message[0]}")(*message[1:])
                waited = [*self._tasks, *self._asked]
            ready = self._ray.wait(waited, timeout=_LOOK_SECONDS)[0] if waited else []
            self._hear()
            for each in ready:
                self._end_of(each)
            self._look()

    # What the search asks for.

    def _submit(self, key, job, deadline_seconds):
        self._begin(_Task(key, job, deadline_seconds))

    def _use(self, setup):
        """Takes the setup of the jobs to come; the device stays the one that has been asked."""
        self._options, self._luggage = dataclasses.replace(self._options, setup=setup), None

    def _drop(self):
        for reference, task in list(self._tasks.items()):
            if task.since is None:
                self._ray.cancel(reference, force=True)
                self._forget(reference)
        self._connection.send(("left", [task.key for task in self._tasks.values()]))

    def _ask(self, number, method, arguments):
        """Asks the device."""
        self._asked[getattr(self._device_actor(), method).remote(*arguments)] = number

    # What comes of it.

    def _begin(self, task):
        self._count += 1
        luggage = self._packed()
        if isinstance(task.job, tuple):
            function, *arguments = task.job
            reference = self._call.remote(luggage, function, arguments, self._count, self._board)
        else:
            reference = self._evaluate.remote(luggage, task.key, task.job, self._count, self._board)
        task.since, task.held_since, task.late = None, None, False
        self._tasks[reference], self._numbers[self._count] = task, reference

    def _forget(self, reference):
        task = self._tasks.pop(reference)
        self._numbers = {number: each for number, each in self._numbers.items() if each != reference}
        return task

    def _hear(self):
        """Passes on what jobs say."""
        if not self._tasks or time.monotonic() < self._hear_at:
            return
        self._hear_at = time.monotonic() + _HEAR_SECONDS
        for kind, number, words in self._ray.get(self._board.take.remote()):
            if kind in ("hold", "go_on"):
                self._hold(kind, *words)
                continue
            task = self._tasks.get(self._numbers.get(number))
            if task is None:
                continue
            if kind == "begun":
                task.since, (task.node, task.machine, task.pid) = time.monotonic(), words
            else:
                self._connection.send(("doing", task.key, words))

    def _hold(self, kind, machine, pids):
        """Stops the clocks of those that stand still on the device's machine, and lets them go on."""
        for task in self._tasks.values():
            if task.since is None or task.machine != machine or task.pid not in pids:
                continue
            if kind == "hold":
                task.held_since = time.monotonic()
            elif task.held_since is not None:
                task.since += time.monotonic() - task.held_since
                task.held_since = None

    def _end_of(self, reference):
        if reference in self._asked:
            number = self._asked.pop(reference)
            self._connection.send(("answer", number, self._answer(reference)))
            return
        if reference not in self._tasks:
            return
        task = self._forget(reference)
        errors = self._ray.exceptions
        try:
            outcome = self._ray.get(reference)
        except errors.RayTaskError as error:  # it could not even begin
            outcome = Outcome(task.key, failure=_cause(error))
        except errors.RayError as error:
            self._check_head()
            # The end of a node is not the network's fault.
            task.lost += type(error).__name__ not in ("NodeDiedError", "LocalRayletDiedError")
            task.num_late += task.late
            if task.lost < _CRASHES and task.num_late < _MOST_LATE:
                return self._begin(task)
            words = f"taking longer than {task.deadline_seconds:.0f} s" if task.late else _lost_by(error)
            failure = KilledWorker(f"The network cost its worker {task.lost} times, at last by {words}")
            outcome = Outcome(task.key, failure=failure)
        if isinstance(task.job, tuple) and not isinstance(outcome, Outcome):
            outcome = Outcome(task.key, *outcome)
        self._connection.send(("outcome", outcome))

    def _answer(self, reference):
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._check_head()
            return None, EvaluationError(f"The node of the device does not answer: {type(error).__name__}")

    def _look(self):
        """Ends jobs that are late, and this process if the head or the room for children is gone."""
        now = time.monotonic()
        for task in self._tasks.values():
            runs = task.since is not None and task.held_since is None
            late = runs and task.deadline_seconds and now - task.since > task.deadline_seconds
            if late and not task.late:
                task.late = True
                kill = self._ray.remote(num_cpus=0)(self._nodes.kill)
                self._killing.append(self._pinned(kill, task.node).remote(task.pid))
        if now - self._head_at > _HEAD_SECONDS:
            self._head_at = now
            self._check_head()
            if any(task.since is not None for task in self._tasks.values()) or not self._tasks:
                self._begun_at = now
            elif now - self._begun_at > _PATIENCE_SECONDS and self._room() < 1:
                raise UserError(
                    f"No node has had the {self._needs()} of a child for {_PATIENCE_SECONDS:.0f} s. Add nodes and give "
                    "the same command again"
                )

    # The cluster.

    def _connect(self):
        options = self._options
        how = {"log_to_driver": True, "logging_level": "ERROR", "namespace": f"nas_tf_{uuid.uuid4().hex}"}
        try:
            if options.address:
                self._ray.init(options.address, **how)
            else:
                num_cpus = None
                if options.num_workers:
                    num_cpus = max(options.num_workers * options.cpus_per_child, 1)
                self._ray.init("local", num_cpus=num_cpus, resources={DEVICE: 1}, include_dashboard=False, **how)
        except Exception as error:
            where = f"--ray_address={options.address}" if options.address else "a cluster of this machine"
            words = _line(error)
            if "AuthToken" in str(error) or "uthentication" in str(error):
                words = "It asks for a token: give it the head's in ~/.ray/auth_token, and export RAY_AUTH_MODE=token"
            raise UserError(f"Expected to join {where} with Ray {self._ray.__version__}. {words}") from error
        self._head = self._ray.get_runtime_context().gcs_address

    def _check_head(self):
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
        return [node for node in self._ray.nodes() if node["Alive"]]

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
        remote = self._ray.remote(num_cpus=0, max_retries=2)(_by_value(function))
        nodes = self._alive()
        references = [self._pinned(remote, node["NodeID"]).remote(*arguments) for node in nodes]
        for node, reference in zip(nodes, references):
            try:
                yield node, self._ray.get(reference, timeout=120)
            except self._ray.exceptions.RayError as error:
                if self._is_gone(node):
                    continue
                raise UserError(
                    f"Expected node {node['NodeManagerAddress']} to run a function. {type(error).__name__}: "
                    f"{_line(_cause(error))}"
                ) from error

    def _is_gone(self, node):
        """Returns whether a node is found to be dead within the time that the cluster may take to find that."""
        end = time.monotonic() + _NODE_GONE_SECONDS
        while time.monotonic() < end:
            if node["NodeID"] not in {each["NodeID"] for each in self._alive()}:
                return True
            time.sleep(0.5)
        return False

    def _pinned(self, remote, node_id):
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        return remote.options(scheduling_strategy=strategy)

    def _needs(self):
        gpus = f" and {self._options.gpus_per_child:g} GPUs" if self._options.gpus_per_child else ""
        return f"{self._options.cpus_per_child:g} CPUs{gpus}"

    def _room(self):
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
        room, asked = self._room(), self._options.num_workers
        if room < max(1, asked):
            raise UserError(
                f"Expected room for {max(1, asked)} children, each with {self._needs()}. The nodes have room for "
                f"{room}. Give fewer --num_workers, smaller --ray_cpus_per_child or --ray_gpus_per_child, or add nodes"
            )
        options = self._options
        if options.on_cluster and not any(node["Resources"].get(DEVICE) for node in self._alive()):
            raise UserError(
                f"Expected a node on which the device of --device={options.setup.device.name} hangs. No node has the "
                f"resource {DEVICE}: begin that node with ray start ... --resources='{{\"{DEVICE}\": 1}}'"
            )
        self.facts = {"num_workers": asked or room, "num_nodes": len(self._alive())}

    # Files.

    def _packed(self):
        """Returns a reference to the `Luggage` of jobs: what they need is packed when the first one begins."""
        if self._luggage is None:
            options = self._options
            parcels = self._parcels(options.setup.paths() if options.setup else [])
            device = self._device_actor() if options.on_cluster else None
            name = uuid.uuid4().hex
            luggage = self._nodes.Luggage(name, options.setup, parcels, options.cpus_per_child, device)
            self._luggage = self._ray.put(luggage)
        return self._luggage

    def _parcels(self, paths, ship_mb=None):
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
            pack(path, self._ray.put) if path in missing else Parcel(path, stamp) for path, stamp in stamps.items()
        )

    def _device_actor(self):
        if self._device is None:
            setup = self._options.setup
            parcels = self._parcels(setup.device_paths())
            host = self._ray.remote(num_cpus=0, resources={DEVICE: 1}, max_restarts=-1, max_concurrency=9)
            self._device = host(self._nodes.DeviceHost).remote(setup, parcels, self._board)
        return self._device


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


def _cause(error):
    return getattr(error, "cause", None) or error


def _lost_by(error):
    return {
        "WorkerCrashedError": "its process's end",
        "OutOfMemoryError": "the memory of its node",
        "NodeDiedError": "its node's end",
    }.get(type(error).__name__, type(error).__name__)


def _line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
