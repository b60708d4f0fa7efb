"""Top-k accuracy from ranks: which place a head gives the right class of each test image.

Ranks are kept image by image, because a comparison of two heads, or of two backbones, is one of
the same images: its interval is far smaller than those of the two accuracies.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tokenscope.errors import StudyError
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement

TOP = {"top1": 1, "top5": 5}


@dataclass(frozen=True)
class Ranks:
    """Ranks of the right class by head (``group``): (seed, image), and the images' ids.

    A group is a head or feature set under a view (see :func:`tokenscope.tables.names.group_name`).
    """

    ids: np.ndarray
    groups: dict[str, np.ndarray]

    def write(self, path: str | Path) -> None:
        """One row per image, one column per head and seed (``cls+patch_mean#0``)."""
        table = {"image_id": self.ids}
        for group, ranks in self.groups.items():
            table |= {_column(group, seed): row for seed, row in enumerate(ranks)}
        compression = {"method": "gzip", "mtime": 0}
        pd.DataFrame(table).to_csv(path, index=False, compression=compression)

    @classmethod
    def read(cls, path: str | Path) -> "Ranks":
        table = pd.read_csv(path, keep_default_na=False, dtype={"image_id": str})
        seeds: dict[str, list] = {}
        for column in table.columns[1:]:
            seeds.setdefault(_group(column), []).append(table[column].to_numpy())
        groups = {group: np.stack(rows) for group, rows in seeds.items()}
        return cls(table["image_id"].to_numpy(str), groups)


def _column(group: str, seed: int) -> str:
    return f"{group}#{seed}"


def _group(column: str) -> str:
    """The group of a column that :func:`_column` named."""
    return column.rpartition("#")[0]


class Accuracy:
    """Accuracy in percent with its bootstrap over images, and over seeds where there are several.

    Args:
        ranks: (seed, image).
        top: how many guesses a head has.
        bootstrap: over the same images for all that is compared.
        stream: number that keeps the seeds drawn here apart from those of other heads.
    """

    def __init__(self, ranks: np.ndarray, top: int, bootstrap: Bootstrap, stream: int = 0):
        hits = 100.0 * (ranks <= top)
        self.by_seed = hits.mean(1)
        self.value = float(self.by_seed.mean())
        resampled = bootstrap.sums(hits.T) / bootstrap.images
        rng = np.random.default_rng([bootstrap.seed, stream])
        drawn = rng.integers(0, len(ranks), resampled.shape)
        self.resampled = np.take_along_axis(resampled, drawn, 1).mean(1)


def compare(
    first: Ranks, second: Ranks, group: str, other: str, top: int, statistics: dict
) -> tuple[float, float, float]:
    """Accuracy of ``second``'s ``other`` minus that of ``first``'s ``group``, low and high end.

    Both are resampled on the same images.

    Raises:
        StudyError: the two were not tested on the same images.
    """
    if not np.array_equal(first.ids, second.ids):
        raise StudyError(f"'{group}' and '{other}' were not tested on the same images")
    bootstrap = Bootstrap.of(len(first.ids), statistics)
    a = Accuracy(first.groups[group], top, bootstrap, 1)
    b = Accuracy(second.groups[other], top, bootstrap, 2)
    ends = bootstrap.interval(b.resampled - a.resampled)
    # Shares are sums of floats: without rounding 1e-15 would count as a gain.
    value, low, high = (round(float(x), 9) for x in (b.value - a.value, *ends))
    return value, low, high


def sign_of_interval(low: float, high: float) -> float:
    """1 if a difference is surely above zero, 0 if surely below, NaN if its interval holds zero."""
    return 1.0 if low > 0 else 0.0 if high < 0 else float("nan")


def own_head(top5: np.ndarray, label: np.ndarray, bootstrap: Bootstrap) -> list[Measurement]:
    """Top-1 and top-5 accuracy of a backbone's own head, in percent.

    Args:
        top5: (image, 5) its best guesses, best first. label: (image,) the right class.
    """
    hits = top5 == label[:, None]
    return [
        Measurement.mean("own_head", metric, 100.0 * hit, bootstrap, "percent")
        for metric, hit in (("top1", hits[:, 0]), ("top5", hits.any(1)))
    ]
