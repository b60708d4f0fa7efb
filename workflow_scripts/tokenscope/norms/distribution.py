"""Claims 1 and 2: how the norms of patch tokens are distributed, block by block.

Darcet et al., "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588), section 2.1:
a few patches have a far higher norm than the others after the last block (claim 1), from some block
on (claim 2). Blocks are counted from 1, as there: "block 8 of 12".

    norms, bootstrap = tokens.norms(), Bootstrap(tokens.images)
    blocks = measure_blocks(norms, bootstrap, rules)
    pandas.DataFrame(claim2(blocks, bootstrap, rules))

``rules`` are those of a study's section ``outliers``: ``percentile`` (98), ``absolute`` (150),
``times_median`` (3) and ``min_share`` (0.1 percent). These are the rules of the papers; whether a
backbone has artifacts is decided by :mod:`tokenscope.norms.artifacts`, which needs no multiple.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from tokenscope.norms.artifacts import Judgement, cutoffs_of, measured
from tokenscope.norms.attention_maps import cls_attention
from tokenscope.norms.outlier_rule import cutoff, judged_mask, outlier_mask, share_metric
from tokenscope.norms.outliers import BlockNorms, block_norms, first_block
from tokenscope.norms.places import spread
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement

DENSITY_BINS = 120


def measure_blocks(
    norms: np.ndarray, bootstrap: Bootstrap, rules: dict,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BlockNorms]:  # fmt: skip
    """All rules on every block.

    Args:
        norms: (image, block, patch).
        progress: told how many blocks of how many are done.
    """
    blocks = []
    for b in range(norms.shape[1]):
        blocks.append(block_norms(norms[:, b], bootstrap, rules))
        progress(b + 1, norms.shape[1])
    return blocks


def claim1(
    blocks: list[BlockNorms], judgement: Judgement, norms: np.ndarray,
    prefix: dict[str, np.ndarray], attention: np.ndarray | None, bootstrap: Bootstrap, rules: dict,
) -> list[Measurement]:  # fmt: skip
    """Are there artifacts, where in the image, and does CLS look at them?

    Args:
        norms: (image, block, patch).
        prefix: norms of CLS and registers after the last block, by kind (image,).
        attention: of CLS in the last block (image, patch), None without CLS.
    """
    outlier = outliers(norms, judgement, rules)
    block = judgement.block if judgement.verdict == "yes" else norms.shape[1]
    return [
        *measured(judgement),
        *_of_block("last_block", blocks[-1]),
        *(Measurement.mean(kind, "norm_mean", own, bootstrap) for kind, own in prefix.items()),
        *cls_attention(attention, outlier, bootstrap),
        *spread(outlier, bootstrap),
        norm_over_normal(norms[:, block - 1], outlier, bootstrap),
    ]


def norm_over_normal(norms: np.ndarray, outlier: np.ndarray, bootstrap: Bootstrap) -> Measurement:
    """How many times as long outlier tokens are as the others, mean over mean.

    "Roughly ten times" in Darcet et al., section 2.1; undefined without outliers.

    Args:
        norms: (image, patch) of the block in which ``outlier`` (image, patch) was found.
    """
    group, metric, unit = "outlier", "norm_over_normal", "ratio"
    if not outlier.any() or outlier.all():
        return Measurement(group, metric, None, unit=unit)
    parts = [(norms * outlier).sum(1), outlier.sum(1), (norms * ~outlier).sum(1), (~outlier).sum(1)]
    high, many, low, others = (part.astype(np.float64) for part in parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = np.divide(*(bootstrap.sums(part) for part in (high, low)))
        resampled *= np.divide(*(bootstrap.sums(part) for part in (others, many)))
    value = high.sum() / many.sum() / (low.sum() / others.sum())
    return Measurement(group, metric, value, *bootstrap.interval(resampled), unit)


def outliers(norms: np.ndarray, judgement: Judgement, rules: dict) -> np.ndarray:
    """Which patches are outliers (image, patch): by the decision, in the block that was judged.

    Where it is not yes, those over ``times_median`` after the last block, as the papers count.

    Args:
        norms: (image, block, patch).
    """
    if judgement.verdict == "yes":
        return judged_mask(norms[:, judgement.block - 1], judgement.cutoff)
    return outlier_mask(norms[:, -1], rules["times_median"])


def claim2(blocks: list[BlockNorms], bootstrap: Bootstrap, rules: dict) -> list[Measurement]:
    """Every block's numbers; by the papers' rule the first block with outliers, that with most."""
    metric, least = share_metric(rules["times_median"]), rules["min_share"]
    shares = np.array([block.value[metric] for block in blocks])
    resampled = np.stack([block.resampled[metric] for block in blocks], axis=-1)
    ends = bootstrap.interval(first_block(resampled, least))
    peak = int(shares.argmax()) + 1 if shares.max() >= least else float("nan")
    return [
        *(m for b, block in enumerate(blocks) for m in _of_block(f"block{b + 1:02d}", block)),
        Measurement(
            "depth", "onset_block", float(first_block(shares, least)), *ends, "block, from 1"
        ),
        Measurement("depth", "peak_block", peak, unit="block, from 1"),
        Measurement("depth", "peak_share", shares.max(), unit="percent"),
    ]


def _of_block(group: str, block: BlockNorms) -> list[Measurement]:
    return [
        Measurement(
            group, metric, value, block.low[metric], block.high[metric],
            "percent" if "share" in metric else "",
        )
        for metric, value in block.value.items()
    ]  # fmt: skip


def density(norms: np.ndarray, bootstrap: Bootstrap) -> pd.DataFrame:
    """Density of log10(norm) by block, on bins shared by all blocks.

    Args:
        norms: (image, block, patch).

    Returns:
        ``block`` (from 1), ``norm`` (middle of the bin), ``density``, ``low``, ``high``, ``median``
        (of the block).
    """
    logs = np.log10(norms)
    edges = np.linspace(logs.min(), logs.max() + 1e-9, DENSITY_BINS + 1)
    width, tables = edges[1] - edges[0], []
    for b in range(norms.shape[1]):
        index = np.clip(((logs[:, b] - edges[0]) / width).astype(int), 0, DENSITY_BINS - 1)
        index += np.arange(len(index))[:, None] * DENSITY_BINS
        counts = np.bincount(index.ravel(), minlength=len(index) * DENSITY_BINS)
        counts = counts.reshape(-1, DENSITY_BINS) / norms.shape[2] / width
        point, low, high, _ = bootstrap.ratio(counts, np.ones((len(counts), 1)))
        tables.append(pd.DataFrame({
            "block": b + 1, "norm": 10 ** (edges[:-1] + width / 2), "density": point,
            "low": low, "high": high, "median": float(np.median(norms[:, b])),
        }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def cutoffs(norms: np.ndarray, block: BlockNorms, judgement: Judgement, rules: dict) -> dict:
    """The cutoff of each rule after one block and the decision, for claims that choose tokens.

    Args:
        norms: (image, patch) after that block, ``block`` what was measured of it.
    """
    percentile = f"norm_p{rules['percentile']:g}"
    return {
        "percentile": float(np.quantile(norms, rules["percentile"] / 100)),
        "percentile_low": block.low[percentile], "percentile_high": block.high[percentile],
        "absolute": rules["absolute"],
        "times_median": float(cutoff(norms, rules["times_median"])),
        "median": float(np.median(norms)), "rules": rules, "images": len(norms),
        "judged": cutoffs_of(judgement),
    }  # fmt: skip
