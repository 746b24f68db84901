"""Times one TFLite file in a process of its own and prints the figures as one line of JSON.

It imports nothing of this project (only the standard library, NumPy and one TFLite runtime), so that the Python of
another virtual environment can run it: `python _host_timer.py --runtime=litert --threads=1 model.tflite`.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
import time

MOST_TURN_SECONDS, LEAST_TURNS = 0.03, 6


def time_runs(run, warmup_seconds, min_seconds, max_seconds, tolerance):
    """Calls `run()` again and again until the median is stable, and returns the milliseconds of each call.

    The median is stable once the medians of the first, second and last third of the calls agree within `tolerance`. At
    least 30 calls are made.

    Args:
        run: the function to time.
        warmup_seconds: for how long it is called before any call counts.
        min_seconds: for how long it is called at least.
        max_seconds: after which time it is called no more, stable or not.
        tolerance: fraction of the smallest of the three medians.

    Returns:
        A list of float, without the warm-up.
    """
    _warm_up(run, warmup_seconds)
    milliseconds, begin, next_look = [], time.perf_counter(), min_seconds
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        milliseconds.append((now - start) * 1e3)
        elapsed = now - begin
        if elapsed < next_look and elapsed < max_seconds:
            continue
        if len(milliseconds) >= 30 and (elapsed >= max_seconds or _spread(milliseconds) <= tolerance):
            return milliseconds
        next_look = elapsed + 0.1


def _warm_up(run, seconds):
    end = time.perf_counter() + seconds
    run()
    while time.perf_counter() < end:
        run()


def time_in_turns(run, beside, min_seconds, max_seconds, tolerance):
    """Calls `run()` and `beside()` in turns, some of each at a time, until their ratio is stable.

    What slows the machine down slows both, so that the ratio of their medians stays. The first call of a turn, whose
    data the other has driven out of the caches, does not count.

    Args:
        run: the function to time.
        beside: another one, of a duration that is known.
        min_seconds, max_seconds, tolerance: as of `time_runs`; the thirds are those of the turns.

    Returns:
        `(milliseconds, milliseconds of beside, ratios)`: lists of float, the last with a ratio for each turn.
    """
    ours, theirs, ratios = [], [], []
    seconds = min(MOST_TURN_SECONDS, min_seconds / (2 * LEAST_TURNS))
    begin, next_look = time.perf_counter(), min_seconds
    while True:
        medians = []
        for function, found in ((run, ours), (beside, theirs)):
            turn = _turn(function, seconds)
            found += turn
            medians.append(_quantile(turn, 0.5))
        ratios.append(medians[0] / medians[1])
        elapsed = time.perf_counter() - begin
        if elapsed < next_look and elapsed < max_seconds:
            continue
        is_enough = len(ours) >= 30 and len(ratios) >= LEAST_TURNS
        if is_enough and (elapsed >= max_seconds or _spread(ratios) <= tolerance):
            return ours, theirs, ratios
        next_look = elapsed + 0.1


def _turn(function, seconds):
    """Returns the milliseconds of calls for some seconds, three at least; one before them does not count."""
    function()
    milliseconds, begin = [], time.perf_counter()
    while True:
        start = time.perf_counter()
        function()
        now = time.perf_counter()
        milliseconds.append((now - start) * 1e3)
        if len(milliseconds) >= 3 and now - begin >= seconds:
            return milliseconds


def _spread(milliseconds):
    """float: how far the medians of the first, second and last third lie apart, as a fraction of the smallest."""
    third = len(milliseconds) // 3
    medians = [_quantile(milliseconds[i * third : (i + 1) * third], 0.5) for i in range(3)]
    return (max(medians) - min(medians)) / min(medians)


def _quantile(values, fraction):
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def _pin(threads, kind):
    """Keeps this process on `threads` cores and returns them; returns None where the system cannot do that.

    They are the last of the cores that the process may use already, if these are enough.

    Args:
        threads: how many cores.
        kind: the cores to choose from; empty: all.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = os.sched_getaffinity(0)
    if kind:
        cores &= set(kind)
    if len(cores) < threads:
        os.sched_setaffinity(0, kind or range(os.cpu_count()))
        cores = os.sched_getaffinity(0)
    cores = sorted(cores)[-threads:]
    os.sched_setaffinity(0, cores)
    return cores


def _load_runtime(name):
    """Returns a function that makes a TFLite file ready, `ready(path, threads)`, and the runtime's version."""
    import functools
    import importlib.metadata

    if name == "tflite_runtime":
        from tflite_runtime.interpreter import Interpreter

        version = "tflite-runtime " + importlib.metadata.version("tflite-runtime")
        return functools.partial(_ready, Interpreter), version
    if name == "compiled_model":
        from ai_edge_litert.compiled_model import CompiledModel

        ready, kind = functools.partial(_ready_compiled, CompiledModel), ", CompiledModel"
    else:
        from ai_edge_litert.interpreter import Interpreter

        ready, kind = functools.partial(_ready, Interpreter), ""
    return ready, f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}{kind}"


def _numbers(text):
    return [int(number) for number in text.split(",")]


def _ready(interpreter_class, path, threads):
    """Returns a function that runs a TFLite file once, on random inputs, and how many nodes the network has."""
    interpreter = interpreter_class(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], _random(detail["shape"], detail["dtype"]))
    return interpreter.invoke, _num_nodes(interpreter)


def _num_nodes(interpreter):
    """int: the network's operators, without the nodes that stand for a delegate's; None where the runtime is mute."""
    if not hasattr(interpreter, "_get_ops_details"):
        return None
    return sum(each["op_name"] != "DELEGATE" for each in interpreter._get_ops_details())


def _ready_compiled(compiled_model_class, path, threads):
    """As `_ready`, by LiteRT's CompiledModel, which newer apps use."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.options import CpuOptions, Options

    model = compiled_model_class.from_file(path, options=Options(cpu_options=CpuOptions(num_threads=threads)))
    signature = next(iter(model.get_signature_list()))
    inputs, outputs = {}, {}
    for name, detail in model.get_input_tensor_details(signature).items():
        inputs[name] = model.create_input_buffer_by_name(signature, name)
        inputs[name].write(_random(detail["shape"], detail["dtype"]))
    for name in model.get_output_tensor_details(signature):
        outputs[name] = model.create_output_buffer_by_name(signature, name)
    return lambda: model.run_by_name(signature, inputs, outputs), _num_nodes(Interpreter(model_path=path))


def _random(shape, dtype):
    import numpy as np

    rng = np.random.default_rng(0)
    is_float = np.issubdtype(dtype, np.floating)
    return (rng.uniform(-1, 1, shape) if is_float else rng.integers(0, 127, shape)).astype(dtype)


def main():
    """Times the file that the command line names, or prints the runtime's version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="without one, only the runtime's version is printed")
    parser.add_argument("--beside", help="a file whose latency is known, timed in turns with the model")
    parser.add_argument("--runtime", choices=("litert", "compiled_model", "tflite_runtime"), default="litert")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cores", type=_numbers, default=[], help="cores to choose from, such as 0,1,2; default: all")
    # `nas_tf.devices.host.Config` has the defaults that count.
    parser.add_argument("--warmup_seconds", type=float, default=0.0)
    parser.add_argument("--min_seconds", type=float, default=0.0)
    parser.add_argument("--max_seconds", type=float, default=0.0)
    parser.add_argument("--tolerance", type=float, default=0.01)
    args = parser.parse_args()

    if sys.platform == "linux":  # nobody reads what it says once its parent is gone, and the network may never end
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    ready, version = _load_runtime(args.runtime)
    figures = {"runtime": version, "python": sys.version.split()[0]}
    if args.model is None:
        print(json.dumps(figures))
        return
    cores = _pin(args.threads, args.cores)
    run, figures["nodes"] = ready(args.model, args.threads)
    if args.beside:
        _warm_up(run, args.warmup_seconds)
        beside, _ = ready(args.beside, args.threads)
        milliseconds, theirs, ratios = time_in_turns(run, beside, args.min_seconds, args.max_seconds, args.tolerance)
        spread = _spread(ratios)
        figures |= {"ratio": _quantile(ratios, 0.5), "beside_ms": _quantile(theirs, 0.5)}
    else:
        milliseconds = time_runs(run, args.warmup_seconds, args.min_seconds, args.max_seconds, args.tolerance)
        spread = _spread(milliseconds)
    mean = sum(milliseconds) / len(milliseconds)
    figures |= {
        "runs": len(milliseconds),
        "median_ms": _quantile(milliseconds, 0.5),
        "mean_ms": mean,
        "p95_ms": _quantile(milliseconds, 0.95),
        "std_ms": (sum((value - mean) ** 2 for value in milliseconds) / len(milliseconds)) ** 0.5,
        "stable": spread <= args.tolerance,
        "spread": spread,
        "cores": cores,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
