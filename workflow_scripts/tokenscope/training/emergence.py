"""Emergence in training: quantiles of the norm and share of outliers, by update and block.

Darcet et al. "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588) ask when in a
training outliers appear.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from tokenscope.norms.emergence import norm_summary
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.tables import tidy


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
