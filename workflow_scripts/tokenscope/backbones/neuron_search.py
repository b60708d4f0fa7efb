"""Search for the neurons that write a backbone's outliers, and for how few must be moved.

After Jiang et al., "Vision Transformers Don't Need Trained Registers"
(https://arxiv.org/abs/2506.08010). The criterion is the same for every backbone, and all of it
comes from data:

1. Outliers are patches over the outlier rule's cutoff after the block where most are (the peak).
2. Neurons of the blocks up to there are scored by the norm that they add at outliers beyond what
   they add elsewhere; candidates fire at least ``contrast`` times as strongly at outliers.
3. The fewest of the leading 1, 2, 4, 8 ... candidates that leave fewer outliers than ``min_share``
   when moved to one register, tried on the other half of the images, are the register neurons.
   Where no number does, it is the one that leaves fewest.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tokenscope.backbones.test_time_registers import (
    Scores,
    attach,
    overlap,
    random_neurons,
    rank,
    score,
)
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.precision import autocast
from tokenscope.norms.outlier_rule import Judged, cutoff, judged_mask, outlier_mask
from tokenscope.norms.outliers import first_block

SCORES_SHOWN = 400  # scores of so many neurons of each block go to the figure


@dataclass(frozen=True)
class Outliers:
    """Where a backbone has most outliers.

    Attributes:
        cutoffs: of each block (block,). peak: block with most, from 1, or the one that was judged.
        share: percent there.
        onset: block from which on they reach ``min_share``, from 1; None where they never do.
        at_peak: (image, patch) mask after the peak block.
    """

    cutoffs: np.ndarray
    peak: int
    share: float
    onset: int | None
    at_peak: np.ndarray

    @classmethod
    def judged(cls, norms: np.ndarray, judged: Judged) -> "Outliers":
        """By the backbone's own decision: its cutoff, in the block judged and those after it."""
        at_peak = judged_mask(norms[:, judged.block - 1], judged.ratio_cutoff)
        bars = cutoff(norms, judged.ratio_cutoff)
        bars[: judged.block - 1] = np.inf
        share = 100 * float(at_peak.mean())
        return cls(bars, judged.block, share, None, at_peak)

    @classmethod
    def of(cls, norms: np.ndarray, times: float, min_share: float) -> "Outliers":
        """By the outlier rule on (image, block, patch) norms."""
        mask = outlier_mask(norms, times)
        shares = 100 * mask.mean((0, 2))
        peak, first = int(shares.argmax()), first_block(shares, min_share)
        onset = None if np.isnan(first) else int(first)
        return cls(cutoff(norms, times), peak + 1, float(shares.max()), onset, mask[:, peak])


@dataclass(frozen=True)
class Search:
    """What a search came to.

    Attributes:
        scores: of every block up to the peak.
        tried: ``neurons`` moved and the percent of outliers (``share``) left, try by try.
        neurons: the register neurons (block from 1, neuron); random: as many others of the same
            blocks, the control. Both empty where there was no candidate.
        overlap: Jaccard index with the same search on the other half; None without candidates.
    """

    scores: list[Scores]
    tried: list[dict]
    neurons: list[tuple[int, int]]
    random: list[tuple[int, int]]
    overlap: float | None


def search(
    fresh: Callable[[], nn.Module],
    batches: Callable[[np.ndarray], Iterator[tuple[Tensor, np.ndarray]]],
    outlier: np.ndarray,
    before: Outliers,
    settings: dict,
    min_share: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Search:
    """Find the register neurons of a backbone.

    Args:
        fresh: opens the backbone anew.
        batches: normalised images, batch by batch, of given images (numbers) with their numbers.
        outlier: (image, patch) mask after the peak block, of the images that ``batches`` gives.
        before: outliers of the backbone as it is.
        settings: ``contrast``, ``max_neurons``, ``seed``.
        min_share: percent of outliers below which a backbone has none.
        progress: told how many tries of how many are done.
    """
    model, every = fresh(), np.arange(len(outlier))
    half = every % 2
    scores = score(model, ((x, outlier[at], half[at]) for x, at in batches(every)), before.peak)
    ranked = rank(scores, settings["contrast"], slice(0, 1))
    most = min(settings["max_neurons"], len(ranked))
    counts = [2**i for i in range(20) if 2**i <= most]
    tried = []
    for number, count in enumerate(counts):
        moved = attach(fresh(), ranked[:count], 1)
        left = worst_share(moved, batches(every[half == 1]), before.cutoffs)
        tried.append({"neurons": count, "share": left})
        progress(number + 1, len(counts))
        if left < min_share:
            break
    if not tried:
        return Search(scores, [], [], [], None)
    count = best(tried, min_share)["neurons"]
    neurons, others = ranked[:count], rank(scores, settings["contrast"], slice(1, 2))[:count]
    random = random_neurons(model, neurons, settings["seed"])
    return Search(scores, tried, neurons, random, overlap(neurons, others))


def best(tried: list[dict], min_share: float) -> dict:
    """The try that leaves fewer outliers than ``min_share``; where none does, fewest of all."""
    return min(tried, key=lambda t: (t["share"] >= min_share, t["share"], t["neurons"]))


@torch.inference_mode()
def worst_share(
    model: nn.Module, batches: Iterable[tuple[Tensor, np.ndarray]], cutoffs: np.ndarray
) -> float:
    """Percent of patches over the cutoffs (block,) after the block where most are.

    Args:
        batches: normalised images, and their numbers.
    """
    over, images = np.zeros(len(cutoffs)), 0
    with TokenHooks(model) as observe:
        for x, _ in batches:
            with autocast(x.device):
                norms = observe(x)["norms"][:, :, model.num_prefix_tokens :].cpu().numpy()
            over = over + (norms > cutoffs[:, None]).mean(2).sum(0)
            images += len(x)
    return float(100 * (over / images).max())


def score_table(scores: list[Scores], neurons: list[tuple[int, int]]) -> pd.DataFrame:
    """Scores of the leading neurons of each block, both halves of the images together.

    Returns:
        ``block`` (from 1), ``neuron``, ``outlier``, ``normal``, ``contribution`` and ``chosen``,
        whether it is one of ``neurons``. Without scores: no rows.
    """
    columns = ["block", "neuron", "outlier", "normal", "contribution", "chosen"]
    chosen, parts = set(map(tuple, neurons)), [pd.DataFrame(columns=columns)]
    for s in scores:
        part = pd.DataFrame({
            "block": s.block, "neuron": np.arange(len(s.length)),
            "outlier": np.nanmean(s.outlier, 0), "normal": np.nanmean(s.normal, 0),
            "contribution": s.contribution(),
        })  # fmt: skip
        part["chosen"] = [(s.block, n) in chosen for n in part["neuron"]]
        parts.append(part.nlargest(SCORES_SHOWN, "contribution"))
    return pd.concat(parts[1:] or parts)
