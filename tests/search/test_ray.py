"""Searches on a cluster of three nodes, and what may befall them."""

import dataclasses
import math
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import psutil
import pytest
from support import ROOT
from worker_support import BadJob, make_setup

pytest.importorskip("ray")
from search.ray_support import DEVICE, ThreeNodes, own_workers

from nas_tf.devices import android
from nas_tf.search.evaluation import AccuracyJob, CostJob
from nas_tf.search.workers import _ray_client, _ray_files, ray
from nas_tf.search.workers.inline import InlineWorkers
from nas_tf.trial import Cost, EvaluationError, KilledWorker, UserError


@pytest.fixture(scope="module")
def cluster():
    found = ThreeNodes()
    yield found
    found.close()


@pytest.fixture
def on_cluster(cluster, tmp_path):
    made = []

    def make(setup, num_workers=0, **config):
        config = ray.Config(cluster.address, **config)
        made.append(ray.make(config, setup, num_workers=num_workers, log_path=tmp_path / "workers.log"))
        return made[-1]

    yield make
    for workers in made:
        workers.close()


def outcomes(workers, seconds=120):
    found, end = {}, time.monotonic() + seconds
    while workers.num_pending and time.monotonic() < end:
        outcome = workers.wait(1)
        if outcome:
            found[outcome.key] = outcome
    return found


def test_a_cluster_finds_what_one_process_finds(plain_space, on_cluster):
    setup, workers = make_setup(plain_space), on_cluster(make_setup(plain_space))
    jobs = {"accuracy": AccuracyJob((1, 0, 1)), "cost": CostJob((1, 0, 1))}
    said = []
    workers.on_doing = lambda key, words: said.append((key, words))
    assert workers.num_workers == 2
    here = InlineWorkers(setup)
    for key, job in jobs.items():
        workers.submit(key, job)
        here.submit(key, job)
    found, expected = outcomes(workers), outcomes(here)
    assert found["cost"].value == expected["cost"].value
    assert found["accuracy"].value.accuracy == expected["accuracy"].value.accuracy
    assert all(each.worker.startswith("ray-") and each.seconds > 0 for each in found.values())
    assert {key for key, words in said if words} == set(jobs) and said[-1][1] == ""


def stormy(*values):
    """Test parameters, of which the first runs always and the others in a storm."""
    first, *others = values
    return [first, *(pytest.param(each, marks=pytest.mark.storm) for each in others)]


@pytest.mark.parametrize("how", stormy("kill stop", "crash spin", "leave stop"))
def test_what_befalls_a_job_befalls_no_other(plain_space, on_cluster, tmp_path, how):
    """A process that dies costs a try, and three of them the job; so do a deadline and want of memory."""
    dies, hangs = how.split()
    workers = on_cluster(make_setup(plain_space))
    workers.submit("dies once", BadJob(dies, str(tmp_path)))
    workers.submit("dies", BadJob("kill"))
    workers.submit("hangs", BadJob(hangs), deadline_seconds=2)
    workers.submit("takes all memory", BadJob("take_all_memory"))
    workers.submit("well", BadJob("nap"), deadline_seconds=60)
    found = outcomes(workers)
    assert found["dies once"].value == found["well"].value == "well"
    assert isinstance(found["dies"].failure, KilledWorker)
    assert "3 times, at last by its process's end" in str(found["dies"].failure)
    assert isinstance(found["hangs"].failure, KilledWorker)
    assert "taking longer than 2 s" in str(found["hangs"].failure)
    assert isinstance(found["takes all memory"].failure, (KilledWorker, EvaluationError))


@pytest.mark.storm
def test_a_child_that_takes_its_nodes_memory_is_alone_in_that(plain_space, tmp_path):
    """Ray ends it before the machine is out of memory. A child that began later goes on, or begins anew.

    Both are on one node: others of this machine would each end a process too, as they all see the same memory.
    """
    share = (psutil.virtual_memory().percent + 8) / 100
    watched = {"RAY_memory_usage_threshold": str(share), "RAY_memory_monitor_refresh_ms": "100"}
    cluster = ThreeNodes()
    try:
        for node in cluster.nodes:
            cluster.lose(node)
        cluster.add(num_cpus=2, env_vars=watched)
        time.sleep(3)
        workers = ray.make(ray.Config(cluster.address), make_setup(plain_space), log_path=tmp_path / "workers.log")
        workers.submit("grows", BadJob("grow"))
        workers.wait(3)
        workers.submit("well", BadJob("long_nap"))
        found = outcomes(workers)
        workers.close()
    finally:
        cluster.close()
    assert found["well"].value == "well"
    assert isinstance(found["grows"].failure, KilledWorker)
    assert "at last by the memory of its node" in str(found["grows"].failure)


def test_a_lost_node_costs_no_trial(plain_space, cluster, on_cluster):
    workers = on_cluster(make_setup(plain_space))
    for number in range(4):
        workers.submit(number, BadJob("nap"))
    extra = cluster.nodes[0]
    time.sleep(1)
    cluster.lose(extra)
    cluster.nodes[0] = cluster.add()
    assert {key: each.value for key, each in outcomes(workers).items()} == dict.fromkeys(range(4), "well")


@pytest.mark.storm
def test_queued_jobs_can_be_dropped(plain_space, on_cluster):
    workers = on_cluster(make_setup(plain_space))
    for number in range(6):
        workers.submit(number, BadJob("nap"))
    workers.drop_queue()
    found = outcomes(workers)
    assert len(found) <= 4 and not workers.num_pending


def test_the_device_is_on_its_node(plain_space, cluster, on_cluster, tmp_path):
    """It is described, and times, where it hangs; a training beside it on that machine stands still meanwhile."""
    settings = {"min_seconds": 1.5, "max_seconds": 1.5, "max_spread": 10.0, "retry_spread": 10.0}
    setup = make_setup(plain_space, device="host", epochs=80, **settings)
    config = ray.Config(cluster.address)
    device = ray.make_device(config, setup, log_path=tmp_path / "workers.log")
    device.check()
    assert device.describe()["device"] == setup.make_device().describe()["device"]
    workers = on_cluster(setup)
    workers.submit("training", AccuracyJob((2, 1, 2)))
    workers.submit("timing", CostJob((0, 0, 0)))
    states = []

    def watch():
        while workers.num_pending:
            states.extend(process.status() for process in own_workers() if process.is_running())
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    found = outcomes(workers)
    thread.join()
    assert isinstance(found["timing"].value, Cost) and found["timing"].value.latency.latency_ms > 0
    assert found["training"].failure is None and states.count("stopped") > 5


def test_the_clock_of_a_job_stands_still_with_it():
    """That of one which is held while a network is timed on its machine, and of no other."""
    client, begin = _ray_client._Client.__new__(_ray_client._Client), time.monotonic()
    tasks = [_ray_client._Task(n, None, 5.0, since=begin, machine="a" if n else "b", pid=7 + n // 2) for n in range(3)]
    client._tasks = dict(enumerate(tasks))
    client._hold("hold", "a", [7])
    assert [task.held_since is not None for task in tasks] == [False, True, False]
    time.sleep(0.2)
    client._hold("go_on", "a", [7])
    assert [task.since - begin >= 0.2 for task in tasks] == [False, True, False] and tasks[1].held_since is None


_TWO_JOBS = """
import fcntl, os, pathlib, sys, threading
from nas_tf.search.workers import _ray_nodes as nodes

folder = pathlib.Path(sys.argv[1])
nodes.machine_folder = lambda: folder
with nodes._slot(1):
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    first = os.sched_getaffinity(0)
other = open(folder / "slots" / "0.pid", "a")
fcntl.flock(other, fcntl.LOCK_EX)
with nodes._slot(1):
    second = os.sched_getaffinity(0)
    print(len(first), len(second), first != second, os.sched_getaffinity(thread.native_id) == second)
"""


@pytest.mark.skipif(os.cpu_count() < 2, reason="there is one core")
def test_threads_of_an_earlier_job_move_with_the_next(tmp_path):
    """Or two trainings would share a core, and others would be idle."""
    words = [sys.executable, "-c", _TWO_JOBS, str(tmp_path)]
    process = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stdout.split() == ["1", "1", "True", "True"], process.stderr


@pytest.mark.storm
def test_the_node_of_the_device_is_lost(plain_space, cluster, on_cluster):
    """The network is not blamed for it; once the device hangs on a node again it is timed there."""
    setup = make_setup(plain_space, device="host", min_seconds=60.0, max_seconds=60.0, max_spread=10.0, attempts=1)
    workers = on_cluster(setup)
    said = []
    workers.on_doing = lambda key, words: said.append(words)
    workers.submit("timing", CostJob((0, 0, 0)))
    end = time.monotonic() + 60
    while "timing" not in said and time.monotonic() < end:
        assert workers.wait(1) is None
    cluster.lose(cluster.nodes.pop(1))
    failure = outcomes(workers)["timing"].failure
    assert isinstance(failure, EvaluationError) and "The node of the device does not answer" in str(failure)
    cluster.nodes.append(cluster.add(resources=DEVICE))
    setup = make_setup(plain_space, device="host", max_seconds=0.5, max_spread=10.0, retry_spread=10.0)
    again = on_cluster(setup)
    again.submit("timing", CostJob((0, 0, 0)))
    assert outcomes(again)["timing"].value.latency.latency_ms > 0


def _stay(number):
    begin = time.time()
    time.sleep(0.5)
    return begin, time.time()


def test_calls_on_a_cluster(cluster, tmp_path):
    """As `nas_tf.recycling.Processes` makes them, for tables and races."""
    config, log_path = ray.Config(cluster.address), tmp_path / "workers.log"
    calls = ray.make_calls(config, num_workers=1, seen=(tmp_path,), log_path=log_path)
    wanted = {"well": (math.sqrt, 4.0), "badly": (math.sqrt, -1.0), "one": (_stay, 1), "other": (_stay, 2)}
    found = {key: (value, type(failure)) for key, value, failure in calls.run(wanted)}
    calls.close()
    one, other = (found.pop(key)[0] for key in ("one", "other"))
    assert other[0] >= one[1], "more than one at once"
    assert found == {"well": (2.0, type(None)), "badly": (None, ValueError)}


@pytest.mark.parametrize("package", stormy("keras", "ray"))
def test_nodes_with_other_versions_are_refused(plain_space, cluster, on_cluster, tmp_path, package):
    """The node finds the version that is installed first on its path."""
    folder = tmp_path / f"{package.replace('-', '_')}-0.0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.1\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    node = cluster.add(env_vars={"PYTHONPATH": path})
    try:
        said = refusal(on_cluster, make_setup(plain_space))
        assert f"Expected {package} " in said and "which has 0.0.1. Install the same there" in said
    finally:
        cluster.lose(node)


@pytest.mark.storm
def test_a_device_that_hangs_on_no_node_is_refused(plain_space, cluster, on_cluster):
    cluster.lose(cluster.nodes.pop(1))
    time.sleep(1)
    try:
        said = refusal(on_cluster, make_setup(plain_space, device="host"))
    finally:
        cluster.nodes.append(cluster.add(resources=DEVICE))
    assert "No node has the resource nas_device: begin that node with ray start" in said


def test_a_phone_that_hangs_elsewhere_is_not_asked_here(plain_space, monkeypatch):
    """The command's own machine may have neither the phone nor adb."""
    monkeypatch.setattr(android, "Adb", None)
    setup = make_setup(plain_space, device="android")
    assert setup.has_meter and str(plain_space) in setup.device_paths()
    assert not make_setup(plain_space).has_meter


def test_what_nodes_do_not_see_is_shipped_once(tmp_path):
    folder = tmp_path / "images"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.jpg").write_bytes(b"meow" * 1000)
    table, blocks = tmp_path / "table.json", tmp_path / "table.blocks"
    table.write_text("{}")
    blocks.mkdir()
    (blocks / "w.npy").write_bytes(b"12")
    store, fetched = [], []

    def put(block):
        store.append(block)
        return len(store) - 1

    def get(number):
        fetched.append(number)
        return store[number]

    parcels = [_ray_files.pack(path, put) for path in (folder, table)]
    assert [_ray_files.unpacked(each, get) for each in parcels] == [str(folder), str(table)] and not fetched
    shutil.rmtree(folder)
    table.unlink()
    places = [pathlib.Path(_ray_files.unpacked(each, get)) for each in parcels * 2]
    assert (places[0] / "cat" / "1.jpg").read_bytes() == b"meow" * 1000 and places[2] == places[0]
    assert places[1].read_text() == "{}" and (places[1].with_suffix(".blocks") / "w.npy").read_bytes() == b"12"
    assert fetched == [0, 1]
    unshipped = dataclasses.replace(parcels[0], digest="", slices=())
    with pytest.raises(UserError, match="on every node, as it is where the search runs"):
        _ray_files.unpacked(unshipped, get)
    shutil.rmtree(places[0].parent)
    store[0] = store[0][:-1] + b"!"
    with pytest.raises(UserError, match="is damaged"):
        _ray_files.unpacked(parcels[0], get)


def test_images_that_nodes_cannot_see_are_refused_or_shipped(plain_space, on_cluster, tmp_path, monkeypatch):
    """A path through the folder in which a process runs is seen by those alone that run there."""
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "weights.npy").write_bytes(b"1" * 3_000_000)
    monkeypatch.chdir(tmp_path)
    setup = dataclasses.replace(make_setup(plain_space), judge_folder="/proc/self/cwd/judge")
    workers = on_cluster(dataclasses.replace(setup, judge_folder="judge"))  # it is not where nodes work
    workers.submit(1, BadJob("judge_folder"))
    assert outcomes(workers)[1].value == str(tmp_path / "judge")
    workers = on_cluster(setup, ship_mb=1)
    workers.submit(1, BadJob("well"))
    with pytest.raises(UserError, match=r"Expected every node to see /proc/self/cwd/judge, 3 MB.*--ray_ship_mb=3"):
        outcomes(workers)
    workers = on_cluster(setup)
    workers.submit(1, BadJob("judge_folder"))
    folder = pathlib.Path(outcomes(workers)[1].value)
    assert folder != tmp_path / "judge" and (folder / "weights.npy").read_bytes() == b"1" * 3_000_000


def refusal(on_cluster, setup, **options):
    with pytest.raises(UserError) as refused:
        on_cluster(setup, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_more_workers_than_room_are_refused(plain_space, on_cluster):
    said = refusal(on_cluster, make_setup(plain_space), num_workers=9)
    assert "Expected room for 9 children, each with 1 CPUs. The nodes have room for 2." in said
    said = refusal(on_cluster, make_setup(plain_space), gpus_per_child=0.5)
    assert "Expected room for 1 children, each with 1 CPUs and 0.5 GPUs. The nodes have room for 0." in said


def test_more_workers_than_this_machine_has_cores_are_refused(plain_space, tmp_path):
    with pytest.raises(UserError, match=r"Expected room for 999 children.*The nodes have room for \d+\."):
        ray.make(ray.Config(), make_setup(plain_space), num_workers=999, log_path=tmp_path / "workers.log")


@pytest.mark.parametrize(
    "address, words",
    (
        ("127.0.0.1:9", "Nobody answers there"),
        ("nowhere", "Expected --ray_address=HOST:PORT"),
        ("ray://127.0.0.1:10001", "Expected --ray_address=HOST:PORT"),
        ("no.such.host.invalid:6379", "Nobody answers there"),
    ),
)
def test_addresses_where_no_cluster_is(plain_space, tmp_path, address, words):
    begin = time.monotonic()
    with pytest.raises(UserError, match=words):
        ray.make(ray.Config(address), make_setup(plain_space), log_path=tmp_path / "workers.log")
    assert time.monotonic() - begin < 60


def test_a_search_that_ends_leaves_nothing(plain_space, on_cluster):
    workers = on_cluster(make_setup(plain_space))
    workers.submit(1, BadJob("sleep"))
    end = time.monotonic() + 60
    while not own_workers() and time.monotonic() < end:
        workers.wait(0.5)
    assert own_workers()
    workers.close()
    while own_workers() and time.monotonic() < end:
        time.sleep(0.2)
    assert not own_workers()


def test_the_head_is_lost_last(plain_space, cluster, on_cluster):
    """After all other tests: the cluster is lost with it."""
    workers = on_cluster(make_setup(plain_space))
    workers.submit(1, BadJob("sleep"))
    assert workers.wait(1) is None
    cluster.lose_head()
    # On a busy machine Ray ends its own process on this node before the head is asked.
    with pytest.raises(
        EvaluationError, match=r"head of the Ray cluster, .*, does not answer|at the head of its cluster"
    ):
        outcomes(workers)
