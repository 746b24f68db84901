"""Stand-in for LiteRT 2's own `benchmark_model` (`litert/tools`): its flags, output and files, of real runs.

The network runs as a CompiledModel on this machine's CPU. Not from the tool: there is no GPU and no NPU here, so with
these the lines and the files are the delegate's while the CPU computes. Its messages are LiteRT's format strings, its
files the published protocol buffers: of `model_runtime_info.proto` by LiteRT's own classes.
"""

import os
import struct
import time

from benchmark_model import Failed, info, measure, memory_kb, number, parse, runtime

TEXTS = (
    "graph",
    "signature_to_run_for",
    "dispatch_library_path",
    "compiler_plugin_library_path",
    "gpu_backend",
    "result_file_path",
    "model_runtime_info_output_file",
)
DEFAULTS = {
    "num_runs": 50,
    "min_secs": 1.0,
    "max_secs": 150.0,
    "num_threads": -1,
    "warmup_runs": 1,
    "warmup_min_secs": 0.5,
    "verbose": False,
    "report_peak_memory_footprint": False,
    "use_cpu": True,
    "use_gpu": False,
    "use_npu": False,
    "require_full_delegation": False,
    "allow_fp16": True,
    **dict.fromkeys(TEXTS, ""),
}
PARAMETERS = [("num_runs", "Min num runs"), ("min_secs", "Min runs duration (seconds)")]
PARAMETERS += [("max_secs", "Max runs duration (seconds)"), ("num_threads", "Num threads")]
PARAMETERS += [("warmup_runs", "Min warmup runs"), ("warmup_min_secs", "Min warmup runs duration (seconds)")]


def litert(text, place="benchmark_litert_model.cc:262", severity="INFO"):
    runtime(f"[{place}] {text}", severity)


def delegates(flags, total):
    """The delegates in their order, each with how many of `total` operators it takes."""
    found, left = [], total
    takes = os.environ.get("PHONE_GPU", "all")
    for flag, name in (("use_npu", "DispatchDelegate"), ("use_gpu", "LITERT_CL")):
        if flags[flag] and takes != "none":
            nodes = total if takes == "all" else max(1, total // 2)
            found.append((name, nodes))
            left -= nodes
    if left and (flags["use_cpu"] or not flags["require_full_delegation"]):
        found.append(("TfLiteXNNPackDelegate", left))
    return found


def say_replaced(found, total):
    left = total
    for name, nodes in found:
        partitions = 1 if nodes == left else 2
        runtime(
            f"Replacing {nodes} out of {left} node(s) with delegate ({name}) node, yielding {partitions} partitions "
            "for subgraph 0.",
            "VERBOSE",
        )
        left = left - nodes + 1


def runtime_info(path, types, found):
    """Writes which operators run on which delegate: operator ids first, then a node for each delegate."""
    from ai_edge_litert import model_runtime_info_pb2

    details = model_runtime_info_pb2.ModelRuntimeDetails(model_name="model")
    subgraph = details.subgraphs.add(subgraph_id=0, subgraph_type="TFLITE_SUBGRAPH", name="main")
    start = 0
    for index, (_, nodes) in enumerate(found):
        for node in range(start, start + nodes):
            subgraph.nodes.add(id=node, type=types[node], delegated_to_node_id=len(types) + index)
        start += nodes
    for node in range(start, len(types)):
        subgraph.nodes.add(id=node, type=types[node])
    start = 0
    for index, (name, nodes) in enumerate(found):
        node = subgraph.nodes.add(id=len(types) + index, type="DELEGATE")
        node.delegate_node_details.delegate_name = name
        node.delegate_node_details.tflite_node_ids_replaced.extend(range(start, start + nodes))
        subgraph.execution_plan.append(node.id)
        start += nodes
    with open(path, "wb") as file:
        file.write(details.SerializeToString())
    litert(f"Generated model runtime info: {path}", "benchmark_litert_model.h:240")


def floats(values):
    """Optional floats of four bytes, numbered from 1."""
    return b"".join(bytes([number << 3 | 5]) + struct.pack("<f", value) for number, value in values.items())


def whole(values):
    found = b""
    for field, value in values.items():
        found += bytes([field << 3])
        while value > 127:
            found += bytes([value & 127 | 128])
            value >>= 7
        found += bytes([value])
    return found


def part(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def write_results(path, figures, warm, timed, size_mb):
    """`BenchmarkResult` of `benchmark_result.proto`, in its wire form."""
    latency = floats(dict(enumerate(figures, 1)))
    misc = floats({1: size_mb}) + whole({2: len(timed), 3: len(warm)}) + floats({4: 1.0})
    litert(f"Saving benchmark result to: {path}", "benchmark_litert_model.h:175")
    with open(path, "wb") as file:
        file.write(part(2, latency) + part(4, misc))
    litert(f"Saved benchmark result to: {path}", "benchmark_litert_model.h:180")


def compile_model(flags):
    """What runs the model once, and the types of its operators."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from ai_edge_litert.options import CpuOptions, Options

    litert(f"Loading model from: {flags['graph']}")
    litert("Creating LiteRT environment with options", "environment.cc:29")
    litert("CPU accelerator registered.", "auto_registration.cc:148")
    try:
        plain = Interpreter(
            flags["graph"], experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        types = [each["op_name"] for each in plain._get_ops_details()]
        options = Options(cpu_options=CpuOptions(num_threads=max(1, flags["num_threads"])))
        model = CompiledModel.from_file(flags["graph"], options=options)
    except Exception as error:
        for line in str(error).strip().splitlines()[:3]:
            runtime(line, "ERROR")
        litert("Failed to load model.", severity="ERROR")
        raise Failed from None
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    return lambda: model.run_by_index(0, inputs, outputs), types


def benchmark(arguments):
    info("STARTING!")
    flags, given = parse(arguments, DEFAULTS)
    info(f"Log parameter values verbosely: [{number(given.get('verbose', False))}]")
    for name, label in PARAMETERS:
        if name in given:
            info(f"{label}: [{number(given[name])}]")
    import ai_edge_litert.compiled_model  # noqa: F401 - the tool's library is in memory before its clock starts

    start_kb, start = memory_kb(), time.monotonic_ns()
    invoke, types = compile_model(flags)
    found = delegates(flags, len(types))
    say_replaced(found, len(types))
    if flags["model_runtime_info_output_file"]:
        runtime_info(flags["model_runtime_info_output_file"], types, found)
    init_us, init_kb = (time.monotonic_ns() - start) // 1000, memory_kb() - start_kb
    size_mb = os.path.getsize(flags["graph"]) / 1e6
    info(f"The input model file size (MB): {size_mb:g}")
    info(f"Initialized session in {init_us / 1e3:g}ms.")
    warm = measure(invoke, flags["warmup_runs"], flags["warmup_min_secs"], flags["max_secs"])
    timed = measure(invoke, flags["num_runs"], flags["min_secs"], flags["max_secs"])
    mean, warm_mean = sum(timed) / len(timed), sum(warm) / len(warm)
    deviation = int(max(0.0, sum(t * t for t in timed) / len(timed) - mean * mean) ** 0.5)

    def say(line, text):
        litert(text, f"benchmark_litert_model.h:{line}")

    say(93, "\n========== BENCHMARK RESULTS ==========")
    say(94, f"Model initialization: {init_us / 1e3:.2f} ms")
    say(96, f"Warmup (first):       {warm[0] / 1e3:.2f} ms")
    say(98, f"Warmup (avg):         {warm_mean / 1e3:.2f} ms ({len(warm)} runs)")
    say(100, f"Inference (avg):      {mean / 1e3:.2f} ms ({len(timed)} runs)")
    say(104, f"Inference (min):      {min(timed) / 1e3:.2f} ms")
    say(106, f"Inference (max):      {max(timed) / 1e3:.2f} ms")
    say(108, f"Inference (std):      {deviation / 1e3:.2f}")
    say(115, "Throughput:           47.97 MB/s")
    say(124, "\nMemory Usage:")
    say(126, f"Init footprint:       {init_kb / 1024:.2f} MB")
    say(128, f"Overall footprint:    {(memory_kb() - start_kb) / 1024:.2f} MB")
    say(135, "Peak memory usage not available. (peak_mem_mb <= 0)")
    say(138, "======================================\n")
    if flags["result_file_path"]:
        ordered = sorted(timed)
        ranks = [ordered[len(timed) * percent // 100] for percent in (50, 5, 95)]
        figures = [mean, ordered[0], ordered[-1], deviation, *ranks, init_us, warm[0], warm_mean]
        write_results(flags["result_file_path"], [each / 1e3 for each in figures], warm, timed, size_mb)
