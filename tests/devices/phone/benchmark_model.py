"""Stand-in for TFLite's `benchmark_model`: its flags and its output, with the figures of real runs on this machine.

With PHONE_TOOL=litert it is LiteRT's tool of that name, of `benchmark_litert.py`.

It follows the tool as of 2025 (`tflite/tools/benchmark`): what TFLITE_LOG prints goes to stdout for INFO and WARN and
to stderr for ERROR; the runtime's own lines go to stderr. Not from the tool: there is no GPU and no NNAPI here, so
with `--use_gpu` the lines are the delegate's while the CPU computes, and operators are not profiled.
"""

import hashlib
import json
import math
import os
import resource
import sys
import time

BOOLEANS = (
    "use_xnnpack",
    "use_gpu",
    "use_nnapi",
    "enable_op_profiling",
    "report_peak_memory_footprint",
    "verbose",
    "allow_fp16",
    "require_full_delegation",
)
DEFAULTS = {
    "graph": "",
    "num_runs": 50,
    "min_secs": 1.0,
    "max_secs": 150.0,
    "num_threads": -1,
    "warmup_runs": 1,
    "warmup_min_secs": 0.5,
    **dict.fromkeys(BOOLEANS, False),
}
PARAMETERS = [  # as the tool logs those that were given, in its order
    ("num_runs", "Min num runs"),
    ("min_secs", "Min runs duration (seconds)"),
    ("max_secs", "Max runs duration (seconds)"),
    ("num_threads", "Num threads"),
    ("warmup_runs", "Min warmup runs"),
    ("warmup_min_secs", "Min warmup runs duration (seconds)"),
    ("report_peak_memory_footprint", "Report the peak memory footprint"),
    ("graph", "Graph"),
    ("signature", "Signature to run"),
    ("allow_fp16", "Allow fp16"),
    ("require_full_delegation", "Require full delegation"),
    ("enable_op_profiling", "Enable op profiling"),
    ("num_threads", "#threads used for CPU inference"),
    ("use_gpu", "Use gpu"),
    ("use_nnapi", "Use NNAPI"),
    ("use_xnnpack", "Use xnnpack"),
]


class Failed(Exception):
    """The tool's way to end with exit status 1."""


def info(text, severity="INFO"):
    print(f"{severity}: {text}", flush=True, file=sys.stderr if severity == "ERROR" else sys.stdout)


def runtime(text, severity="INFO"):
    print(f"{severity}: {text}", flush=True, file=sys.stderr)


def number(value):
    """As C++ prints it: six digits, and 0 or 1 for a bool."""
    return str(int(value)) if isinstance(value, (bool, int)) else value if isinstance(value, str) else f"{value:g}"


def usage(defaults):
    """As `tflite/tools/command_line_flags.cc` prints it."""
    kinds = {bool: "bool", int: "int32", float: "float", str: "string"}
    columns = [f"--{name}={number(value)}" for name, value in defaults.items()]
    width = max(map(len, columns))
    lines = [
        f"\t{column:<{width}}\t{kinds[type(value)]}\toptional\t{name.replace('_', ' ')}"
        for column, (name, value) in zip(columns, defaults.items())
    ]
    return "\n".join([f"usage: {sys.argv[1]} <flags>", "Flags:", *lines, ""])


def parse(arguments, defaults):
    """The flags with their defaults, and those that were given; raises Failed for a value of the wrong type."""
    given, unknown, wrong = {}, [], False
    if arguments[:1] == ["--help"]:
        info(usage(defaults), "ERROR")
        raise Failed
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or name not in defaults or name in given:
            unknown.append(argument)
            continue
        try:
            kind = type(defaults[name])
            given[name] = {"true": True, "1": True, "false": False, "0": False}[text] if kind is bool else kind(text)
        except (KeyError, ValueError):
            info(f"Failed to parse flag '{name}' against argv '{argument}'", "ERROR")
            wrong = True
    if wrong:
        info(usage(defaults), "ERROR")
        raise Failed
    if unknown:
        info(f"Unconsumed cmdline flags: {' '.join(unknown)}", "WARN")
    if not given.get("graph"):
        info("Please specify the name of your TF Lite input file with --graph", "ERROR")
        raise Failed
    return {**defaults, **given}, given


def log_parameters(given):
    info(f"Log parameter values verbosely: [{number(given.get('verbose', False))}]")
    shown = {**given, "signature": ""}
    for name, label in PARAMETERS:
        if name in shown:
            info(f"{label}: [{number(shown[name])}]")


def replaced_nodes(operators):
    """How many operators the delegate nodes among `operators` stand for: those between their inputs and outputs."""
    producers = {tensor: op for op in operators if op["op_name"] != "DELEGATE" for tensor in op["outputs"]}
    replaced = set()
    for delegate in (op for op in operators if op["op_name"] == "DELEGATE"):
        tensors, seen = [*delegate["outputs"]], {*delegate["inputs"]}
        while tensors:
            tensor = tensors.pop()
            if tensor not in seen and tensor in producers:
                replaced.add(producers[tensor]["index"])
                tensors.extend(producers[tensor]["inputs"])
            seen.add(tensor)
    return len(replaced)


def apply_gpu(takes, total):
    """The GPU delegate's lines, where the phone's GPU takes `all`, `part` or `none` of `total` operators."""
    runtime("Created TensorFlow Lite delegate for GPU.")
    info("GPU delegate created.")
    if takes == "none":
        runtime("Can not open OpenCL library on this device - undefined symbol: clGetCommandBufferInfoKHR", "ERROR")
        runtime("TfLiteGpuDelegate Init: No EGL display", "ERROR")
        info("Failed to apply GPU delegate.", "ERROR")
        raise Failed
    nodes = total if takes == "all" else max(1, total // 2)
    runtime("Loaded OpenCL library with dlopen.")
    runtime(
        f"Replacing {nodes} out of {total} node(s) with delegate (TfLiteGpuDelegateV2) node, yielding "
        f"{1 if takes == 'all' else 2} partitions for subgraph 0.",
        "VERBOSE",
    )
    runtime("Initialized OpenCL-based API.")
    runtime("Created 1 GPU delegate kernels.")
    how = (
        "completely executed by the delegate."
        if takes == "all"
        else ("partially executed by the delegate w/ 1 delegate kernels.")
    )
    info(f"Explicitly applied GPU delegate, and the model graph will be {how}")


def load(flags, given):
    """The interpreter of the model, ready to run, with the lines of the delegates on it."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    threads = flags["num_threads"] if flags["num_threads"] >= 1 else None
    # As in the tool: XNNPACK takes what no other delegate took, unless --use_xnnpack was given as false.
    gpu = os.environ.get("PHONE_GPU", "all") if flags["use_gpu"] else "none"
    plain = gpu == "all" or (not flags["use_xnnpack"] and "use_xnnpack" in given)
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    try:
        interpreter = Interpreter(flags["graph"], num_threads=threads, experimental_op_resolver_type=resolver)
    except ValueError as error:
        for line in str(error).replace(".The model", ".\nThe model").strip().splitlines():
            runtime(line, "ERROR")
        info(f"Failed to load model {flags['graph']}", "ERROR")
        raise Failed from None
    info(f"Loaded model {flags['graph']}")
    runtime("Initialized TensorFlow Lite runtime.")
    if flags["use_gpu"]:
        apply_gpu(gpu, len([op for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]))
    if flags["use_nnapi"]:
        info("NNAPI delegate created.")
        info("Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.")
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    delegates = [op for op in operators if op["op_name"] == "DELEGATE"]
    total, taken = len(operators) - len(delegates), replaced_nodes(operators)
    if delegates:
        left = total - taken
        partitions = len(delegates) + (1 if left else 0)
        runtime(
            f"Replacing {taken} out of {total} node(s) with delegate (TfLiteXNNPackDelegate) node, yielding "
            f"{partitions} partitions for subgraph 0.",
            "VERBOSE",
        )
        if flags["use_xnnpack"]:
            how = (
                f"partially executed by the delegate w/ {len(delegates)} delegate kernels."
                if left
                else ("completely executed by the delegate.")
            )
            info("XNNPACK delegate created.")
            info(f"Explicitly applied XNNPACK delegate, and the model graph will be {how}")
    return interpreter


def statistics(times_us):
    """The tool's line for a list of whole microseconds; the standard deviation is that of the population."""
    count, mean = len(times_us), sum(times_us) / len(times_us)
    ordered = sorted(times_us)
    if ordered[0] == ordered[-1]:
        line = f"count={count} curr={times_us[-1]}" + ("(all same)" if count > 1 else "")
    else:
        deviation = int(math.sqrt(max(0.0, sum(t * t for t in times_us) / count - mean * mean)))
        line = (
            f"count={count} first={times_us[0]} curr={times_us[-1]} min={ordered[0]} max={ordered[-1]} "
            f"avg={mean:g} std={deviation}"
        )
    percentiles = {name: ordered[count * percent // 100] for name, percent in (("p5", 5), ("median", 50), ("p95", 95))}
    return line + "".join(f" {name}={value}" for name, value in percentiles.items())


def measure(invoke, runs, min_secs, max_secs):
    """Calls `invoke()` as often as the tool would; the list of times in whole microseconds."""
    info(
        f"Running benchmark for at least {runs} iterations and at least {min_secs:g} seconds but terminate if "
        f"exceeding {max_secs:g} seconds."
    )
    times_us, start = [], time.monotonic_ns() // 1000
    now = start
    while (len(times_us) < runs or now < start + min_secs * 1e6) and now <= start + max_secs * 1e6:
        begin = time.monotonic_ns() // 1000
        for _ in range(int(os.environ.get("PHONE_SLOWER", 1))):
            invoke()
        times_us.append(time.monotonic_ns() // 1000 - begin)
        now = time.monotonic_ns() // 1000
    info(statistics(times_us) + "\n")
    return times_us


def memory_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def benchmark(arguments):
    import numpy as np

    info("STARTING!")
    flags, given = parse(arguments, DEFAULTS)
    log_parameters(given)
    import ai_edge_litert.interpreter  # noqa: F401 - the tool's library is in memory before its clock starts

    start_kb, start = memory_kb(), time.monotonic_ns()
    interpreter = load(flags, given)
    init_us, init_kb = (time.monotonic_ns() - start) // 1000, memory_kb() - start_kb
    info(f"The input model file size (MB): {os.path.getsize(flags['graph']) / 1e6:g}")
    info(f"Initialized session in {init_us / 1e3:g}ms.")
    for tensor in interpreter.get_input_details():
        values = np.random.default_rng(0).uniform(-0.5, 0.5, tensor["shape"])
        interpreter.set_tensor(tensor["index"], values.astype(tensor["dtype"]))
    warmup_us = measure(interpreter.invoke, flags["warmup_runs"], flags["warmup_min_secs"], flags["max_secs"])
    times_us = measure(interpreter.invoke, flags["num_runs"], flags["min_secs"], flags["max_secs"])
    warmup_mean, mean = sum(warmup_us) / len(warmup_us), sum(times_us) / len(times_us)
    info(
        f"Inference timings in us: Init: {init_us}, First inference: {warmup_us[0]}, Warmup (avg): {warmup_mean:g}, "
        f"Inference (avg): {mean:g}"
    )
    info(
        "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual "
        "memory footprint of the model at runtime. Take the information at your discretion."
    )
    init, overall = init_kb / 1024, (memory_kb() - start_kb) / 1024
    info(f"Memory footprint delta from the start of the tool (MB): init={init:g} overall={overall:g}")
    if flags["report_peak_memory_footprint"]:
        info(f"Overall peak memory footprint (MB) via periodic monitoring: {memory_kb() / 1024:g}")


def keep_record(argv):
    """Notes what is run, for the phone's journal, before anything can go wrong."""
    record = os.environ.get("PHONE_RECORD")
    if not record or argv[1:2] == ["--help"]:
        return
    graph = next((a.removeprefix("--graph=") for a in argv if a.startswith("--graph=")), "")
    digest = hashlib.sha256(open(graph, "rb").read()).hexdigest() if os.path.isfile(graph) else None  # noqa: SIM115
    path = f"{record}-{time.time_ns()}.json"
    with open(path + ".new", "w") as file:
        mask = os.environ.get("PHONE_TASKSET_MASK")
        json.dump({"argv": argv, "model_sha256": digest, "mask": mask, "pid": os.getpid()}, file)
    os.rename(path + ".new", path)


def main(argv):
    keep_record(argv)
    logs = os.environ.get("PHONE_LOGS", "split")
    if logs == "stdout":
        os.dup2(1, 2)
    elif logs == "stderr":
        os.dup2(2, 1)
    tool = os.environ.get("PHONE_TOOL")
    while tool == "endless" and argv[1:2] != ["--help"]:  # a tool with a defect
        info("count=")
    try:
        if tool == "litert":
            import benchmark_litert

            benchmark_litert.benchmark(argv[1:])
        else:
            benchmark(argv[1:])
    except Failed:
        info("Benchmarking failed.", "ERROR")
        return 1
    return 0


if __name__ == "__main__":
    import benchmark_model  # under the name by which benchmark_litert knows it

    sys.exit(benchmark_model.main(sys.argv[1:]))
