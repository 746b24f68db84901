"""Latency tables: what they refuse, how they add up, and one that is built on this machine."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from phone.client import wait_until
from support import ROOT, assert_one_line, script
from weightless import without_weights

from mnas_tf.spaces import mnasnet
from nas_tf import recycling
from nas_tf.datasets import Source
from nas_tf.devices import table
from nas_tf.devices.table import Composer, LatencyTable
from nas_tf.judges import Task
from nas_tf.latency_tables import builder, composition
from nas_tf.plugins import Part
from nas_tf.ranks import rank_correlation
from nas_tf.recycling import Processes
from nas_tf.search.evaluation import Evaluator, Setup
from nas_tf.trial import EvaluationError, UserError
from nasnet_tf.spaces import nasnet


def random_networks(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return [space.decode(tuple(int(rng.integers(each)) for each in space.num_choices)) for _ in range(count)]


SCALES = {
    "mnasnet": (mnasnet.SPACE, mnasnet.Scale(image_size=96, num_classes=10)),
    "wide": (mnasnet.MnasNetSpace(base="mnasnet_a1", kernel_sizes=(3, 7)), mnasnet.Scale(64, 10, 1.4)),
    "nasnet": (nasnet.SPACE, nasnet.Scale(image_size=64, num_classes=10, cells=2, filters=16)),
    "cifar": (nasnet.NASNetSpace(blocks=3), nasnet.Scale(32, 10, cells=1, filters=8, stem="cifar")),
    "large": (nasnet.SPACE, nasnet.Scale(65, 10, 2, 16, skip_reduction_input=True)),
}


@pytest.mark.parametrize("name", SCALES)
def test_units_of_every_network_are_among_all_units(name):
    space, scale = SCALES[name]
    units = space.all_units(scale)
    names = [unit.name for unit in units]
    assert len(set(names)) == len(names)
    for network in random_networks(space, 200):
        for group in space.unit_groups(network, scale):
            assert {unit.name for unit in space.units(group, scale)} <= set(names)


@pytest.mark.parametrize("name", SCALES)
def test_units_make_up_the_network(name):
    """Multiply-adds and parameters of the units add up to those of the whole network: none is missing or too many."""
    from nas_tf import complexity

    space, scale = SCALES[name]
    for network in random_networks(space, 2, seed=1):
        with without_weights():
            whole = space.build(network, scale)
        counted = {}
        for group in space.unit_groups(network, scale):
            for unit, count in space.units(group, scale).items():
                counted[unit] = counted.get(unit, 0) + count
        with without_weights():
            built = {unit: unit.build() for unit in counted if not unit.costs_nothing}
        for figure in (complexity.mult_adds, complexity.num_params):
            assert sum(counted[unit] * figure(model) for unit, model in built.items()) == figure(whole)


def make(path, units=None, space="mnasnet", scale=None, intercept_ms=1.0, device=None):
    names = units or {unit.name: 0.5 for unit in mnasnet.SPACE.all_units(SCALES["mnasnet"][1])}
    scale = scale or {"image_size": 96, "num_classes": 10, "width_multiplier": 1.0}
    LatencyTable(space, scale, device or {"device": "host"}, intercept_ms, names).write(path)
    return str(path)


def estimator(path, scale=None, space=mnasnet.SPACE):
    return table.make(table.Config(file=str(path)), space, scale or SCALES["mnasnet"][1])


def test_a_latency_is_the_intercept_and_the_sum_of_the_units(tmp_path):
    device = estimator(make(tmp_path / "table.json"))
    device.check()
    network = mnasnet.MnasNet.parse(
        "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r3_k5_s22_e3_i24_o32_se0.25_pool r4_k3_s22_e6_i32_o64 "
        "r3_k3_s11_e6_i64_o96 r3_k3_s22_e6_i96_o160 r1_k3_s11_e6_i160_o320_noskip"
    )
    # 17 layers; skips: 1 + 2 + 3 + 2 + 2 = 10 (the first of three pools has other filters); stem, head, classifier.
    assert device.estimate([network]) == [pytest.approx(1.0 + 0.5 * (17 + 10 + 3))]
    assert device.knows(network) and not device.knows(mnasnet.MnasNet.parse("r1_k3_s11_e1_i8_o8"))


def test_tables_that_do_not_fit_are_refused(tmp_path):
    path = make(tmp_path / "table.json")
    for scale, words in (
        (mnasnet.Scale(64, 10), "image_size=64"),
        (mnasnet.Scale(96, 5), "num_classes=5"),
        (mnasnet.Scale(96, 10, 0.5), "width_multiplier=0.5"),
    ):
        with pytest.raises(UserError, match=f"Expected a latency table for {words}, as networks ship here"):
            estimator(path, scale).check()
    with pytest.raises(UserError, match=r"for space 'nasnet'\. Received: one for 'mnasnet'"):
        estimator(path, *reversed(SCALES["nasnet"])).check()
    with pytest.raises(UserError, match=r"lacks \d+ units of search space 'mnasnet' as it is set here"):
        estimator(path, space=mnasnet.MnasNetSpace(kernel_sizes=(3, 5, 7))).check()


@pytest.mark.parametrize(
    "change,words",
    [
        ({"version": 2}, "Expected a latency table of version 1. Received: .* of version 2"),
        ({"units": {"x": None}}, "expected a finite number for 'x'. Received: None"),
        ({"intercept_ms": float("nan")}, "table.json': it holds NaN. Expected finite numbers"),
        ({"units": []}, "expected units to be an object"),
        ({"number_type": "int7"}, "expected number_type, one of float32, .*Received: 'int7'"),
        ({"scale": None}, "expected scale to be an object"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, change, words):
    path = tmp_path / "table.json"
    make(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=words):
        estimator(path).check()


def test_files_that_are_no_tables_are_refused(tmp_path):
    for text in ("", "[]", '{"version": 1}'):
        (tmp_path / "no.json").write_text(text)
        with pytest.raises(UserError, match="Expected a latency table"):
            estimator(tmp_path / "no.json").check()
    with pytest.raises(UserError, match=r"or a shipped table: pixel1\. Received: 'pixel9'"):
        estimator("pixel9").check()
    with pytest.raises(UserError, match="Expected --table, "):
        estimator("").check()


def test_a_sum_that_is_no_latency_is_an_error(tmp_path):
    device = estimator(make(tmp_path / "table.json", intercept_ms=-1000.0))
    with pytest.raises(EvaluationError, match="which is no latency"):
        device.estimate(random_networks(mnasnet.SPACE, 1))


def test_errors_of_predictions_by_hand():
    found = composition.compare([1.0, 2.0, 3.3], [[1.0, 1.1, 0.9], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
    assert found["mean_absolute_percentage_error"] == pytest.approx(10 / 3)
    assert found["share_within_5_percent"] == pytest.approx(2 / 3) and found["rank_correlation"] == pytest.approx(1)
    assert found["worst"] == 2 and found["worst_percentage_error"] == pytest.approx(10)
    # |1.1/1 - 1|, |0.9/1 - 1| and |0.9/1.1 - 1| for the first network, 0 for the others, over nine pairs.
    assert found["repeatability_percent"] == pytest.approx(100 * (0.1 + 0.1 + 2 / 11) / 9)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)  # scipy 1.17


def test_predictions_are_kept_by_part(tmp_path):
    space, scale = SCALES["nasnet"]
    names = {unit.name: 0.01 * i for i, unit in enumerate(space.all_units(scale))}
    path = make(tmp_path / "nasnet.json", names, "nasnet", space.latency_scale(scale))
    composer = Composer(LatencyTable.read(path), space, scale)
    for network in random_networks(space, 20):
        counts = {}
        for group in space.unit_groups(network, scale):
            for unit, count in space.units(group, scale).items():
                counts[unit.name] = counts.get(unit.name, 0) + count
        expected = 1.0 + sum(names[name] * count for name, count in counts.items())
        assert composer.latency_ms(network) == pytest.approx(expected)


@pytest.fixture
def plan():
    """Of a space of one block and two operations of NASNet, converted in one process at a time."""
    space = Part("nasnet_tf.spaces", "nasnet", {"blocks": 1, "operations": ("identity", "conv_1x1")})
    scale = nasnet.Scale(16, 10, 1, 4, "cifar")
    return builder.TablePlan(space, scale, Part("nas_tf.devices", "host"), builder.Thoroughness(num_workers=1))


def jobs_of(plan, count):
    units = [unit.name for unit in plan.space.space.all_units(plan.scale) if not unit.costs_nothing]
    return [("unit", name) for name in units[:count]]


@pytest.mark.real
def test_units_are_converted_in_processes_that_are_recycled(plan, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(builder, "Processes", lambda count: made.append(Processes(count)) or made[-1])
    monkeypatch.setattr(recycling, "MAX_MEMORY_MB", 1)
    timings, jobs = builder._Timings(tmp_path, {}), jobs_of(plan, 2)
    builder._convert(plan, jobs, [], timings)
    assert all(timings.file(*job).stat().st_size for job in jobs)
    assert [each.num_started for each in made] == [2] and made[0].memory_mb > 100


@pytest.mark.real
def test_a_conversion_that_never_ends_ends_the_table(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(recycling, "DEADLINE_SECONDS", 0.2)
    (job,) = jobs_of(plan, 1)
    words = f"unit {job[1]} cannot be converted, so there is no table: It cost its process 2 times, .* than 0 s"
    with pytest.raises(EvaluationError, match=words):
        builder._convert(plan, [job], [], builder._Timings(tmp_path, {}))


@pytest.mark.real
def test_a_table_is_built_here_resumed_and_searched_with(tmp_path):
    """For a space so small that its units are timed in seconds: one block and two operations of NASNet."""
    out = tmp_path / "table.json"
    command = [
        "nas-table",
        "--search_space=nasnet",
        "--nasnet_blocks=1",
        "--nasnet_operations=identity,conv_1x1",
        "--deploy_stem=cifar",
        "--deploy_image_size=16",
        "--deploy_cells=1",
        "--deploy_filters=4",
        "--num_classes=10",
        f"--out={out}",
        "--num_calibration=10",
        "--num_validation=2",
        "--passes=2",
        "--num_workers=1",
        "--host_min_seconds=0.02",
        "--host_max_seconds=0.05",
        "--host_warmup_seconds=0.01",
        "--host_max_spread=10",
        "--host_retry_spread=10",
    ]
    process = script(*command)
    assert process.returncode == 0, process.stderr[-3000:]
    for words in ("mean absolute percentage error", "rank correlation", "within 5 %", "repeatability of the device"):
        assert words in process.stdout
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    made = json.loads(out.read_text())
    assert made["version"] == 1 and made["device"]["device"] == "host" and len(made["validation"]["networks"]) == 2

    # Once more after a kill: the timings that are there are kept, to the last digit.
    timings = tmp_path / "table.timings" / "timings.jsonl"
    lines = timings.read_text().splitlines()
    timings.write_text("\n".join(lines[:-2]) + "\n" + lines[-2][:20])
    assert_one_line(script(*command), 2, "exists already")
    out.rename(tmp_path / "other.json")
    again = script(*command)
    assert again.returncode == 0, again.stderr[-3000:]
    assert f"{len(lines) - 2} of {len(lines)} timings are there" in again.stdout
    assert timings.read_text().splitlines()[: len(lines) - 2] == lines[:-2]
    assert len(timings.read_text().splitlines()) == len(lines)
    out.unlink()
    assert_one_line(script(*command, "--seed=1"), 2, "was begun with other settings", "networks=", "seed=1 (was 0)")

    space = Part("nasnet_tf.spaces", "nasnet", {"blocks": 1, "operations": ("identity", "conv_1x1")})
    scale = nasnet.Scale(16, 10, 1, 4, "cifar")
    task = Task(
        space=space,
        images=Source(Part("nas_tf.datasets", "digits"), data_dir="", seed=0),
        proxy_scale=scale,
        deploy_scale=scale,
        recipe=None,
        proxy_samples=10,
        seed=0,
        published="nasnet_tf.published",
    )
    setup = Setup(
        task=task,
        judge=Part("nas_tf.judges", "proxy"),
        device=Part("nas_tf.devices", "table", {"file": f"{tmp_path}/other.json"}),
        number_type="float32",
        judge_folder="",
    )
    device = setup.make_device()
    device.check()
    network = made["validation"]["networks"][0]
    cost = Evaluator(setup).cost(network["tokens"])
    assert cost.latency.latency_ms == pytest.approx(network["predicted_ms"])


@pytest.mark.real
def test_ctrl_c_while_units_are_converted_is_one_line_and_leaves_no_process(tmp_path):
    """The terminal sends Ctrl-C to the processes that convert, too."""
    program = "import sys; sys.argv[0] = 'nas-table'; from nas_tf.apps.scripts import table; table()"
    flags = [f"--out={tmp_path / 'table.json'}", "--num_workers=2", "--deploy_image_size=32"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    assert "units and 100 networks" in process.stdout.readline()

    def converting():
        children = psutil.Process(process.pid).children()
        return [each for each in children if "nas_tf.recycling" in " ".join(each.cmdline())]

    assert wait_until(lambda: len(converting()) == 2)
    children = psutil.Process(process.pid).children()
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begin < 5.5 and process.returncode == 130
    assert said.strip() == "nas-table: stopped. Nothing finished is lost: the same command goes on from here"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


def test_help_and_mistakes_of_nas_table(tmp_path):
    assert script("nas-table", "--help").returncode == 0
    assert_one_line(script("nas-table", "--out=x"), 2, "Expected --out, a file that ends in .json")
    for flag, words in (
        ("--search_space=nonsuch", "Expected a search space, one of"),
        ("--device=simulated", "Expected a --device that times files"),
        ("--passes=1", "Expected --passes to be at least 2. Received: 1"),
    ):
        assert_one_line(script("nas-table", f"--out={tmp_path}/x.json", flag), 2, words)
