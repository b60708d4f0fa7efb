"""Has a backbone high-norm artifacts? The one decision that everything else asks.

    from tokenscope.norms.artifacts import judge
    judge(norms).verdict  # "yes", "no" or "cannot tell"

A backbone has high-norm artifacts in a block if some of its patch tokens form a mode of their own
above the bulk, within images (Darcet et al., https://arxiv.org/abs/2309.16588, section 2.1, read it
off the histogram of norms, which is bimodal). :mod:`tokenscope.stats.modes` finds the mode; here is
what it takes to say yes or no:

- *Yes*: the density of norms surely rises again above the bulk, by tokens and by images, the error
  held over all blocks tried; and ``min_share`` of all tokens or more are above the valley, which is
  the cutoff. Modes that are there from the first block on and stand out no further later are the
  patch embedding's.
- *No*: there is no sign of a mode (no rise where tokens are counted one by one, no shoulder), but
  in so few images that surely less than ``image_share`` of them hold one; and a mode of
  ``min_share`` of tokens would have been seen at ``smallest_ratio`` times the median or above.
- *Cannot tell* otherwise, with the reason.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from tokenscope.errors import StudyError
from tokenscope.norms.outlier_rule import FLOOR, image_ratios
from tokenscope.stats.measurement import Measurement
from tokenscope.stats.modes import (
    BIN,
    SHOULDERS,
    Moments,
    first_visible,
    scan,
    shoulder,
    spill,
    threshold,
    upper_counts,
    valley,
)
from tokenscope.stats.proportion import clustered_interval, exact_upper

MOST = 0.25  # of all tokens: what is more than this is a second bulk, no artifact
APART = 1.8  # of the median: two kinds of ordinary patches may differ by so much
ALARM = 0.8  # confidence at which a sign of a mode forbids a "no": many false alarms, few misses
GROWN = 1.25  # a mode of the embedding must stand out so many times further to be the network's
HIDDEN = 0.6  # of the least share: what a shoulder must hold for a mode to hide in it
POWER = 0.95
EARLY = 2.5  # of the median: nearer modes count only in the last block, others have not parted yet
VISIBLE = 5  # a "no" excludes modes of so many times the least share, if it cannot the least
Interval = tuple[float, float]
UNKNOWN = (float("nan"), float("nan"))
ANSWERS = {"yes": 1.0, "no": 0.0, "cannot tell": float("nan")}


@dataclass(frozen=True)
class BlockMode:
    """What one block shows.

    Attributes:
        verdict: ``yes``, ``no`` or ``cannot tell``; ``why``: the reason, half a sentence.
        share, share_interval: percent of patch tokens above the cutoff; without a mode 0 and the
            share of images that may hold one.
        image_share, image_share_interval: percent of images with such a token.
        ratio: median over the tokens of the mode of norm over image median (the papers' "10 x"); of
            a sign of one, where it begins.
        cutoff: the valley, in medians of the token's own image.
        smallest_ratio: without a mode, from which on one would have been seen; maybe infinite.
        strength: of the evidence, in sigmas.
        embedding: whether the mode is the patch embedding's.
    """

    verdict: str
    why: str
    share: float = 0.0
    share_interval: Interval = UNKNOWN
    image_share: float = 0.0
    image_share_interval: Interval = UNKNOWN
    ratio: float = UNKNOWN[0]
    cutoff: float = float("nan")
    smallest_ratio: float = float("nan")
    strength: float = 0.0
    embedding: bool = False


@dataclass(frozen=True)
class Judgement:
    """The decision on a backbone; shares in percent, blocks counted from 1.

    Attributes:
        verdict: ``yes``, ``no`` or ``cannot tell``. why: the reason, a sentence.
        block: that was judged: the last, or if only others have a mode, the one that shows it best
        onset: first block from which on the mode has come at least half the way to its ratio in the
            judged block (on a log scale); NaN without.
        share, share_interval, ratio, cutoff, smallest_ratio: of the judged block.
        blocks: what each block shows.
    """

    verdict: str
    why: str
    block: int
    onset: float
    share: float
    share_interval: Interval
    ratio: float
    cutoff: float
    smallest_ratio: float
    images: int
    blocks: list[BlockMode] = field(repr=False)

    @property
    def last_block(self) -> str:
        """The answer for the last block, whose tokens users take."""
        last = self.blocks[-1]
        return "cannot tell" if last.embedding else last.verdict


def judge(
    norms: np.ndarray, *, min_share: float = 0.1, image_share: float = 2.0,
    confidence: float = 0.95,
) -> Judgement:  # fmt: skip
    """Decide from norms of patch tokens whether they have high-norm artifacts.

    Args:
        norms: (image, patch) of one block, or (image, block, patch), of patch tokens only.
        min_share: percent of tokens; fewer are not worth the name.
        image_share: percent of images; a "no" surely excludes that so many hold a mode.
        confidence: of the decision, held over all blocks, and of the intervals.

    Raises:
        StudyError: norms of another shape, or zero, negative or not finite.
    """
    norms = np.asarray(norms)
    if norms.ndim == 2:
        norms = norms[:, None]
    if norms.ndim != 3 or 0 in norms.shape or norms.shape[2] < 2:
        raise StudyError(
            f"norms are (image, patch) or (image, block, patch), of two patches or more, not "
            f"{norms.shape}"
        )
    rules = (min_share, image_share, confidence)
    blocks = [judge_block(norms[:, b], norms.shape[1], *rules) for b in range(norms.shape[1])]
    return judge_blocks(blocks, len(norms))


def judge_block(
    norms: np.ndarray, tried: int = 1, min_share: float = 0.1, image_share: float = 2.0,
    confidence: float = 0.95,
) -> BlockMode:  # fmt: skip
    """What one block of ``tried`` shows, norms (image, patch); see :func:`judge`."""
    ratios = image_ratios(norms)
    images, tokens, least = len(ratios), ratios.size, min_share / 100
    counts = upper_counts(ratios, FLOOR)
    moments = Moments(counts)
    found = scan(moments)
    needed = threshold(confidence, tried)
    if found.strength < needed:
        # With few tokens only larger modes are seen.
        visible = max(least, (needed + stats.norm.ppf(POWER)) ** 2 / POWER / tokens)
        first = first_visible(moments, POWER * visible * tokens, needed + stats.norm.ppf(POWER))
        blind = float("inf") if first is None else _ratio(first)
        doubt, near, odd = _doubt(counts, tried, tokens, least, image_share / 100, confidence)
        bound = 100 * exact_upper(odd, images, confidence)
        excluded: dict[str, Any] = {
            "share_interval": (0.0, bound), "image_share_interval": (0.0, bound),
            "smallest_ratio": blind, "strength": found.strength, "ratio": near,
        }  # fmt: skip
        if not doubt and bound > image_share:
            few = f"{images} image{'s' * (images > 1)}"
            doubt = f"nothing stands out, but of {few} {bound:.2g} % may be such that hold a mode"
        if not doubt and (visible > VISIBLE * least or not np.isfinite(blind)):
            doubt = f"{tokens} tokens are too few to see a mode of {min_share:g} % of them"
        if doubt:
            return BlockMode("cannot tell", doubt, **excluded)
        why = (
            f"norms fall off in a tail without a second mode{_but_for(odd)}: fewer than "
            f"{bound:.2g} % of images hold one, of {100 * visible:.2g} % of tokens at {blind:.2g} "
            f"x median or above ({100 * confidence:g} % confidence)"
        )
        return BlockMode("no", why, **excluded)

    bottom = valley(moments.total, found)
    cutoff = _ratio(bottom)
    outlier = ratios > cutoff
    held = outlier.sum(1)
    share, low, high = (100 * v for v in clustered_interval(held, ratios.shape[1], confidence))
    lost, gained = (100 * spilt / tokens for spilt in spill(moments.total, found, bottom))
    low, high = max(0.0, low - gained), high + lost
    holders = (held > 0).mean()
    mode: dict[str, Any] = {
        "share": share, "share_interval": (low, high), "image_share": 100 * float(holders),
        "image_share_interval": tuple(
            100 * v for v in clustered_interval(held > 0, 1, confidence)[1:]
        ),
        "ratio": float(np.median(ratios[outlier])), "cutoff": cutoff,
        "strength": found.strength,
    }  # fmt: skip
    about = f"{share:.3g} % of tokens [{low:.3g}, {high:.3g}] at {mode['ratio']:.2g} x median"
    if share > 100 * MOST:
        return BlockMode("cannot tell", f"a second bulk, not a few outliers: {about}", **mode)
    if mode["ratio"] < APART:
        return BlockMode("cannot tell", f"near enough for another kind of patch: {about}", **mode)
    if high < min_share:
        return BlockMode("no", f"a mode, but fewer than {min_share:g} % of tokens: {about}", **mode)
    if share < min_share:
        return BlockMode("cannot tell", f"perhaps fewer than {min_share:g} %: {about}", **mode)
    return BlockMode("yes", f"a mode of its own: {about}", **mode)


def judge_blocks(blocks: list[BlockMode], images: int) -> Judgement:
    """The decision on a backbone from what each of its blocks shows, in their order."""
    blocks = _without_embedding(blocks)
    own = [i for i, b in enumerate(blocks) if b.verdict == "yes" and not b.embedding]
    doubtful = [i for i, b in enumerate(blocks) if b.verdict == "cannot tell" or b.embedding]
    last = len(blocks) - 1
    own, doubtful = ([i for i in some if _counts(blocks[i], i == last)] for some in (own, doubtful))
    candidates = own or doubtful or [last]
    at = last if last in candidates else max(candidates, key=lambda i: blocks[i].strength)
    judged = blocks[at]
    verdict = "yes" if own else "cannot tell" if doubtful else "no"
    onset = float("nan")
    if own:
        half = np.sqrt(judged.ratio)
        onset = 1 + at
        while onset - 2 in own and blocks[onset - 2].ratio >= half:
            onset -= 1
    why = judged.why if len(blocks) == 1 else f"block {at + 1} of {len(blocks)}: {judged.why}"
    if own and at != last:
        why += f"; not so in the last block: {blocks[last].why}"
    return Judgement(
        verdict, why, at + 1, float(onset), judged.share, judged.share_interval, judged.ratio,
        judged.cutoff, judged.smallest_ratio, images, blocks,
    )  # fmt: skip


def _counts(block: BlockMode, last: bool) -> bool:
    """Whether a block's mode, or the sign of one, counts: before the last one only if it parted."""
    return last or not block.ratio < EARLY


def _without_embedding(blocks: list[BlockMode]) -> list[BlockMode]:
    """Mark the modes that begin in the first block until they stand out further than there."""
    if len(blocks) == 1 or blocks[0].verdict != "yes":
        return blocks
    grown = GROWN * blocks[0].ratio
    marked: list[BlockMode] = []
    for i, block in enumerate(blocks):
        if block.verdict != "yes" or block.ratio >= grown:
            return marked + blocks[i:]
        why = f"a mode from the first block on, perhaps the patch embedding's: {block.why}"
        marked.append(replace(block, embedding=True, why=why))
    return marked


def _doubt(
    counts: np.ndarray, tried: int, tokens: int, least: float, image_share: float, confidence: float
) -> tuple[str, float, int]:
    """Why the block may have a mode although none is sure, where, and how many images are left out.

    A sign of a mode that so few images give that ``image_share`` of them surely hold none is those
    images' own. The reason is empty where there is no other sign.
    """
    images, odd = len(counts), 0
    order = (counts @ np.arange(1.0, counts.shape[1] + 1)).argsort(kind="stable")
    first = doubt = _sign(counts, tried, tokens, least)
    while doubt[0]:
        odd = max(1, 2 * odd)
        if exact_upper(odd, images, confidence) > image_share:
            return *first, 0
        doubt = _sign(counts[order[:-odd]], tried, tokens, least)
    return "", UNKNOWN[0], odd


def _sign(counts: np.ndarray, tried: int, tokens: int, least: float) -> tuple[str, float]:
    """The sign of a mode in counts (image, bin), half a sentence, empty without; and its ratio."""
    moments = Moments(counts)
    found, turn = scan(moments), shoulder(moments, tokens)
    if found.by_token >= threshold(ALARM, tried):
        held = int(moments.total[found.upper] - moments.total[found.border])
        return (
            f"{held} tokens stand out about {_ratio(found.border):.2g} x median or above, in so "
            "few images that these may be odd, not the network", _ratio(found.border),
        )  # fmt: skip
    if turn.strength >= threshold(ALARM, tried, SHOULDERS) and turn.share >= HIDDEN * least:
        return (
            f"the tail of the norms has a shoulder near {_ratio(turn.at):.2g} x median, where a "
            "mode may hide", _ratio(turn.at),
        )  # fmt: skip
    return "", UNKNOWN[0]


def _but_for(odd: int) -> str:
    return f", but for {odd} odd image{'s' * (odd > 1)}" if odd else ""


def _ratio(position: float) -> float:
    """Of norm to image median at the lower edge of a bin."""
    return FLOOR * float(np.exp(BIN * position))


def measured(judgement: Judgement) -> list[Measurement]:
    """Rows of group ``artifacts``, and ``artifacts-last_block`` for that block alone."""
    j = judgement
    # The block before the onset may be one that cannot be told.
    before = j.onset - 2
    early = before >= 0 and j.blocks[int(before)].verdict == "cannot tell"
    rows = [
        Measurement("artifacts", "block", j.block, unit="block, from 1"),
        Measurement(
            "artifacts", "onset_block", j.onset, j.onset - early, j.onset, "block, from 1"
        ),
        Measurement("artifacts", "image_share", *_with(j.blocks[j.block - 1], "image_share")),
    ]  # fmt: skip
    for group, shown, verdict in (
        ("artifacts", j.blocks[j.block - 1], j.verdict),
        ("artifacts-last_block", j.blocks[-1], j.last_block),
    ):
        rows += [
            Measurement(group, "has_artifacts", ANSWERS[verdict], unit="verdict"),
            Measurement(group, "share", *_with(shown, "share")),
            Measurement(group, "ratio", shown.ratio, unit="of the median"),
            Measurement(group, "cutoff", shown.cutoff, unit="of the median"),
            Measurement(group, "smallest_ratio", shown.smallest_ratio, unit="of the median"),
        ]
    return rows


def _with(shown: BlockMode, name: str) -> tuple[float, float, float, str]:
    return getattr(shown, name), *getattr(shown, f"{name}_interval"), "percent"


def cutoffs_of(judgement: Judgement) -> dict:
    """What claims that choose tokens must know (:class:`tokenscope.norms.outlier_rule.Judged`)."""
    yes, last = judgement.verdict == "yes", judgement.last_block
    return {
        "verdict": judgement.verdict, "why": judgement.why,
        "block": judgement.block if yes else None,
        "ratio_cutoff": judgement.cutoff if yes else None,
        "last_block": {
            "verdict": last,
            "ratio_cutoff": judgement.blocks[-1].cutoff if last == "yes" else None,
        },
    }  # fmt: skip
