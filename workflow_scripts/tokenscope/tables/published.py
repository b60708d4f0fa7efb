"""Published figures of the quantities in our tables, to stand beside ours."""

from pathlib import Path

import pandas as pd

from tokenscope.tables import paired, tidy
from tokenscope.tables.register_gains import as_ours, published_gains

# The same quantity under the group name of the sources.
ALIASES = {"last_block": "outlier", "lost_k_unbiased": "lost", "lost_v_unbiased": "lost"}


class Published:
    """Published figures by backbone, group and metric; differences of theirs are derived.

    ``gains``: what they say registers gain, one row each, also of backbones not in this study.
    """

    def __init__(self, file: str | Path):
        theirs = pd.read_csv(file)
        ours = as_ours(theirs)
        self.gains = published_gains(theirs)
        table = pd.concat([ours, self.gains, paired.published(ours)]).fillna("")
        keys = [*tidy.BACKBONE_COLUMNS, "group", "metric"]
        self._known = {key: group for key, group in table.groupby(keys, sort=False)}

    def of(self, key: tuple, dataset: str = "") -> list[tuple[float, str, str]]:
        """``(value, source, dataset)`` of the same quantity, of that data set where known.

        Args:
            key: family, size, registers, group, metric.
        """
        theirs = self._known.get((*key[:3], ALIASES.get(key[3], key[3]), key[4]))
        if theirs is None:
            return []
        if dataset in set(theirs["dataset"]):
            theirs = theirs[theirs["dataset"] == dataset]
        columns = (theirs[name] for name in ("value", "source", "dataset"))
        return [(float(value), source, where) for value, source, where in zip(*columns)]  # noqa: B905

    def citations(self, key: tuple, dataset: str = "") -> str:
        """The same as text: value, source and data set."""
        cited = (f"{v:g} ({source}, {where})" for v, source, where in self.of(key, dataset))
        return "; ".join(dict.fromkeys(cited))  # a paper may print a figure in two tables
