"""What a trained network reached, in one line."""

from nas_tf import accuracy
from nas_tf.accuracy import num_examples_of
from nas_tf.reports.numbers import milliseconds


def reached(network):
    """Returns in words how accurate and how fast a network is, as it was measured.

    Args:
        network: `nas_tf.networks.description.NetworkDescription`.
    """
    facts, latency = network.dataset or {}, network.latency_judged or network.latency
    words = []
    for split, value in (("validation", network.accuracy.validation), ("test", network.accuracy.test)):
        if value is not None:
            count = num_examples_of(facts, split)
            words.append(f"{accuracy.text(value, count)} of {f'{count:,} ' if count else ''}{split} images right")
    return ", ".join([*words, milliseconds(latency.latency_ms) if latency else "not timed"])


def name_of(network):
    """Returns what a network is called: its trial, or the published network that it is."""
    return f"trial {network.trial}" if network.trial else network.text
