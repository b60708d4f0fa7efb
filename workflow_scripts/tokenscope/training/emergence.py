"""Emergence in training: quantiles of the norm and share of outliers, by update and block.

Darcet et al. "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588) ask when in a
training outliers appear.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from tokenscope.norms.emergence import norm_summary
from tokenscope.norms.outlier_rule import share_metric
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement
from tokenscope.tables import tidy
from tokenscope.tables.tidy import refusal


def emergence_table(
    snapshots: Iterable[tuple[str, np.ndarray]], who: dict, times: float, statistics: dict
) -> pd.DataFrame:
    """Tidy rows with two columns more, ``step`` (updates done) and ``block`` (from 1).

    Args:
        snapshots: the number of updates, as text, and norms of patch tokens (image, block, patch).
        who: backbone and data set, as in tidy rows.
        times: outliers have a norm over so many medians.
        statistics: the section of the config, see :meth:`Bootstrap.of`.
    """
    tables = [pd.DataFrame(columns=[*tidy.COLUMNS, "step", "block"])]
    for name, norms in snapshots:
        bootstrap = Bootstrap.of(len(norms), statistics)
        for block in range(norms.shape[1]):
            rows = tidy.TidyRows(who, len(norms), statistics["seed"])
            group = f"step{name}/block{block + 1:02d}"
            summary = norm_summary(norms[:, block], bootstrap, times)
            for metric, (value, low, high) in summary.items():
                unit = "percent" if "share" in metric else ""
                rows.add("training", group, metric, value, low, high, unit)
            tables.append(rows.frame().assign(step=int(name), block=block + 1))
    return pd.concat(tables[1:] or tables)


def outliers_from(
    emergence: pd.DataFrame, updates: int, times: float, min_share: float
) -> Measurement:
    """From which share of a training on there are outliers: "after a third" in Darcet et al.

    The first snapshot from which on to the end the share of outliers is surely over ``min_share``,
    in the block that has most of them at the end; the interval reaches from the snapshot before.

    Args:
        emergence: of :func:`emergence_table`, one training on one data set.
        updates: of the whole training.
        times: outliers have a norm over so many medians.
        min_share: percent of patches; fewer outliers are none.
    """
    group, metric, unit = "curve", "outliers_from", "percent of the training"
    shares = emergence[emergence["metric"] == share_metric(times)].reset_index(drop=True)
    if not len(shares):
        return Measurement(group, metric, None, unit=refusal("no snapshots were kept"))
    last = shares[shares["step"] == shares["step"].max()]
    block = last.loc[last["value"].idxmax(), "block"]
    line = shares[shares["block"] == block].sort_values("step")
    over, steps = (line["low"] > min_share).to_numpy(), line["step"].to_numpy()
    if not over[-1]:
        return Measurement(group, metric, None, unit=refusal("no outliers at its end"))
    first = len(over) - int(np.argmin(over[::-1])) if not over.all() else 0
    found, before = (100 * steps[i] / updates for i in (first, max(first - 1, 0)))
    return Measurement(group, metric, found, before, found, unit)
