"""Maps of attention over patches: how peaked, how alike, and whether outliers or objects hold it.

Maps are (image, patch), the attention of CLS or of a register after the last block, over patches
only, as Darcet et al. show them (https://arxiv.org/abs/2309.16588). Claim 1 is that patches of
high norm and patches of high attention are the same: :func:`norms_and_attention`.
"""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import median_filter
from scipy.stats import norm as gauss

from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement

TOP = 0.02  # share of the patches whose attention says how peaked a map is
SMOOTH = 5  # patches on a side: what is as large as an object is in its median, a few patches not
# Of backbones without CLS: group of the rows, by array of the token store. Neither is a row of CLS.
WITHOUT_CLS = {"attention_received": "received", "attention_pooling": "pooling"}
PER_OCTAVE = 8  # cells of a joint histogram, and its ends, counted in them
NORMS, ATTENTIONS = (-32, 79), (-64, 95)
AGREEMENT = AUC, OVERLAP, ELSEWHERE = (
    "attention_norm_auc", "attention_norm_overlap", "attention_norm_auc_elsewhere",
)  # fmt: skip


def _top_count(patches: int) -> int:
    return max(1, round(TOP * patches))


def top_mass(maps: np.ndarray) -> np.ndarray:
    """Attention on the 2 % of patches that get most, at least one: (image,)."""
    return np.sort(maps, axis=1)[:, -_top_count(maps.shape[1]) :].sum(1)


def excess(maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Attention beyond that of the surroundings, on the 2 % of patches where it is most.

    The surroundings are the median of 5 x 5 patches: an object that is looked at is in it, a patch
    that stands alone, or a few together, is not.

    Args:
        maps: (image, patch), row by row. grid: rows and columns.

    Returns:
        (image,) percent of the attention to all patches.
    """
    square = maps.reshape(-1, *grid)
    around = median_filter(square, size=(1, SMOOTH, SMOOTH), mode="nearest").reshape(maps.shape)
    return 100 * top_mass(maps - around) / maps.sum(1)


def joint(norms: np.ndarray, maps: np.ndarray) -> dict[str, np.ndarray]:
    """How often patches have which norm and which attention at once, as columns of a table.

    Args:
        norms: (image, patch), after the last block. maps: (image, patch).

    Returns:
        ``norm``, in medians of all patches, and ``attention``, in multiples of uniform: middles of
        cells that are of one size on log scales; ``share`` of the patches, percent; the 98th
        percentile ``attention_p98`` of the attention, a constant. Cells without a patch are left
        out; what lies beyond the scales counts in their outermost cells.
    """
    relative = norms / np.median(norms)
    uniform = maps * maps.shape[1] / maps.sum(1, keepdims=True)
    cells = [
        np.clip(np.floor(np.log2(np.maximum(values, 1e-9)) * PER_OCTAVE), *ends)
        for values, ends in ((relative, NORMS), (uniform, ATTENTIONS))
    ]
    found, count = np.unique(np.stack([c.ravel() for c in cells]), axis=1, return_counts=True)
    norm, attention = 2 ** ((found + 0.5) / PER_OCTAVE)
    return {
        "norm": norm, "attention": attention, "share": 100 * count / norms.size,
        "attention_p98": np.full(len(count), np.percentile(uniform, 100 * (1 - TOP))),
    }  # fmt: skip


def norms_and_attention(
    agreement: Mapping[str, np.ndarray], patches: int, judged: int | None, bootstrap: Bootstrap
) -> dict[str, list[Measurement]]:
    """Claim 1 proper: do the patches of highest norm get most attention of CLS, block by block?

    Args:
        agreement: of the extraction, by name, (image, block), NaN where an image was not looked at:
            see :func:`tokenscope.forward.attention.agreement`.
        patches: of an image. judged: number of the block that was judged, from 1, or None.

    Returns:
        rows of ``claim1`` (last and judged block; the last against the attention of other images,
        so that what place alone does shows; what chance gives) and of ``claim2`` (every block).
    """
    depth = agreement[AUC].shape[1]

    def mean(group: str, metric: str, values: np.ndarray, factor: int = 1) -> Measurement:
        known = np.isfinite(values)
        sums, unit = np.where(known, factor * values, 0), "percent" if factor > 1 else ""
        return Measurement.ratio(group, metric, sums, known, bootstrap, unit)

    def of_block(group: str, block: int) -> list[Measurement]:
        return [
            mean(group, AUC, agreement[AUC][:, block]),
            mean(group, OVERLAP, agreement[OVERLAP][:, block], 100),
        ]

    auc, elsewhere = agreement[AUC][:, -1], agreement[ELSEWHERE][:, -1]
    images = int(np.isfinite(auc).sum())
    first = [
        *of_block("last_block", depth - 1),
        *(of_block("judged_block", judged - 1) if judged else ()),
        mean("last_block: other image", AUC, elsewhere),
        mean("last_block-other image", AUC, auc - elsewhere),
        *chance(patches, images, bootstrap.tails[1]),
    ]
    second = [m for block in range(depth) for m in of_block(f"block{block + 1:02d}", block)]
    return {"claim1": first, "claim2": second}


def chance(patches: int, images: int, upper: float = 0.975) -> list[Measurement]:
    """What agreement of norms and attention is without any, permuted within images: exact.

    Args:
        images: number of images behind a mean. upper: end of the interval, e.g. 0.975.

    Returns:
        expectation, with the interval that a mean over images falls into.
    """
    top = _top_count(patches)
    others, share = patches - top, top / patches
    variance = {  # of one image: Mann-Whitney's and the hypergeometric distribution's
        AUC: (patches + 1) / (12 * top * others) if others else 0.0,
        OVERLAP: share * (1 - share) / top * others / max(1, patches - 1),
    }
    rows = []
    for metric, expected, factor in ((AUC, 0.5, 1), (OVERLAP, share, 100)):
        reach = gauss.ppf(upper) * np.sqrt(variance[metric] / max(1, images))
        low, high = factor * (expected - reach), factor * (expected + reach)
        unit = "percent" if factor > 1 else ""
        rows.append(Measurement("chance", metric, factor * expected, low, high, unit))
    return rows


def cls_attention(
    maps: np.ndarray | None, outlier: np.ndarray, bootstrap: Bootstrap
) -> list[Measurement]:
    """How much of CLS's attention falls on outliers, and how peaked it is, in percent.

    Args:
        maps: of CLS; None for a backbone without CLS, whose share is undefined, not invented.
        outlier: (image, patch) mask.
    """
    if maps is None:
        return [Measurement("cls", "attention_share_on_outliers", None, unit="percent")]
    masses = {
        "attention_share_on_outliers": (maps * outlier).sum(1),
        "attention_share_of_top_2_percent": top_mass(maps),
    }
    total = maps.sum(1)
    return [
        Measurement.ratio("cls", metric, 100 * mass, total, bootstrap, "percent")
        for metric, mass in masses.items()
    ]


def without_cls(
    group: str, maps: np.ndarray, outlier: np.ndarray, last: np.ndarray, grid: tuple[int, int],
    bootstrap: Bootstrap,
) -> list[Measurement]:  # fmt: skip
    """What is said of CLS's attention elsewhere, of another map of the last block.

    Args:
        group: ``received``, what patches get from all tokens, or ``pooling``, the row of the latent
            that pools (:data:`WITHOUT_CLS`).
        maps, last: (image, patch) attention, and norms after the last block.
        outlier: (image, patch) mask. grid: rows and columns.
    """
    from torch import from_numpy  # where there is CLS, this job needs no torch

    from tokenscope.forward.attention import agreement

    auc, overlap = (x.numpy() for x in agreement(from_numpy(maps), from_numpy(last)))
    named = cls_attention(maps, outlier, bootstrap)
    peaks = excess(maps, grid)
    return [
        *(measurement._replace(group=group) for measurement in named),
        Measurement.mean(group, "attention_excess", peaks, bootstrap, "percent"),
        Measurement.mean(group, AUC, auc, bootstrap),
        Measurement.mean(group, OVERLAP, 100 * overlap, bootstrap, "percent"),
        *(m._replace(group=f"{group}: chance") for m in chance(maps.shape[1], len(maps))),
    ]


def entropy(maps: np.ndarray) -> np.ndarray:
    """Entropy of each map as a share of its maximum: 1 uniform, 0 on one patch (image,)."""
    p = maps / maps.sum(1, keepdims=True)
    return -(p * np.log(np.maximum(p, 1e-30))).sum(1) / np.log(maps.shape[1])


def object_share(instance: np.ndarray, patches: int) -> np.ndarray | None:
    """Share of each patch that objects cover.

    Args:
        instance: (image, row, column) number of the object at each pixel, 0 is background.
        patches: of an image, on a square grid.

    Returns:
        (image, patch); None where the grid's patches would cut pixels.
    """
    grid, size = round(patches**0.5), instance.shape[1]
    if grid * grid != patches or size % grid:
        return None
    tiles = instance.reshape(-1, grid, size // grid, grid, size // grid)
    return (tiles > 0).mean((2, 4)).reshape(-1, patches)
