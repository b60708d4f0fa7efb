"""What registers change in discovery and dense tasks, on the same images, with intervals.

Two backbones tested on the same images err on the same ones: the interval of their difference is
far smaller than those of the two figures. Each measurement therefore leaves what every image gave.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from tokenscope.errors import StudyError
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.iou import class_iou
from tokenscope.stats.top_k import sign_of_interval
from tokenscope.study import register_names
from tokenscope.tables import names, tidy

AREAS = "areas"  # by class (image, 3, classes): mIoU is no mean over images
UNITS = {
    "corloc": "points", "seed_in_box": "points", "miou": "points", "pixel_accuracy": "points",
    "rmse": "m", "abs_rel": "ratio", "delta1": "points",
    "roughness_tokens": "ratio", "roughness_directions": "ratio",
    "roughness_norms": "ratio",
}  # fmt: skip
MAIN = ("corloc", "miou", "rmse", "roughness_tokens")  # those that decide whether registers help
_LESS_IS_BETTER = ("rmse", "abs_rel", "roughness_tokens", "roughness_directions", "roughness_norms")


def write(path: str | Path, ids, values: dict[tuple[str, str], np.ndarray]) -> None:
    """What each image gave, by group and metric: (image,), or areas of classes."""
    arrays = {f"{group}/{metric}": np.asarray(v) for (group, metric), v in values.items()}
    with open(path, "wb") as handle:
        np.savez_compressed(handle, image_id=np.asarray(ids, str), **arrays)


def read(path: str | Path) -> tuple[np.ndarray, dict[tuple[str, str], np.ndarray]]:
    """What :func:`write` wrote: ids of images, values by group and metric."""
    with np.load(path) as file:
        values = {tuple(k.split("/")): file[k] for k in file.files if k != "image_id"}
        return file["image_id"], values


def helps(metric: str, low: float, high: float) -> float:
    """1 if registers surely improve the metric, 0 if they surely harm it, else NaN."""
    metric = names.without_minus_r0(metric)
    return (
        sign_of_interval(-high, -low) if metric in _LESS_IS_BETTER else sign_of_interval(low, high)
    )


def differences(
    measured: list[tuple[dict, str | Path]], claim: str, statistics: dict
) -> pd.DataFrame:
    """Tidy rows ``<metric>_minus_r0`` of every backbone that has a twin without registers.

    Args:
        measured: who (family, size, registers, kind, dataset) and file of each measurement.

    ``registers_help`` answers by the group's main metric (:data:`MAIN`).

    Raises:
        StudyError: the two were not tested on the same images.
    """
    keys = ("dataset", "family", "size", "registers")
    files = {tuple(who[key] for key in keys): path for who, path in measured}
    tables = [pd.DataFrame(columns=tidy.COLUMNS)]
    for who, path in measured:
        base = files.get((*(who[key] for key in keys[:3]), register_names.base(who["registers"])))
        if (
            base is None
            or base == path
            or register_names.base(who["registers"]) == who["registers"]
        ):
            continue
        (ids, own), (others, of_base) = read(path), read(base)
        if not np.array_equal(ids, others):
            raise StudyError(f"{path} and {base} do not hold the same images")
        bootstrap = Bootstrap.of(len(ids), statistics)
        rows = tidy.TidyRows(who, len(ids), statistics["seed"])
        for group, name in own:
            if (group, name) not in of_base:
                continue
            after = estimates(bootstrap, name, own[group, name])
            before = estimates(bootstrap, name, of_base[group, name])
            for metric, (value, resampled) in after.items():
                low, high = bootstrap.interval(resampled - before[metric][1])
                difference = value - before[metric][0]
                rows.add(claim, group, names.minus_r0(metric), difference, low, high, UNITS[metric])
                if metric in MAIN:
                    verdict = helps(metric, low, high)
                    rows.add(claim, group, "registers_help", verdict, unit="verdict")
        tables.append(rows.frame())
    tables = [table for table in tables if len(table)] or tables
    return pd.concat(tables, ignore_index=True)


def estimates(bootstrap: Bootstrap, name: str, values: np.ndarray) -> dict[str, tuple]:
    """Point and resamples of a mean over images; of mIoU and pixel accuracy (%) from areas.

    Args:
        values: what each image gave (image,), or by seed of the head (image, seed); areas
            (image, 3, classes) or (image, seed, 3, classes). Of several seeds the mean, and they
            are resampled as well.
    """
    if name != AREAS:
        total = bootstrap.sums(values) / len(values)
        return {name: _over_seeds(bootstrap, values.mean(0, dtype=np.float64), total)}
    summed, resampled = values.sum(0), bootstrap.sums(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            metric: _over_seeds(bootstrap, score(summed), score(resampled))
            for metric, score in (("miou", _miou), ("pixel_accuracy", _accuracy))
        }


def _miou(areas: np.ndarray) -> np.ndarray:
    return 100 * np.nanmean(class_iou(areas), -1)


def _accuracy(areas: np.ndarray) -> np.ndarray:
    return 100 * areas[..., 0, :].sum(-1) / areas[..., 2, :].sum(-1)


def _over_seeds(bootstrap: Bootstrap, points: np.ndarray, resampled: np.ndarray) -> tuple:
    """Mean over the seeds of a head and its resamples, of images and seeds.

    Few seeds vary less among themselves than seeds do: each is moved away from their mean so that
    their variance is that of the mean of so many.
    """
    if resampled.ndim == 1:
        return float(points), resampled
    count = resampled.shape[1]
    rng = np.random.default_rng([bootstrap.seed, bootstrap.images, count])
    weights = rng.multinomial(count, np.full(count, 1 / count), size=len(resampled)) / count
    mean = resampled.mean(1, keepdims=True)
    spread = (resampled - mean) * np.sqrt(count / (count - 1)) if count > 1 else 0.0
    return float(points.mean()), (mean[:, 0] + (spread * weights).sum(1))


def published(table: pd.DataFrame) -> pd.DataFrame:
    """The same differences of published figures, which come without intervals; runs averaged."""
    keys = ["source", "family", "size", "dataset", "group", "metric"]
    ours = table[table["metric"].isin(MAIN)]
    means = ours.groupby([*keys, "registers"], sort=False)["value"].mean().unstack("registers")
    gains = []
    for registers in means.columns.difference(["r0"]):
        gain = (means[registers] - means["r0"]).dropna().round(4).reset_index(name="value")
        gain = gain.assign(registers=registers, unit=gain["metric"].map(UNITS))
        gains.append(gain.assign(metric=gain["metric"].map(names.minus_r0)))
    return pd.concat(gains).reindex(columns=table.columns)
