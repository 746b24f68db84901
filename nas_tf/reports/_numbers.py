"""How every report prints a number; what was not measured is a dash."""

NONE = "-"


def number(value, form, factor=1.0):
    """str: `value * factor` in that format, as in `number(1.5, ".2f")`."""
    return NONE if value is None else format(value * factor, form)


def percent(value, form=".2f"):
    """str: a fraction in percent, without the sign."""
    return number(value, form, 100)
