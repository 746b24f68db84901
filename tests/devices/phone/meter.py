"""What tests of the meter `android` share: settings that make it quick, and what its phones gave."""

import contextlib

from nas_tf.devices._android.log import parse_benchmark_output
from nas_tf.trial import EvaluationError

# Runs of a busy machine may lie far apart: what is tested is what the meter makes of them.
QUICK = {
    "num_runs": 5,
    "min_seconds": 0.01,
    "warmup_seconds": 0.01,
    "max_seconds": 1.0,
    "repeats": 1,
    "max_spread": 50.0,
    "max_drift": 50.0,
    "cool_seconds": 0.0,
    "poll_seconds": 0.02,
    "answer_seconds": 2.0,
    "patience_minutes": 0.5,
}


def given(*phones):
    """set of every latency in milliseconds that the phones' tool has printed."""
    texts = [run["stdout"] + run["stderr"] for each in phones for run in each.events("benchmark") if run["status"] == 0]
    figures = set()
    for text in texts:
        with contextlib.suppress(EvaluationError):  # a damaged one gives none
            figures |= {run.latency_ms for run in parse_benchmark_output(text)}
    return figures
