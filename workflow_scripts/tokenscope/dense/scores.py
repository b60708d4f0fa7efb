"""Scores over a test set: mIoU and pixel accuracy of segmentation, RMSE of depth, with intervals.

Every score stands beside that of a constant guess. What one image gives is in
:mod:`tokenscope.dense.metrics`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tokenscope.dense.map_datasets import Maps
from tokenscope.dense.metrics import areas, depth_errors, eigen_crop
from tokenscope.errors import StudyError
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.iou import class_iou
from tokenscope.tables import paired
from tokenscope.tables.tidy import TidyRows

LISTED_CLASSES = 20  # more of them go into the file of classes only
GROUPS = ("linear", "constant")  # the head, and what one guesses without looking
ERRORS = {"rmse": "m", "abs_rel": "ratio", "delta1": "percent"}  # of depth, with their units


class HeadScores:
    """What heads (one a seed) and a constant guess give on test images, counted one by one.

    Args:
        maps: the data set.
    """

    def __init__(self, maps: Maps):
        self.maps = maps
        self.by_group: dict[str, list[list]] = {group: [] for group in GROUPS}

    def add(self, group: str, predicted: Sequence[np.ndarray], target: np.ndarray) -> None:
        """Count the next image of a group: the map each seed's head predicted, and the true one."""
        self.by_group[group].append([self._counts(one, target) for one in predicted])

    def _counts(self, predicted: np.ndarray, target: np.ndarray) -> np.ndarray | dict[str, float]:
        if self.maps.depth:
            return depth_errors(predicted, target)
        return areas(predicted, target, self.maps.classes)

    def values(self, group: str) -> dict[str, np.ndarray]:
        """What each image gave (image, seed, ...), by name; without seeds where there is one."""
        images = self.by_group[group]
        if self.maps.depth:
            tables = [pd.DataFrame(seeds) for seeds in images]
            arrays = {name: np.stack([t[name] for t in tables]) for name in tables[0].columns}
        else:
            arrays = {paired.AREAS: np.stack([np.stack(seeds) for seeds in images])}
        return {name: v[:, 0] if v.shape[1] == 1 else v for name, v in arrays.items()}

    def by_image(self) -> dict[tuple[str, str], np.ndarray]:
        """What the heads gave each test image, to be compared with another backbone's."""
        values = self.values("linear")
        if not self.maps.depth:
            return {("linear", paired.AREAS): values[paired.AREAS].astype(np.int32)}
        return {("linear", name): values[name] for name in ERRORS}

    def rows(self, who: dict, statistics: dict) -> tuple[TidyRows, pd.DataFrame]:
        """Tidy rows of all scores, and IoU by class.

        Args:
            who: backbone and data set, as in tidy rows.
            statistics: the section of the config, see :meth:`Bootstrap.of`.

        Returns:
            rows, and a table with the columns of ``who``, class, iou, low, high and true_share
            (percent of the pixels); without rows for depth.
        """
        count = len(self.by_group["linear"])
        rows = TidyRows(who, count, statistics["seed"])
        bootstrap = Bootstrap.of(count, statistics)
        classes = []
        if self.maps.depth:
            _depth(rows, bootstrap, {group: self.values(group) for group in GROUPS})
        else:
            source = self.maps.source
            names = source.get("names") or [str(i) for i in range(self.maps.classes)]
            counts = {group: self.values(group)[paired.AREAS] for group in GROUPS}
            classes = _segmentation(rows, bootstrap, counts, names)
        columns = [*who, "class", "iou", "low", "high", "true_share"]
        return rows, pd.DataFrame([{**who, **row} for row in classes], columns=columns)


def cropped(target: np.ndarray, maps: Maps, image_id: str) -> np.ndarray:
    """The true map of a test image where it counts: ``crop: eigen`` of a set blanks its border.

    Raises:
        StudyError: the crop is not defined for maps of this size.
    """
    if maps.source.get("crop") != "eigen":
        return target
    try:
        return eigen_crop(target)
    except ValueError as error:
        raise StudyError(f"{image_id}: {error}; leave out crop: eigen") from None


def _segmentation(
    rows: TidyRows, bootstrap: Bootstrap, by_group: dict[str, np.ndarray], names: list[str]
) -> list[dict]:
    """mIoU over classes that occur, pixel accuracy, and IoU by class."""
    miou, classes = {}, []
    for group, counts in by_group.items():
        estimates = paired.estimates(bootstrap, paired.AREAS, counts)
        for metric, (value, resampled) in estimates.items():
            rows.add("dense", group, metric, value, *bootstrap.interval(resampled), "percent")
        miou[group] = estimates["miou"]
        if group == "linear":
            together = counts.sum(1) if counts.ndim == 4 else counts  # over the heads' seeds
            classes = _by_class(rows, bootstrap, together, names)
    (linear, resampled), (constant, guessed) = miou["linear"], miou["constant"]
    rows.add(
        "dense", "linear-constant", "miou", linear - constant,
        *bootstrap.interval(resampled - guessed), "points",
    )  # fmt: skip
    return classes


def _by_class(
    rows: TidyRows, bootstrap: Bootstrap, counts: np.ndarray, names: list[str]
) -> list[dict]:
    """IoU of each class from areas (image, 3, classes); rows too where classes are few."""
    iou, resampled = class_iou(counts.sum(0)), class_iou(bootstrap.sums(counts))
    low, high = bootstrap.interval(100 * resampled)
    share = counts[:, 2].sum(0) / counts[:, 2].sum()
    classes = []
    for i, name in enumerate(names):
        classes.append({
            "class": name, "iou": 100 * iou[i], "low": low[i], "high": high[i],
            "true_share": 100 * share[i],
        })  # fmt: skip
        if len(names) <= LISTED_CLASSES:
            metric = f"iou_{name}"
            rows.add("dense", "linear", metric, 100 * iou[i], low[i], high[i], "percent")
    return classes


def _depth(rows: TidyRows, bootstrap: Bootstrap, by_group: dict[str, dict]) -> None:
    """Errors as the mean over images (BTS, DINOv2), and RMSE over all pixels."""
    rmse = {}
    for group, values in by_group.items():
        for metric, unit in ERRORS.items():
            mean, resampled = paired.estimates(bootstrap, metric, values[metric])[metric]
            rows.add("dense", group, metric, mean, *bootstrap.interval(resampled), unit)
            if metric == "rmse":
                rmse[group] = mean, resampled
        squared, pixels = (
            values[name].reshape(len(values[name]), -1).sum(1, dtype=np.float64)
            for name in ("squared", "pixels")
        )
        mean, low, high, _ = bootstrap.ratio(squared, pixels)
        mean, low, high = np.sqrt([mean, low, high])
        rows.add("dense", group, "rmse_pooled", mean, low, high, "m")
    (linear, resampled), (constant, guessed) = rmse["linear"], rmse["constant"]
    rows.add(
        "dense", "linear-constant", "rmse", linear - constant,
        *bootstrap.interval(resampled - guessed), "m",
    )  # fmt: skip
