"""benchmark_model's logs that several tests read: real ones with their sources, and one of the current tool."""

import dataclasses
import json

from support import ROOT

LOGS = ROOT / "tests" / "data" / "benchmark_model_logs"
SOURCES = json.loads((LOGS / "SOURCES.json").read_text())
TEXTS = {name: (LOGS / name).read_text() for name in SOURCES}
OLD = next(text for name, text in TEXTS.items() if "tf113" in name).split("echo")[0]
LITERT = TEXTS["litert_compiledmodel_android.txt"]
# A run of TFLite's current tool, of more than a second an inference: averages are printed as 1.2e+06.
SLOW = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Inter-run delay (seconds): [-1]
INFO: Num threads: [2]
INFO: Graph: [/data/n.tflite]
INFO: #threads used for CPU inference: [2]
INFO: Loaded model /data/n.tflite
VERBOSE: Replacing 40 out of 49 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 partitions for subgraph 0 (main).
INFO: The input model file size (MB): 67.3128
INFO: Initialized session in 5.579ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 p5=1238753 median=1239807 p95=1247415

INFO: Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, Inference (avg): 1.24027e+06
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832
INFO: Overall peak memory footprint (MB) via periodic monitoring: 112.5
"""  # noqa: E501


def figures(latency):
    """Every figure that the latency gives, by name; what the tool did not say is left out."""
    given = {name: value for name, value in dataclasses.asdict(latency).items() if name != "details"}
    given |= {name: latency.details.get(name) for name in ("delegated", "tflite_bytes_mb")}
    given |= {f"memory_{name}": value for name, value in latency.details.get("memory_mb", {}).items()}
    return {name: value for name, value in given.items() if value is not None}


def as_logcat(text, pid, form="07-08 15:37:34.590 {pid:>5}  {pid} I tflite  : {line}"):
    return "".join(form.format(pid=pid, line=line) + "\n" for line in text.replace("INFO: ", "").splitlines())
