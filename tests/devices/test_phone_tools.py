"""LiteRT's benchmark_model beside TFLite's: how each is asked, its files, and where the network ran."""

import json
import math
import re
import subprocess
import sys

import keras
import pytest
from logs import LITERT
from phone import Phone
from phone.meter import QUICK

from nas_tf.devices._android import adapters, results
from nas_tf.devices._android.log import BenchmarkLogError, parse_benchmark_output
from nas_tf.networks.description import NetworkDescription
from nas_tf.plugins import Part
from nas_tf.reports.files import files_table
from nas_tf.shipping.files import write_files
from nas_tf.trial import InfeasibleArchitecture, UserError, placement_in_words


def measured(meter_of, phone, small_model, **settings):
    meter = meter_of(phone, **settings)
    latency = meter.measure(small_model)
    meter.close()
    return latency


@pytest.mark.parametrize(("tool", "source"), [("tflite", "log"), ("litert", "file")])
def test_each_tool_is_asked_in_its_own_way(tmp_path, meter_of, small_model, tool, source):
    with Phone(tmp_path / "one", tool=tool) as phone:
        latency = measured(meter_of, phone, small_model)
        argv = phone.events("benchmark")[-1]["argv"]
    assert ("--use_cpu=true" in argv, "--use_xnnpack=true" in argv) == (tool == "litert", tool == "tflite")
    assert latency.details["figures_from"] == source
    assert latency.details["unconsumed"] == []
    assert latency.details["placement"] == {
        "nodes": {"cpu": 4},
        "of_nodes": 4,
        "delegates": {"TfLiteXNNPackDelegate": 4},
        "said_by": source,
    }
    assert latency.latency_ms == latency.median_ms > 0
    assert not (phone.path("/data/local/tmp/nas_tf/results.pb")).exists()  # nothing is left on the phone


@pytest.mark.parametrize(("delegate", "name"), [("gpu", "LITERT_CL"), ("npu", "DispatchDelegate")])
def test_litert_says_what_ran_on_an_accelerator(tmp_path, meter_of, small_model, delegate, name):
    with Phone(tmp_path / "one", tool="litert") as phone:
        latency = measured(meter_of, phone, small_model, delegate=delegate)
    assert latency.details["placement"]["nodes"] == {delegate: 4}
    assert latency.details["placement"]["delegates"] == {name: 4}


def test_a_silent_fall_back_to_the_cpu_is_a_refusal(tmp_path, meter_of):
    with Phone(tmp_path / "one", tool="litert", gpu="none") as phone, pytest.raises(UserError) as error:
        meter_of(phone, delegate="gpu").check()
    assert "all ran on the CPU instead, unasked" in str(error.value)


def test_a_part_on_the_accelerator_is_a_refusal_by_number(tmp_path, meter_of):
    with Phone(tmp_path / "one", tool="litert", gpu="part") as phone, pytest.raises(UserError) as error:
        meter_of(phone, delegate="gpu").check()
    assert re.search(r"gpu \d+ of \d+ nodes, cpu \d+ of \d+ nodes", str(error.value))


@pytest.mark.parametrize(("tool", "delegate"), [("litert", "nnapi"), ("tflite", "npu")])
def test_a_delegate_that_the_tool_does_not_know_is_refused(tmp_path, meter_of, tool, delegate):
    with Phone(tmp_path / "one", tool=tool) as phone, pytest.raises(UserError, match="knows the delegates cpu"):
        meter_of(phone, delegate=delegate).check()


def test_files_that_ship_are_timed_by_several_delegates(tmp_path, environment, binary):
    """The card and the table of files have them beside each other, and what the phone has not in words."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")])
    description = NetworkDescription("conv", {}, ("cat", "dog"), {}, fingerprint="abc")
    with Phone(tmp_path / "one", tool="litert") as phone:
        settings = {**QUICK, "serials": (environment.connect(phone),), "benchmark_binary": binary}
        device = Part("nas_tf.devices", "android", {**settings, "more_delegates": ("gpu", "nnapi")})
        types = ("float32", "float16")
        records = write_files(model, description, tmp_path / "net", device=device, number_types=types)
    card, table = (tmp_path / "net" / "README.md").read_text(), files_table(records)
    for text, count in ((card, 2), (table, 2)):
        assert len(re.findall(r"by gpu: [\d.e-]+ ms, gpu \d of \d nodes", text)) == count, text
        assert text.count("by nnapi: LiteRT's benchmark_model knows the delegates cpu, gpu, npu") == count
    timed = [record for record in records if record.latency]
    assert all("cpu" in record.latency.ran_on and set(record.latency.beside) == {"gpu", "nnapi"} for record in timed)


def test_libraries_are_put_beside_the_tool(tmp_path, meter_of, small_model):
    library = tmp_path / "libs" / "libLiteRtOpenClAccelerator.so"
    library.parent.mkdir()
    library.write_bytes(b"\x7fELF library")
    with Phone(tmp_path / "one", tool="litert") as phone:
        measured(meter_of, phone, small_model, delegate="gpu", library_dir=str(library.parent))
        assert phone.path(f"{adapters.LIBRARIES}/{library.name}").read_bytes() == library.read_bytes()
        assert "LD_LIBRARY_PATH=/data/local/tmp/nas_tf/lib exec" in phone.events("benchmark")[-1]["command"]
        with pytest.raises(UserError, match=r"Expected \.so files"):
            meter_of(phone, library_dir=str(tmp_path)).check()


def published(script):
    """What a script prints that has LiteRT's own classes as `pb2`; TensorFlow's of the same names forbid them here."""
    head = "from ai_edge_litert import model_runtime_info_pb2 as pb2\n"
    return subprocess.run([sys.executable, "-c", head + script], check=True, capture_output=True, text=True).stdout


def test_the_files_are_those_of_the_published_definitions():
    numbers = json.loads(
        published(
            "import json; print(json.dumps({name: {field.name: field.number for field in each.fields}"
            " for name, each in pb2.DESCRIPTOR.message_types_by_name.items()}))"
        )
    )
    for message in ("ModelRuntimeDetails", "RuntimeSubgraph", "Node", "DelegateNodeDetails"):
        for name, number, *_ in results._DEFINITIONS[message]:
            assert numbers[message][name] == number


def test_a_placement_counts_nodes_and_not_those_of_delegates():
    script = """
details = pb2.ModelRuntimeDetails()
main = details.subgraphs.add(subgraph_type="TFLITE_SUBGRAPH")
for node, delegate in enumerate((5, 5, 6, None, 5)):
    main.nodes.add(id=node, **({} if delegate is None else {"delegated_to_node_id": delegate}))
for node, name in ((5, "LITERT_CL"), (6, "TfLiteXNNPackDelegate")):
    main.nodes.add(id=node).delegate_node_details.delegate_name = name
details.subgraphs.add(subgraph_type="DELEGATE_SUBGRAPH").nodes.add(id=0)
print(details.SerializeToString().hex())
main.nodes[0].delegated_to_node_id = 9
print(details.SerializeToString().hex())
"""
    good, lost = map(bytes.fromhex, published(script).split())
    found = results.read_placement(good)
    assert found["nodes"] == {"gpu": 3, "cpu": 2}
    assert placement_in_words(found) == "gpu 3 of 5 nodes, cpu 2 of 5 nodes"
    with pytest.raises(BenchmarkLogError, match="It names 9"):
        results.read_placement(lost)
    for content in (b"\xff\xff", b""):
        with pytest.raises(BenchmarkLogError):
            results.read_placement(content)


def test_figures_that_contradict_the_log_are_refused():
    latency = parse_benchmark_output(LITERT)[0]
    good = {
        "avg_ms": 12.55,
        "min_ms": 12.3,
        "max_ms": 13.1,
        "stddev_ms": 0.12,
        "median_ms": 12.53,
        "p5_ms": 12.35,
        "p95_ms": 12.9,
        "init_ms": 5.579,
        "first_inference_ms": 15.0,
        "average_warm_up_ms": 12.6,
        "num_runs": 80,
        "num_warmup_runs": 40,
    }
    results.check_figures(good, latency)
    for name in set(good) - {"init_ms", "num_warmup_runs", "stddev_ms"}:
        for factor in (0.999, 1.001, math.nan):
            value = 79 if name == "num_runs" else good[name] * factor
            with pytest.raises(BenchmarkLogError):
                results.check_figures({**good, name: value}, latency)


def test_a_network_that_an_accelerator_takes_in_part_is_infeasible(tmp_path, meter_of, small_model):
    with Phone(tmp_path / "one", tool="litert", gpu="part") as phone:
        bench = meter_of(phone, delegate="gpu").bench
        with pytest.raises(InfeasibleArchitecture, match="gpu 2 of 4 nodes, cpu 2 of 4 nodes"):
            runner_of(bench, phone, small_model)


def runner_of(bench, phone, model):
    """Runs a network on a phone without the reference network, which this phone's GPU would refuse first."""
    bench = bench(phone.address)
    bench._prepare()
    remote = "/data/local/tmp/nas_tf/small.tflite"
    bench._adb.push(model, remote)
    return bench._runner.run(remote)
