"""Numbers as a reader wants them."""

from tokenscope.tables import tidy


def as_text(value: float, unit: str) -> str:
    """A number as a reader wants it: verdicts in words, percent as a sign."""
    if unit == "verdict":
        return {0.0: "no", 1.0: "yes"}.get(value, "cannot tell")
    if tidy.is_refused(unit):
        return unit
    if value != value:
        return "undefined"
    return f"{value:.4g}" + {"percent": " %", "": ""}.get(unit, f" {unit}")


def interval_text(low: float, high: float) -> str:
    """An interval; empty where there is none."""
    return f"{low:.4g} to {high:.4g}" if low == low else ""
