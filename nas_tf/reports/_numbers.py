"""How every report prints a number. What was not measured is a dash."""

NONE = "-"


def number(value, form, factor=1.0):
    """Returns `value * factor` as text in that format, as in `number(1.5, ".2f")`."""
    return NONE if value is None else format(value * factor, form)


def percent(value, form=".2f"):
    """Returns a fraction as text in percent, without the sign."""
    return number(value, form, 100)
