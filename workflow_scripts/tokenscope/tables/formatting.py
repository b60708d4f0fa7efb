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
    return f"{value:.4g}" + _unit_text(unit)


def interval_text(low: float, high: float) -> str:
    """An interval; empty where there is none."""
    return f"{low:.4g} to {high:.4g}" if low == low else ""


def measured_text(row) -> str:
    """Value, unit and, where they differ, the ends in brackets of a row of a measured cost."""
    if row["value"] != row["value"]:
        return "not measured"
    ends = f" [{row['low']:.3g}, {row['high']:.3g}]" if row["high"] > row["low"] else ""
    number = f"{row['value']:,.0f}" if row["value"] >= 1e5 else f"{row['value']:.3g}"
    return number + _unit_text(row["unit"]) + ends


def _unit_text(unit: str) -> str:
    return {"percent": " %", "": ""}.get(unit, f" {unit}")
