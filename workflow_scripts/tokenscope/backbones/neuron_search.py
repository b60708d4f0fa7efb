"""Search for the neurons that write a backbone's outliers, and for how few must be moved.

After Jiang et al., "Vision Transformers Don't Need Trained Registers"
(https://arxiv.org/abs/2506.08010). The criterion is the same for every backbone, and all of it
comes from data:

1. Outliers are patches over the outlier rule's cutoff after the block where most are (the peak).
2. Neurons of the blocks up to there are scored by the norm that they add at outliers beyond what
   they add elsewhere; candidates fire at least ``contrast`` times as strongly at outliers.
3. How many of the leading ones are moved to one register, and of which blocks, is tried on the
   other half of the images: outliers must be gone and function kept
   (:mod:`tokenscope.backbones.neuron_choice`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor, nn

from tokenscope.backbones.neuron_choice import Batches, Trial, Trials, choose, norms_of
from tokenscope.backbones.test_time_registers import (
    Scores,
    overlap,
    published_count,
    published_rank,
    random_neurons,
    rank,
    score,
)
from tokenscope.norms.artifacts import Judgement, cutoffs_of, judge
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
    def judged(
        cls, norms: np.ndarray, judged: Judged, onset: float = float("nan")
    ) -> "Outliers":  # fmt: skip
        """By the backbone's own decision: its cutoff, in the block judged and those after it."""
        at_peak = judged_mask(norms[:, judged.block - 1], judged.ratio_cutoff)
        bars = cutoff(norms, judged.ratio_cutoff)
        bars[: judged.block - 1] = np.inf
        share = 100 * float(at_peak.mean())
        first = None if np.isnan(onset) else int(onset)
        return cls(bars, judged.block, share, first, at_peak)

    @classmethod
    def decided(cls, norms: np.ndarray, rules: dict) -> tuple[Judgement, "Outliers"]:
        """By the decision about norms (image, block, patch), else by the outlier rule.

        Args:
            rules: ``confidence`` of the decision; ``times_median`` over which a patch is an outlier
                where it finds no artifacts, from ``min_share`` (percent) of the patches on.
        """
        judgement = judge(norms, confidence=rules["confidence"])
        judged = Judged.of({"judged": cutoffs_of(judgement)})
        if judged.yes:
            return judgement, cls.judged(norms, judged, judgement.onset)
        return judgement, cls.of(norms, rules["times_median"], rules["min_share"])

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
        tried: what was tried on the second half of the images, try by try.
        neurons: the register neurons (block from 1, neuron); random: as many others of the same
            blocks, the control. Both empty where there was no candidate.
        published: those that the published search moves by default, of the same images.
        overlap: Jaccard index with as many that the other half ranks first; None without
            candidates.
    """

    scores: list[Scores]
    tried: list[Trial]
    neurons: list[tuple[int, int]]
    random: list[tuple[int, int]]
    published: list[tuple[int, int]]
    overlap: float | None


def search(
    fresh: Callable[[], nn.Module],
    batches: Callable[[np.ndarray], Iterator[tuple[Tensor, np.ndarray]]],
    outlier: np.ndarray,
    before: Outliers,
    settings: dict,
    head: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Search:
    """Find the register neurons of a backbone.

    Args:
        fresh: opens the backbone anew.
        batches: normalised images, batch by batch, of given images (numbers) with their numbers.
        outlier: (image, patch) mask after the peak block, of the images that ``batches`` gives.
        before: outliers of the backbone as it is.
        settings: ``contrast``, ``max_neurons``, ``seed``, and the ``min_share`` (percent) of
            outliers below which a backbone has none.
        head: whether its own head is a classifier, which is to agree with itself.
        progress: told how many tries of how many are done.
    """
    model, every = fresh(), np.arange(len(outlier))
    half = every % 2
    scores = score(model, ((x, outlier[at], half[at]) for x, at in batches(every)), before.peak)
    ranked = rank(scores, settings["contrast"], slice(0, 1))
    if not ranked:
        return Search(scores, [], [], [], [], None)
    del model
    trials = Trials(fresh, lambda: batches(every[half == 1]), before.cutoffs, head)
    chosen, tried = choose(
        trials, ranked, settings["max_neurons"], settings["min_share"], progress
    )  # fmt: skip
    neurons = list(chosen.neurons)
    others = rank(scores, settings["contrast"], slice(1, 2))[: len(neurons)]
    highest = before.onset or neurons[0][0]
    theirs = published_rank(scores, highest)[: published_count(len(trials.model.blocks))]
    random = random_neurons(trials.model, neurons, settings["seed"])
    return Search(scores, tried, neurons, random, theirs, overlap(neurons, others))


def judge_unseen(
    trials: Trials, found: Search, labels: np.ndarray | None = None
) -> pd.DataFrame:  # fmt: skip
    """What the choice, its controls and the published search do on images that chose nothing.

    Args:
        trials: on those images. found: the search. labels: true classes (image,), where known.

    Returns:
        see :func:`trial_table`: ``before``, ``testtime``, ``random``, ``zeroed``, ``published``.
    """
    judged = [
        trials.before,
        trials(found.neurons, "testtime"),
        trials(found.random, "random"),
        trials(found.neurons, "zeroed", moves=False),
        trials(found.published, "published"),
    ]
    return trial_table(judged, "unseen", labels)


def transfer(
    fresh: Callable[[], nn.Module], batches: Batches, found: Search, rules: dict,
    head: bool = False, labels: np.ndarray | None = None,
) -> tuple[dict, pd.DataFrame]:  # fmt: skip
    """What the choice and its control do at another size, where it was not made.

    Args:
        fresh: opens the backbone anew, for images of that size. batches: of these images, of which
            none took part in the search.
        rules: of :meth:`Outliers.decided`, which decides anew at this size.
        head, labels: as in :func:`search` and :func:`judge_unseen`.

    Returns:
        ``verdict``, whether there are high-norm artifacts at this size; ``share`` and ``kept`` of
        the choice, ``share_before`` and ``share_random`` (percent of patches over the cutoff); and
        :func:`trial_table` of the images ``transfer``.
    """
    judgement, outliers = Outliers.decided(norms_of(fresh(), batches), rules)
    trials = Trials(fresh, batches, outliers.cutoffs, head)
    random = trials(found.random, "random")
    moved = trials(found.neurons, "testtime")
    summary = {
        "verdict": judgement.verdict, "share_before": trials.before.share, "share": moved.share,
        "share_random": random.share, "kept": float(moved.kept.mean()),
    }  # fmt: skip
    return summary, trial_table([trials.before, moved, random], "transfer", labels)


def trial_table(
    trials: list[Trial], images: str, labels: np.ndarray | None = None
) -> pd.DataFrame:  # fmt: skip
    """A line for each try and image.

    Returns:
        ``images`` (which: ``search``, ``unseen``, ``transfer``), ``how``, ``neurons`` (number),
        ``try`` (counted from 1), ``image``, ``over`` (percent of its patches over the cutoff),
        ``kept``, ``right`` (1 where the own head names the label, empty where nobody knows).
    """
    columns = ["images", "how", "neurons", "try", "image", "over", "kept", "right"]
    parts = [pd.DataFrame(columns=columns)]
    for number, trial in enumerate(trials, 1):
        right = np.full(len(trial.over), np.nan)
        if labels is not None and trial.classes is not None:
            right = (trial.classes == labels).astype(float)
        parts.append(pd.DataFrame({
            "images": images, "how": trial.how, "neurons": len(trial.neurons), "try": number,
            "image": np.arange(len(trial.over)), "over": trial.over, "kept": trial.kept,
            "right": right,
        }))  # fmt: skip
    return pd.concat(parts[1:] or parts)


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
