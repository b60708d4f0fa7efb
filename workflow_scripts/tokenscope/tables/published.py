"""Published figures of the quantities in our tables, to stand beside ours.

A row of ``config/published.csv`` bears a mark of its evidence: ``primary`` where the paper itself
was read, ``secondary`` where others report it. A ``bound`` is no number to be met: ``<`` (at most)
and ``>`` (at least), ``~`` (read off a figure, or "about").
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from tokenscope.tables import paired, tidy
from tokenscope.tables.formatting import heading, number_text
from tokenscope.tables.register_gains import as_ours, published_gains

# The same quantity under the group names of the sources.
ALIASES = {
    "last_block": ("outlier",), "lost_k_unbiased": ("lost",), "lost_v_unbiased": ("lost",),
    "published_head": ("linear",), "reg0": ("register",),
}  # fmt: skip
# Our data sets that hold the images of the sources' (their figures are of validation images).
SAME_IMAGES = {"imagenet-1k": ("imagenet-val*", "imagenet-test*")}
_BOUNDS = {"": "", "<": "< ", ">": "> ", "~": "about "}


@dataclass(frozen=True)
class Cited:
    """One published figure; ``differs`` says what is not as it is here."""

    value: float
    source: str
    item: str
    dataset: str
    evidence: str = "primary"
    bound: str = ""
    differs: str = ""
    same_images: bool = True
    unit: str = ""

    @property
    def comparable(self) -> bool:
        """Whether a difference from it means anything: a number, of the same images."""
        return self.same_images and self.bound in ("", "~")

    def __str__(self) -> str:
        secondary = ", secondary" * (self.evidence == "secondary")
        number = as_published(self.value, self.unit, self.bound)
        bound = _BOUNDS[self.bound]
        return f"{bound}{number} ({self.source}, {heading(self.dataset)}{secondary})"


class Published:
    """Published figures by backbone, group and metric; differences of theirs are derived.

    ``rows``: the table as it is. ``gains``: what they say registers gain, one row each, also of
    backbones not in this study.
    """

    def __init__(self, file: str | Path):
        self.rows = pd.read_csv(file)
        ours = as_ours(self.rows)
        self.gains = published_gains(self.rows)
        table = pd.concat([ours, self.gains, paired.published(ours)])
        table = table.fillna({"evidence": "primary"}).fillna("")
        keys = [*tidy.BACKBONE_COLUMNS, "group", "metric"]
        self._known = {
            key: group.to_dict("records") for key, group in table.groupby(keys, sort=False)
        }

    def of(self, key: tuple, dataset: str = "") -> list[Cited]:
        """The same quantity as published, of those images where there is one of them.

        Args:
            key: family, size, registers, group, metric.
        """
        *who, group, metric = key
        names = (group, *ALIASES.get(group, ()))
        rows = [row for name in names for row in self._known.get((*who, name, metric), [])]
        same = [row for row in rows if same_images(row["dataset"], dataset)]
        return [_cited(row, dataset) for row in same or rows]

    def citations(self, key: tuple, dataset: str = "") -> str:
        """The same as text: value, source and data set."""
        return "; ".join(dict.fromkeys(map(str, self.of(key, dataset))))  # some stand in two tables


def as_published(value: float, unit: str, bound: str) -> str:
    """A published number with the digits of ours; a bound or a rough one is no more precise."""
    return f"{value:g}" if bound else number_text(value, unit)


def same_images(theirs: str, ours: str) -> bool:
    """Whether a data set of ours holds the images that a source's name of a data set means."""
    names = (theirs, *SAME_IMAGES.get(theirs, ()))
    return not ours or any(fnmatchcase(ours, name) for name in names)


def _cited(row: dict, dataset: str) -> Cited:
    same = same_images(row["dataset"], dataset)
    other = "" if same else f"images of {heading(row['dataset']) or 'none'}, here {dataset}"
    differs = "; ".join(filter(None, (other, row["note"], row["differs"])))
    return Cited(
        float(row["value"]), row["source"], row["item"], row["dataset"], row["evidence"],
        row["bound"], differs, same, row["unit"],
    )  # fmt: skip
