"""How every report prints a number. What was not measured is a dash without a unit."""

import math

from nas_tf import accuracy

NONE = "-"


def number(value, form, factor=1.0):
    """Returns `value * factor` as text in that format, as in `number(1.5, ".2f")`."""
    return NONE if value is None else format(value * factor, form)


def percent(value, form=".2f"):
    """Returns a fraction as text in percent, without the sign."""
    return number(value, form, 100)


def share(value, num_examples=None, error=None):
    """Returns an accuracy as text in percent with its standard error where that is known: "72.5 ± 1.2"."""
    return NONE if value is None else accuracy.text(value, num_examples, error).removesuffix(" %")


def significant(value):
    """Returns a positive number with four significant digits, one decimal at least: microseconds are not 0.00 ms."""
    if value is None:
        return NONE
    return f"{value:.{max(1, 3 - math.floor(math.log10(value)))}f}"


def milliseconds(value):
    """Returns a latency with its unit, as in "1.350 ms"; a dash if it was not measured."""
    return NONE if value is None else f"{significant(value)} ms"


def cost_text(value, cost):
    """Returns the value of a cost (`nas_tf.rewards.COSTS`) with its unit."""
    if cost == "latency_ms":
        return milliseconds(value)
    return f"{significant(value / 1e6)} M {'multiply-adds' if cost == 'mult_adds' else 'parameters'}"
