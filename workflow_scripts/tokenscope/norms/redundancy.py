"""Claim 3, by the neighbour cosine: do outliers sit where neighbouring patches look alike?

Darcet et al., "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588), section 2.2:
the cosine similarity of a patch with its 4 neighbours right after the patch embedding, without
position, is higher for outliers than for normal tokens.

    cosine, outlier = tokens.read("neighbour_cosine"), outlier_mask(tokens.norms(-1), 3)
    pandas.DataFrame(compare(cosine, outlier, [0.9], Bootstrap(tokens.images)))

Outliers may lie where patches are alike because of the images or the places they are in: beside
what these alone make of a token, :func:`compare_matched` says what is left.

Similarities are (image, patch, neighbour), NaN where a border patch has no neighbour; with the mean
over a patch's neighbours in their place, the last axis is 1.
"""

import numpy as np
import pandas as pd

from tokenscope.norms.matching import Freed, auc, auc_freed, means
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement, of_difference

BINS = 100
MIN_FREE = 0.25  # of the variance: below, image and place alone nearly say who is an outlier
NO_MATCH = "place and image alone nearly say who is an outlier: there is nothing to compare with"


def by_pooling(cosine: np.ndarray) -> dict[str, np.ndarray]:
    """The two ways of pooling: every ``pair`` of neighbours, and the mean of each ``patch``."""
    return {"pair": cosine, "patch": np.nanmean(cosine, axis=2, keepdims=True)}


def compare(
    cosine: np.ndarray, outlier: np.ndarray, similarities: list[float], bootstrap: Bootstrap,
    pooling: str = "pair",
) -> list[Measurement]:  # fmt: skip
    """Mean similarity and shares above thresholds of outlier and normal tokens, and their ratio.

    Args:
        cosine: (image, patch, neighbour or 1). outlier: (image, patch) mask.
        similarities: thresholds; the first is the one of the metric ``redundant_region_ratio``,
            which stands beside the published "2.5 times more likely".
        pooling: ``pair`` or ``patch``, what ``cosine`` holds; it is part of the metrics' names.

    Returns:
        of the groups ``outlier``, ``normal``, ``outlier-normal`` (means), ``outlier/normal``
        (shares; NaN where no normal token is above the threshold).
    """
    suffix = "" if pooling == "pair" else "_patch"
    masks = {"outlier": outlier, "normal": ~outlier}
    metric = f"neighbour_cosine{suffix}_mean"
    rows, mean, resampled = [], {}, {}
    for group, mask in masks.items():
        sums = _sums(cosine, mask, cosine)
        mean[group], low, high, resampled[group] = bootstrap.ratio(*sums)
        rows.append(Measurement(group, metric, mean[group], low, high))
    ends = bootstrap.interval(resampled["outlier"] - resampled["normal"])
    rows.append(Measurement("outlier-normal", metric, mean["outlier"] - mean["normal"], *ends))
    for number, similarity in enumerate(similarities):
        metric, share = f"neighbour_cosine{suffix}_share_over_{similarity:g}", {}
        for group, mask in masks.items():
            above, pairs = _sums(cosine, mask, cosine > similarity)
            share[group], low, high, resampled[group] = bootstrap.ratio(100.0 * above, pairs)
            rows.append(Measurement(group, metric, share[group], low, high, "percent"))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.divide(share["outlier"], share["normal"])
            ends = bootstrap.interval(resampled["outlier"] / resampled["normal"])
        metric = f"redundant_region_ratio{suffix}"
        metric += f"_over_{similarity:g}" if number else ""
        value = ratio if np.isfinite(ratio) else float("nan")
        rows.append(Measurement("outlier/normal", metric, value, *ends, "ratio"))
    return rows


def compare_matched(
    cosine: np.ndarray, freed: Freed, similarities: list[float], bootstrap: Bootstrap,
    pooling: str = "pair",
) -> list[Measurement]:  # fmt: skip
    """The same beside tokens of the same images and places: what is not theirs alone.

    Each patch counts once, by the mean over its neighbours. Where image and place leave less than
    :data:`MIN_FREE` open about who is an outlier there is nothing to say: no rows.

    Args:
        cosine, similarities, pooling: see :func:`compare`.
        freed: :func:`tokenscope.norms.matching.free` of the outliers.

    Returns:
        of the groups ``matched``, ``outlier-matched`` (means, points of shares), and
        ``outlier/matched`` (ratio of shares).
    """
    if freed.share < MIN_FREE:
        return []
    suffix = "" if pooling == "pair" else "_patch"
    rows = []
    for number, similarity in enumerate([None, *similarities]):
        if similarity is None:
            metric, values, unit = f"neighbour_cosine{suffix}_mean", np.nanmean(cosine, 2), ""
        else:
            metric, unit = f"neighbour_cosine{suffix}_share_over_{similarity:g}", "percent"
            above = np.where(cosine > similarity, np.float32(100), np.float32(0))
            values = np.nanmean(np.where(np.isfinite(cosine), above, np.float32(np.nan)), 2)
        (own, owns), (other, others) = means(values, freed, bootstrap)
        rows.append(Measurement("matched", metric, other, *bootstrap.interval(others), unit))
        ends = bootstrap.interval(owns - others)
        gap = Measurement("outlier-matched", metric, own - other, *ends, of_difference(unit))
        rows.append(gap)
        if similarity is not None:
            name = f"redundant_region_ratio{suffix}"
            name += f"_over_{similarity:g}" if number > 1 else ""
            with np.errstate(invalid="ignore", divide="ignore"):
                ends = bootstrap.interval(np.where(others > 0, owns / others, np.nan))
            ratio = own / other if other > 0 else float("nan")
            rows.append(Measurement("outlier/matched", name, ratio, *ends, "ratio"))
    return rows


def aucs(
    cosine: np.ndarray, outlier: np.ndarray, freed: Freed, bootstrap: Bootstrap
) -> list[Measurement]:
    """Chance that an outlier resembles its neighbours more than a normal token does.

    Unlike a share above a similarity it does not saturate where nearly all patches are alike.

    Args:
        cosine: (image, patch, neighbour). outlier: (image, patch) mask.

    Returns:
        ``neighbour_cosine_auc`` of the groups ``outlier-normal`` (any two tokens) and
        ``outlier-matched`` (both freed of what image and place do).
    """
    values, metric = np.nanmean(cosine, 2), "neighbour_cosine_auc"
    rows = [Measurement("outlier-normal", metric, *auc(values, outlier, bootstrap))]
    if freed.share >= MIN_FREE:
        within = auc_freed(values, freed, bootstrap)
        rows.append(Measurement("outlier-matched", metric, *within))
    return rows


def _sums(
    cosine: np.ndarray, mask: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per image: sum of ``values`` over the neighbours that exist of the masked patches."""
    counted = np.isfinite(cosine) & mask[:, :, None]
    return np.where(counted, values, 0).sum((1, 2)), counted.sum((1, 2))


def curves(cosine: np.ndarray, outlier: np.ndarray, bootstrap: Bootstrap) -> pd.DataFrame:
    """Densities of the similarity (Fig 3), and the whole curve of the ratio.

    Args:
        cosine: (image, patch, neighbour or 1). outlier: (image, patch) mask.

    Returns:
        ``group`` (outlier, normal, ratio), ``cosine``, ``density``, ``low``, ``high``. In the group
        ``ratio``, ``density`` is the ratio of the shares above that similarity.
    """
    middle = -1 + (np.arange(BINS) + 0.5) * 2 / BINS
    tables, share = [], {}
    for group, mask in (("outlier", outlier), ("normal", ~outlier)):
        counts = _histogram(cosine, mask)
        scaled = counts * (BINS / 2)
        point, low, high, _ = bootstrap.ratio(scaled, counts.sum(1, keepdims=True))
        tables.append(_curve(group, middle, point, low, high))
        above = counts[:, ::-1].cumsum(1)[:, ::-1]
        share[group] = bootstrap.ratio(above, above[:, :1])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = share["outlier"][0] / share["normal"][0]
        ends = bootstrap.interval(share["outlier"][3] / share["normal"][3])
    tables.append(_curve("ratio", middle - 1 / BINS, ratio, *ends))
    return pd.concat(tables, ignore_index=True).replace([np.inf, -np.inf], np.nan)


def _curve(group, cosine, density, low, high) -> pd.DataFrame:
    table = {"group": group, "cosine": cosine, "density": density, "low": low, "high": high}
    return pd.DataFrame(table)


def _histogram(cosine: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Counts (image, bin) of similarities of the masked patches, bins over -1 to 1."""
    index = np.clip(((cosine + 1) / 2 * BINS), 0, BINS - 1)
    counted = np.isfinite(cosine) & mask[:, :, None]
    image = np.broadcast_to(np.arange(len(cosine))[:, None, None], cosine.shape)
    flat = np.where(counted, index, 0).astype(int)[counted] + BINS * image[counted]
    return np.bincount(flat, minlength=len(cosine) * BINS).reshape(-1, BINS)
