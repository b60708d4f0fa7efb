"""A measured number with its interval and its name, before it is known of which backbone it is."""

from typing import NamedTuple

import numpy as np

from tokenscope.stats.bootstrap import Bootstrap


class Measurement(NamedTuple):
    """One number; a list of them is a table (``pandas.DataFrame(measurements)``).

    ``group`` says of what (tokens, block, head), ``low`` and ``high`` are the ends of its bootstrap
    interval over images, None where it has none; ``value`` is None or NaN where it is undefined.
    """

    group: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @classmethod
    def ratio(
        cls, group: str, metric: str, above: np.ndarray, below: np.ndarray, bootstrap: Bootstrap,
        unit: str = "",
    ) -> "Measurement":  # fmt: skip
        """``sum(above) / sum(below)`` over images, both (image,)."""
        value, low, high, _ = bootstrap.ratio(above, below)
        return cls(group, metric, value, low, high, unit)

    @classmethod
    def mean(
        cls, group: str, metric: str, values: np.ndarray, bootstrap: Bootstrap, unit: str = ""
    ) -> "Measurement":
        """Mean over images of a quantity (image,)."""
        return cls.ratio(group, metric, values, np.ones(len(values)), bootstrap, unit)


def of_difference(unit: str) -> str:
    """Unit of the difference of two numbers: percentages differ by points."""
    return {"percent": "points"}.get(unit, unit)
