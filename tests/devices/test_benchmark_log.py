"""benchmark_model's output: logs of six versions of the tool and of LiteRT's, and every rule that a log is held to."""

import json
import pickle
import re

import pytest
from logs import LITERT, OLD, SLOW, SOURCES, TEXTS, as_logcat, figures

from nas_tf.devices._android.log import BenchmarkLogError, parse_benchmark_output, unhonoured_flags
from nas_tf.trial import EvaluationError

# The names of SOURCES.json, in microseconds, and ours.
FIELDS = {
    "first_us": "first_ms",
    "min_us": "min_ms",
    "max_us": "max_ms",
    "mean_us": "mean_ms",
    "std_us": "std_ms",
    "p5_us": "p5_ms",
    "median_us": "median_ms",
    "p95_us": "p95_ms",
    "init_us": "init_ms",
    "first_inference_us": "first_inference_ms",
    "warmup_mean_us": "warmup_mean_ms",
}
APPLIED = "INFO: Explicitly applied {} delegate, and the model graph will be {} executed by the delegate{}.\n"
THOUGH = "INFO: Though {} delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
SIZE = "INFO: The input model file size"


@pytest.mark.parametrize("name", SOURCES)
def test_real_log(name):
    expected = SOURCES[name]["expected"]
    if "error" in expected:
        quoted = "Didn't find op for builtin" if "FAILED" in name else TEXTS[name].strip().splitlines()[-1]
        with pytest.raises(BenchmarkLogError, match=re.escape(quoted)) as caught:
            parse_benchmark_output(TEXTS[name])
        assert caught.value.refused_network == ("FAILED" in name)
        return
    latencies = parse_benchmark_output(TEXTS[name])
    assert len(latencies) == len(expected["runs"])
    for latency, run in zip(latencies, expected["runs"]):
        assert latency.runs == run["count"]
        for theirs, ours in FIELDS.items():
            assert getattr(latency, ours) == (run[theirs] / 1000 if theirs in run else None), ours
        assert latency.statistic == ("median" if "median_us" in run else "mean")
        json.dumps(latency.details)


def test_first_run_of_old_log():
    (latency,) = parse_benchmark_output(OLD)
    assert (latency.mean_ms, latency.std_ms, latency.min_ms, latency.max_ms) == (66.7676, 0.039, 66.699, 66.838)
    assert (latency.runs, latency.init_ms, latency.statistic) == (15, 9.933, "mean")
    # The tool's first inference is the warm-up's first, also where the summary does not repeat it.
    assert (latency.first_inference_ms, latency.warmup_mean_ms) == (127.425, 76605.9 / 1000)


def test_slow_network_and_details():
    (latency,) = parse_benchmark_output(SLOW)
    assert (latency.mean_ms, latency.latency_ms, latency.warmup_mean_ms) == (1240.27, 1239.807, 1357.6)
    assert latency.details == {
        "flags": {
            "Log parameter values verbosely": "0",
            "Inter-run delay (seconds)": "-1",
            "Num threads": "2",
            "Graph": "/data/n.tflite",
            "#threads used for CPU inference": "2",
        },
        "unconsumed": [],
        "delegates": [{"name": "TfLiteXNNPackDelegate", "nodes": 40, "of_nodes": 49, "partitions": 3}],
        "delegated": "partial",
        "tflite_bytes_mb": 67.3128,
        "memory_mb": {"init": 6.36328, "overall": 109.832, "peak": 112.5},
    }


def test_litert_compiledmodel_android():
    (latency,) = parse_benchmark_output(LITERT)
    assert (latency.latency_ms, latency.statistic, latency.runs) == (12.53, "median", 80)
    details = latency.details
    assert details["flags"]["Num threads"] == "1" and details["unconsumed"] == ["--use_xnnpack=true"]
    assert details["delegated"] == "all" and details["delegates"][0]["name"] == "TfLiteXNNPackDelegate"
    graph = "/data/local/tmp/nas_tf/net.tflite"
    assert unhonoured_flags(latency, {"Graph": graph, "Num threads": 1}) == []
    assert unhonoured_flags(latency, {"Graph": "/data/m.tflite", "Use gpu": True}) == [
        f"Graph: asked /data/m.tflite, used {graph}",
        "Use gpu: asked 1, not printed",
    ]


RESULT = re.search(r"INFO: \[\S+\] Inference \(std\).*\n", LITERT).group()


@pytest.mark.parametrize(
    "change,expected",
    [
        (("initialization: 5.58", "initialization: 5.59"), "Model initialization to be 5.58 as said before"),
        (("(first):       15.00", "(first):       15.01"), "Warmup (first) to be 15.00"),
        (("12.60 ms (40", "12.60 ms (41"), "Warmup (avg) to be of 40 runs"),
        (("12.55 ms (80 runs)", "12.55 ms"), "Inference (avg) to be of 80 runs"),
        (("12.55 ms (80", "12.56 ms (80"), "Inference (avg) to be 12.55"),
        (("12.30 ms", "12.31 ms"), "Inference (min) to be 12.30"),
        (("13.10 ms", "13.1 ms"), "a line like"),
        (("0.12\n", "0.13\n"), "Inference (std) to be 0.12"),
        (("avg=12550", "avg=12560"), "Inference (avg) to be 12.56"),
        (("Inference (min)", "Inference (max)"), "Inference (min) to be 12.30"),
        ((RESULT, ""), 'Expected a line like "[benchmark_litert_model.h:1] Inference (avg)'),
        ((RESULT, RESULT * 2), "next in this run"),
        (("Loading model from", "Loading model form"), "a line like"),
        ((".cc:262] Loading", ".cc:262] loading"), "Loaded model PATH"),
        (("INFO: Initialized TensorFlow", "WARN: Unconsumed cmdline flags: --x=1\nINFO: Initialized"), "Unconsumed"),
        (("[benchmark_litert_model", "[./litert/tools/benchmark_litert_model"), None),
        (("WARN: Unconsumed", "WARN: unconsumed"), None),
    ],
)
def test_rules_of_litert(change, expected):
    text = LITERT.replace(*change) if expected is None else LITERT.replace(*change, 1)
    assert text != LITERT
    if expected is None:
        assert parse_benchmark_output(text)[0].median_ms == 12.53
        return
    with pytest.raises(BenchmarkLogError, match=re.escape(expected)):
        parse_benchmark_output(text)


def test_runs_of_two_processes_keep_their_order():
    text = OLD + as_logcat(SLOW, 71) + "Enable op profiling: [1]\n"
    assert [latency.mean_ms for latency in parse_benchmark_output(text)] == [66.7676, 1240.27]


def test_several_runs_keep_their_order():
    texts = [TEXTS[name] for name in SOURCES if "runs" in SOURCES[name]["expected"]] + [OLD, SLOW]
    expected = [figures(parse_benchmark_output(text)[0]) for text in texts]
    assert [figures(latency) for latency in parse_benchmark_output("".join(texts))] == expected


@pytest.mark.parametrize(
    "form",
    [
        "07-08 15:37:34.590 {pid:>5}  {pid} I tflite  : {line}",
        "07-08 15:37:34.590 I/tflite  ({pid:>5}): {line}",
        "2026-07-08 15:37:34.590123 {pid} {pid} I tflite: {line}",
        "2026-07-08 15:37:34.590 +0200 {pid} {pid} I tflite  : {line}",
        "1594215454.590  {pid}  {pid} I tflite  : {line}",
        "07-08 15:37:34.590 10234 {pid} {pid} I tflite  : {line}",
        "07-08 15:37:34.590 u0_a71  {pid} {pid} I tflite  : {line}",
        "I/tflite  ( {pid}): {line}",
        "I/tflite  : {line}",
        "I( {pid}) {line}  (tflite)",
        "I( {pid}: {pid}) {line}",
        "[ 07-08 15:37:34.590  {pid}: {pid} I/tflite   ]\n{line}\n",
        "\x1b[38;5;40m07-08 15:37:34.590 {pid} {pid} I tflite  : {line}\x1b[0m",
        "{line}",
    ],
)
@pytest.mark.parametrize("text", [SLOW, LITERT], ids=["tflite", "litert"])
def test_logcat_forms(form, text):
    form = form.replace("tflite", "litert") if text == LITERT else form
    text = text.replace("\n========== BENCHMARK RESULTS ==========", "").replace("\nMemory Usage:", "")
    assert figures(parse_benchmark_output(as_logcat(text, 71, form))[0]) == figures(parse_benchmark_output(text)[0])


def test_a_long_log_is_read_in_one_go():
    """40 MB of other programs' lines between those of the tool: every line is looked at once."""
    noise = "07-08 15:37:34.590    90    90 D other   : " + "x" * 950 + "\n"
    text = as_logcat(SLOW, 71)
    assert figures(parse_benchmark_output(40_000 * noise + text + noise)[0]) == figures(parse_benchmark_output(SLOW)[0])


def test_processes_do_not_mix():
    mine = as_logcat(SLOW, 71).splitlines()
    theirs = as_logcat(TEXTS["tf23_android_cpu_duplicate_flags.txt"], 72).splitlines()
    other = as_logcat("Replacing 9 out of 9 node(s) with delegate (X) node, yielding 1 partitions.", 73).strip()
    noise = "07-08 15:37:34.590    71    71 I other   : count=50 first=1"
    mixed = [line for pair in zip(theirs, mine) for line in (*pair, other, noise)] + mine[len(theirs) :]
    found = [latency.mean_ms for latency in parse_benchmark_output("\n".join(mixed) + "\n")]
    assert found == [33.2094, 1240.27]  # in the order of their results


@pytest.mark.parametrize(
    "change,expected",
    [
        (("INFO: Initialized session", "INFO: nitialized session"), "Expected whole lines of benchmark_model"),
        (
            ("Running benchmark for at least 50", "Running  bench"),
            "Running benchmark for at least 50 iterations and at",
        ),
        (("Running benchmark for at least 50", "Running benchmark at least 50"), "a line like"),
        (("Init: 5579", "Init: 5580"), "the session's start in ms to be 5.579 as said before"),
        (("First inference: 1357602", "First inference: 1357603"), "the first inference to be 1357602"),
        (("Warmup (avg): 1.3576e+06", "Warmup (avg): 1.3577e+06"), "the warm-up's mean to be 1.3576e+06"),
        (("Inference (avg): 1.24027e+06", "Inference (avg): 1.24028e+06"), "the mean to be 1.24027e+06"),
        (("1.24027e+06", "1240270"), "six significant digits"),
        (("1.24027e+06", "1.26e+06"), "avg between min and max"),
        (("p5=1238753", "p5=1238587"), "min <= p5 <= median <= p95 <= max"),
        (("median=1239807", "median=1247416"), "min <= p5 <= median <= p95 <= max"),
        (("p95=1247415", "p95=1252567"), "min <= p5 <= median <= p95 <= max"),
        (("first=1249964", "first=1238587"), "first and curr between min and max"),
        (("curr=1240143", "curr=1252567"), "first and curr between min and max"),
        (("min=1238588", "min=0"), "a line like"),
        (("std=2565", "std=6990"), "a std that min, max, avg and count allow"),
        (("std=2565", "std=0"), "a std that min, max, avg and count allow"),
        (("count=50", "count=49"), "the 50 iterations announced"),
        (("count=50", "count=51"), "no more than the 50 iterations and 1 seconds announced"),
        (("count=50", "count=1"), "one count=1 or several times"),
        (("count=1 curr", "count=2 curr"), "one count=1 or several times"),
        (("count=1 ", "count=0 "), "a line like"),
        (("p5=1357602", "p5=1357601"), "min <= p5"),
        (("node(s) with", "nodes with"), "a line like"),
        (("Replacing 40", "Replacing 50"), "no more nodes replaced than there are"),
        (("[/data/n.tflite]", "[/data/m.tflite]"), "the graph to be '/data/m.tflite'"),
        (("Num threads: [2]\n", "Num threads: [2]\nINFO: Num threads: [3]\n"), "Num threads to be '2' as said before"),
        (("(MB): 67.3128", "(MB): 67.312"), None),
        (("init=6.36328", "init=6.3632"), "whole KB in MB"),
        (("STARTING!\n", "STARTING!\nINFO: STARTING!\n"), "Loaded model PATH"),
        ((SIZE, APPLIED.format("GPU", "completely", "") * 2 + SIZE), "the delegate GPU once"),
        (
            (SIZE, "INFO: Going to apply 2 delegates one after another.\n" + THOUGH.format("GPU") + SIZE),
            "each of the 2",
        ),
        (("67.3128", "67.312 "), "a line like"),
        (("67.3128", "67.31\n28"), "Expected whole lines of benchmark_model"),
        (("count=50", f"count={'9' * 5000}"), "a line like"),
        (("67.3128", "67.312\x85"), "a line like"),
        (("count=50", "count=5\u0660"), "a line like"),
        (("INFO: Loaded model /data/n.tflite\n", ""), "Loaded model PATH"),
        (("INFO: Initialized session in 5.579ms.\n", ""), "Initialized session"),
        (("INFO: Note", "ERROR: Benchmarking failed.\nINFO: Note"), "it failed: 'Benchmarking failed.'"),
        (("INFO: count=50", "ERROR: Node number 3 (X) failed to invoke.\nINFO: count=50"), "failed to invoke"),
        (("\n", "\r\n"), None),
        (("\n", "\n\n"), None),
    ],
)
def test_rules(change, expected):
    text = SLOW.replace(*change) if change[0] == "\n" else SLOW.replace(*change, 1)
    assert text != SLOW
    if expected is None:
        assert parse_benchmark_output(text)[0].mean_ms == 1240.27
        return
    with pytest.raises(BenchmarkLogError, match=re.escape(expected)) as caught:
        parse_benchmark_output(text)
    assert "'" in str(caught.value) and not caught.value.refused_network


def test_equal_times_and_the_time_limit():
    announced = "INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding"
    count_line = re.search("count=50.*", SLOW).group()
    text = SLOW.replace(count_line, "count=50 curr=90000(all same)").replace("(avg): 1.24027e+06", "(avg): 90000")
    (latency,) = parse_benchmark_output(text)
    assert (latency.mean_ms, latency.std_ms, latency.min_ms, latency.max_ms, latency.first_ms) == (90, 0, 90, 90, 90)
    fewer = SLOW.replace("count=50", "count=49").replace(f"{announced} 150", f"{announced} 60")
    assert parse_benchmark_output(fewer)[0].runs == 49  # 49 x 1.24 s: the limit of 60 s ended it


@pytest.mark.parametrize("change", [("p5=309932", "p5=309933"), ("p95=328140", "p95=328139")])
def test_percentiles_of_few_times(change):
    text = TEXTS["nightly2025_android_gpu_then_nnapi.txt"].replace("median=328140", "median=328139").replace(*change, 1)
    with pytest.raises(BenchmarkLogError, match="p5 to be min and p95 to be max where so few were timed"):
        parse_benchmark_output(text)


def test_runs_with_pauses_may_be_fewer():
    fewer = SLOW.replace("count=50", "count=49")
    assert parse_benchmark_output(fewer.replace("(seconds): [-1]", "(seconds): [2.5]"))[0].runs == 49


def test_unterminated_memory_line_is_left_out():
    (latency,) = parse_benchmark_output(SLOW[: SLOW.index("09.832")])
    assert "memory_mb" not in latency.details and latency.mean_ms == 1240.27


@pytest.mark.parametrize(
    "applied,delegated",
    [
        (APPLIED.format("GPU", "completely", "") + THOUGH.format("NNAPI"), "all"),
        (APPLIED.format("GPU", "partially", " w/ 3 delegate kernels"), "partial"),
        (THOUGH.format("GPU"), "none"),
        ("", "partial"),
    ],
)
def test_delegated(applied, delegated):
    (latency,) = parse_benchmark_output(SLOW.replace(SIZE, applied + SIZE))
    assert latency.details["delegated"] == delegated


def test_a_cut_head_may_have_said_that_another_delegate_took_all():
    text = SLOW.replace(SIZE, THOUGH.format("NNAPI") + SIZE)
    assert parse_benchmark_output(text[text.index("INFO: Though") :])[0].details["delegated"] is None


def test_default_delegate_does_not_stand_for_the_one_asked():
    (latency,) = parse_benchmark_output(SLOW.replace("INFO: Loaded", "INFO: Use gpu: [1]\nINFO: Loaded"))
    assert latency.details["delegated"] is None


@pytest.mark.parametrize(
    "said,refused",
    [
        ("ERROR: Failed to initialize the interpreter", True),
        ("ERROR: Didn't find op for builtin opcode 'MUL' version '5'.\nERROR: Benchmarking failed.", True),
        ("ERROR: Following operations are not supported by GPU delegate:\nERROR: Failed to apply GPU delegate.", True),
        ("ERROR: Failed to allocate tensors!", True),
        ("ERROR: Can not open OpenCL library on this device\nERROR: Failed to apply GPU delegate.", False),
        ("ERROR: Failed to load model /data/n.tflite", False),
        ("ERROR: Disallowed CPU fallback detected.", False),
        (
            "VERBOSE: Replacing 40 out of 49 node(s) with delegate (X) node, yielding 3 partitions.\n"
            "ERROR: Disallowed CPU fallback detected.",
            True,
        ),
        ("ERROR: Benchmarking failed.", False),
        ("Segmentation fault", False),
    ],
)
def test_refused_network(said, refused):
    text = SLOW[: SLOW.index("VERBOSE")] + said + "\n"
    with pytest.raises(BenchmarkLogError) as caught:
        parse_benchmark_output(text)
    assert caught.value.refused_network is refused
    assert isinstance(caught.value, EvaluationError)
    assert pickle.loads(pickle.dumps(caught.value)).refused_network is refused


@pytest.mark.parametrize("text", ["", "\n\n", "adb: device offline\n", "07-08 15:37:34.590  73  73 I tflite  : x\n"])
def test_no_run(text):
    with pytest.raises(BenchmarkLogError, match="Expected a run of benchmark_model"):
        parse_benchmark_output(text)


def test_unhonoured_flags():
    (latency,) = parse_benchmark_output(SLOW)
    assert unhonoured_flags(latency, {"Num threads": 2, "Graph": "/data/n.tflite"}) == []
    assert unhonoured_flags(latency, {"Num threads": "1"}) == ["Num threads: asked 1, used 2"]
    assert unhonoured_flags(latency, {"Use gpu": True}) == ["Use gpu: asked 1, not printed"]
    (latency,) = parse_benchmark_output(SLOW.replace("inference: [2]", "inference: [4]"))
    assert unhonoured_flags(latency, {"Num threads": "2"}) == ["Num threads: asked 2, used 4"]
    (latency,) = parse_benchmark_output(SLOW[SLOW.index("VERBOSE") :])
    assert unhonoured_flags(latency, {"Num threads": "1"}) == []
