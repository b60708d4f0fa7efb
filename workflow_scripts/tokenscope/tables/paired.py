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
    """Point and resamples of a mean over images; of mIoU and pixel accuracy (%) from areas."""
    if name != AREAS:
        point, _, _, draws = bootstrap.ratio(values, np.ones(len(values)))
        return {name: (point, draws)}
    iou, resampled = class_iou(values.sum(0)), class_iou(bootstrap.sums(values))
    right, counted = values[:, 0].sum(1), values[:, 2].sum(1)
    accuracy, _, _, draws = bootstrap.ratio(100 * right, counted)
    return {
        "miou": (100 * np.nanmean(iou), 100 * np.nanmean(resampled, 1)),
        "pixel_accuracy": (accuracy, draws),
    }


def published(table: pd.DataFrame) -> pd.DataFrame:
    """The same differences of published figures, which come without intervals; runs averaged."""
    keys = ["source", "family", "size", "dataset", "group", "metric"]
    ours = table[table["metric"].isin(MAIN)]
    means = ours.groupby([*keys, "registers"], sort=False)["value"].mean().unstack("registers")
    gains = []
    for registers in means.columns.difference(["r0"]):
        gain = (means[registers] - means["r0"]).dropna().round(4).reset_index(name="value")
        gains.append(gain.assign(registers=registers, metric=gain["metric"].map(names.minus_r0)))
    return pd.concat(gains).reindex(columns=table.columns)
