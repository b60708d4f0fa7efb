"""How many tokens have a norm above a threshold, exactly, at a ladder of thresholds.

The ladder goes in multiples of a block's own median, in steps of ``times ** (1 / STEPS)``, so that
it is the same for all backbones and the outlier rule's multiple is one of its rungs.
"""

import math

import numpy as np

STEPS = 48  # rungs from the median to the outlier rule's multiple of it: 2.3 % each for 3


def multiple(rung: int, times: float) -> float:
    """Threshold of a rung, in medians; exactly ``times`` at rung :data:`STEPS`."""
    return times ** (rung / STEPS)


def tail(norms: np.ndarray, times: float) -> dict:
    """The ladder of one block.

    Args:
        norms: of patch tokens, positive, images along the first axis.
        times: the outlier rule's multiple of the median.

    Returns:
        ``median``; ``first``, the lowest rung, below every norm; ``above``, the number of tokens
        above each rung from there on, the last one 0; ``images``, how many images hold one of them;
        ``p98``, the 98th percentile.
    """
    median = np.median(norms)
    ends = np.log([norms.min() / median, norms.max() / median]) / math.log(times) * STEPS
    first, last = math.floor(ends[0]) - 1, math.ceil(ends[1]) + 1
    ordered = np.sort(norms, axis=None)
    largest = np.sort(norms.reshape(len(norms), -1).max(1))
    # As the outlier rule compares: a norm with a multiple of the median, in the norms' precision.
    rungs = [multiple(rung, times) * median for rung in range(first, last + 1)]
    cuts = np.array(rungs, norms.dtype)
    above = len(ordered) - np.searchsorted(ordered, cuts, side="right")
    images = len(largest) - np.searchsorted(largest, cuts, side="right")
    return {
        "median": float(median), "p98": float(np.quantile(ordered, 0.98)), "first": first,
        "above": above.tolist(), "images": images.tolist(),
    }  # fmt: skip


def tails(norms: np.ndarray, times: float) -> dict:
    """The ladders of all blocks of (image, block, patch) norms, with what they mean.

    Returns:
        ``images`` and ``tokens`` behind each block, ``times``, ``steps``, and ``blocks``: a
        :func:`tail` each.
    """
    blocks = [tail(norms[:, b], times) for b in range(norms.shape[1])]
    return {
        "images": len(norms), "tokens": norms[:, 0].size, "times": times, "steps": STEPS,
        "blocks": blocks,
    }  # fmt: skip
