"""The files that LiteRT's benchmark_model writes: its figures, and which nodes of the network ran on which delegate.

They are protocol buffers, `tflite.tools.benchmark.BenchmarkResult` and `tflite.profiling.ModelRuntimeDetails`. Of their
published definitions only what is read here is repeated; fields that are not known are skipped.
"""

import functools
import re

from nas_tf.devices._android._log_lines import BenchmarkLogError

MOST_BYTES = 16 << 20  # of one of these files
# What runs nodes of a network, by the name of its delegate.
_PROCESSORS = (
    ("cpu", re.compile("xnnpack", re.IGNORECASE)),
    ("nnapi", re.compile("nnapi", re.IGNORECASE)),
    ("npu", re.compile("dispatch|npu|hexagon|qnn|neuron|edgetpu|enn", re.IGNORECASE)),
    ("gpu", re.compile("gpu|opencl|opengl|metal|vulkan|ml_?drift|LITERT_(?:CL|GL)", re.IGNORECASE)),
)
_OPTIONAL, _REPEATED = 1, 3
_FLOAT, _INT64, _INT32, _STRING, _MESSAGE = 2, 3, 5, 9, 11
_LATENCIES = ["avg_ms", "min_ms", "max_ms", "stddev_ms", "median_ms", "p5_ms", "p95_ms", "init_ms"]
_LATENCIES += ["first_inference_ms", "average_warm_up_ms"]
# Message: its fields, each of name, number, kind and label; of a message also its type.
_DEFINITIONS = {
    "LatencyMetrics": [(name, number, _FLOAT, _OPTIONAL) for number, name in enumerate(_LATENCIES, 1)],
    "MemoryMetrics": [
        ("init_footprint_kb", 1, _INT64, _OPTIONAL),
        ("overall_footprint_kb", 2, _INT64, _OPTIONAL),
        ("peak_mem_mb", 3, _FLOAT, _OPTIONAL),
    ],
    "MiscMetrics": [("num_runs", 2, _INT32, _OPTIONAL), ("num_warmup_runs", 3, _INT32, _OPTIONAL)],
    "BenchmarkResult": [
        ("latency_metrics", 2, _MESSAGE, _OPTIONAL, "LatencyMetrics"),
        ("memory_metrics", 3, _MESSAGE, _OPTIONAL, "MemoryMetrics"),
        ("misc_metrics", 4, _MESSAGE, _OPTIONAL, "MiscMetrics"),
    ],
    "DelegateNodeDetails": [("delegate_name", 1, _STRING, _OPTIONAL)],
    "Node": [
        ("id", 1, _INT32, _OPTIONAL),
        ("type", 3, _STRING, _OPTIONAL),
        ("delegate_node_details", 8, _MESSAGE, _OPTIONAL, "DelegateNodeDetails"),
        ("delegated_to_node_id", 9, _INT32, _OPTIONAL),
    ],
    "RuntimeSubgraph": [
        ("subgraph_id", 1, _INT32, _OPTIONAL),
        ("nodes", 3, _MESSAGE, _REPEATED, "Node"),
        ("subgraph_type", 5, _INT32, _OPTIONAL),
    ],
    "ModelRuntimeDetails": [("subgraphs", 2, _MESSAGE, _REPEATED, "RuntimeSubgraph")],
}
_OF_A_DELEGATE = 2  # a subgraph's type: within a delegate's own runtime


@functools.lru_cache(maxsize=1)
def _messages():
    """dict from a message's name to its class."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="nas_tf_benchmark.proto", package="nas_tf", syntax="proto2")
    for message, fields in _DEFINITIONS.items():
        made = file.message_type.add(name=message)
        for name, number, kind, label, *of in fields:
            made.field.add(
                name=name, number=number, type=kind, label=label, **({"type_name": f".nas_tf.{of[0]}"} if of else {})
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"nas_tf.{name}")) for name in _DEFINITIONS
    }


def _read(name, content):
    from google.protobuf.message import DecodeError

    message = _messages()[name]()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise BenchmarkLogError(
            f"Expected a {name} in the file that benchmark_model wrote. Received: {error}"
        ) from error
    return message


def read_figures(content):
    """Returns a dict of the figures in a file of `--result_file_path`.

    Its times are in ms, under the names of `LatencyMetrics`; `num_runs` and `num_warmup_runs` are counts.

    Raises:
        BenchmarkLogError: it is damaged, or lacks one of these figures.
    """
    message, found = _read("BenchmarkResult", content), {}
    for part, fields in (("latency_metrics", "LatencyMetrics"), ("misc_metrics", "MiscMetrics")):
        values = getattr(message, part)
        for name, *_ in _DEFINITIONS[fields]:
            if not values.HasField(name):
                raise BenchmarkLogError(f"Expected {name} in the results that benchmark_model wrote. Received: none")
            found[name] = getattr(values, name)
    return found


def check_figures(found, latency):
    """Checks the figures of a run's file, as `read_figures` returns them, against what the run printed.

    The file has floats of four bytes, and of deviations and percentiles the same whole microseconds.

    Args:
        latency: `Latency` that was read from the log.

    Raises:
        BenchmarkLogError: they contradict each other.
    """
    printed = {
        "avg_ms": latency.mean_ms,
        "min_ms": latency.min_ms,
        "max_ms": latency.max_ms,
        "median_ms": latency.median_ms,
        "p5_ms": latency.p5_ms,
        "p95_ms": latency.p95_ms,
        "first_inference_ms": latency.first_inference_ms,
        "average_warm_up_ms": latency.warmup_mean_ms,
    }
    for name, value in printed.items():
        if value is not None and not abs(found[name] - value) <= 1e-5 * value + 1e-6:  # nor NaN
            raise BenchmarkLogError(f"Expected {name} to be {value:g} as printed. The results file has {found[name]:g}")
    if found["num_runs"] != latency.runs:
        raise BenchmarkLogError(
            f"Expected results of the {latency.runs} runs that were printed. The results file has {found['num_runs']}"
        )


def read_placement(content):
    """Returns the placement in a file of `--model_runtime_info_output_file`: as `placement` does.

    Raises:
        BenchmarkLogError: it is damaged, or names no node.
    """
    total, by_delegate = 0, {}
    for subgraph in _read("ModelRuntimeDetails", content).subgraphs:
        if subgraph.subgraph_type == _OF_A_DELEGATE:
            continue
        delegates = {
            node.id: node.delegate_node_details.delegate_name
            for node in subgraph.nodes
            if node.HasField("delegate_node_details")
        }
        for node in subgraph.nodes:
            if node.id in delegates:
                continue
            total += 1
            if node.HasField("delegated_to_node_id"):
                name = delegates.get(node.delegated_to_node_id)
                if name is None:
                    raise BenchmarkLogError(
                        f"Expected node {node.id} to be replaced by a delegate's. It names {node.delegated_to_node_id}"
                    )
                by_delegate[name] = by_delegate.get(name, 0) + 1
    if not total:
        raise BenchmarkLogError("Expected the nodes of the network in the file that benchmark_model wrote. It has none")
    return placement(by_delegate, total, "file")


def placement(by_delegate, total, said_by):
    """Returns where the nodes of a network ran: JSON-ready dict.

    Args:
        by_delegate: dict from a delegate's name to how many nodes it replaced.
        total: how many nodes the network has.
        said_by: "file" or "log".

    Returns:
        A dict of `nodes`, from "cpu", "gpu", "npu" or "nnapi" to a number of nodes; `of_nodes`; `delegates`, from their
        names to numbers of nodes; `said_by`. Nodes that no delegate takes run on the CPU. A delegate that is not known
        stands under its own name.
    """
    nodes = {}
    for name, count in by_delegate.items():
        where = next((each for each, pattern in _PROCESSORS if pattern.search(name)), name)
        nodes[where] = nodes.get(where, 0) + count
    if left := total - sum(nodes.values()):
        nodes["cpu"] = nodes.get("cpu", 0) + left
    return {"nodes": nodes, "of_nodes": total, "delegates": by_delegate, "said_by": said_by}


def placement_in_log(details):
    """Returns the placement that a log tells, `details` being of a `Latency` read from it; None if it tells none.

    Delegates are applied one after another, each to what those before it left, with a node for each part that one took:
    so the first one's count of nodes is the network's, and none is asked for what it replaced of those.
    """
    delegates = details["delegates"]
    if not delegates:
        return None
    by_delegate, totals = {}, {}
    for each in delegates:
        totals.setdefault(each.get("subgraph", 0), each["of_nodes"])
        by_delegate[each["name"]] = by_delegate.get(each["name"], 0) + each["nodes"]
    if None in totals.values() or sum(by_delegate.values()) > sum(totals.values()):
        return None
    total = sum(totals.values())
    return placement(by_delegate, total, "log")
