"""When a number decides, alone and over many backbones together.

Each number is tested against the bound of its criterion, two-sided, and Holm's procedure (Holm
1979) keeps the chance that any of them is wrongly decided below the level, whatever they share.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from tokenscope.stats.seeds import two_sided
from tokenscope.tables.formatting import amount
from tokenscope.verdicts.answers import CONTRADICTED, SUPPORTED, UNDECIDED
from tokenscope.verdicts.criteria import IMPROVES, Comparison
from tokenscope.verdicts.evidence import Evidence, Number


def p_values(test: Comparison, numbers: Sequence[Number], evidence: Evidence) -> np.ndarray:
    """Two-sided p of each number against the bound; NaN where it decides nothing.

    The end of the interval on the bound's side says how far the bound is, so that p is below
    1 - confidence exactly where the interval leaves the bound out. Beyond that the end's own noise
    counts, since it comes of a finite number of resamples: Student's distribution, not the normal.
    """
    p = np.full(len(numbers), np.nan)
    for df in {n.df for n in numbers}:
        rows = [i for i, n in enumerate(numbers) if n.df == df and not n.why]
        if rows:
            p[rows] = _of_one_kind(test, [numbers[i] for i in rows], df, evidence)
    return p


def _of_one_kind(
    test: Comparison, numbers: Sequence[Number], df: int, evidence: Evidence
) -> np.ndarray:
    """The same of numbers that are all means over as many seeds, or none of them (``df`` 0)."""
    table = np.array([(n.value, n.low, n.high, n.error, n.images) for n in numbers])
    value, low, high, error, images = table.T
    bound = np.full(len(numbers), test.bound)
    if test.log:
        with np.errstate(divide="ignore", invalid="ignore"):
            error, images = error / value, images / value  # of a logarithm, to first order
            value, low, high, bound = (np.log(x) for x in (value, low, high, bound))
    away = value - bound
    if df:
        return two_sided(away, error, df, images)
    half = np.where(away > 0, value - low, high - value)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(away == 0, 0.0, np.abs(away) / half)
    df_of_ends = 1 / (2 * evidence.noise_of_ends**2)
    score *= special.stdtrit(df_of_ends, (1 + evidence.confidence) / 2)
    return 2 * special.stdtr(df_of_ends, -score)


def holm(p: np.ndarray, level: float) -> np.ndarray:
    """Which of the tests are rejected at the family-wise ``level``; NaN never, and not counted."""
    rejected = np.zeros(len(p), bool)
    order = [i for i in np.argsort(p, kind="stable") if p[i] == p[i]]
    for step, i in enumerate(order):
        if p[i] > level / (len(order) - step):
            break
        rejected[i] = True
    return rejected


def decided(
    test: Comparison, number: Number, p: float, rejected: bool, level: float, together: int
) -> tuple[str, str]:
    """Answer and reason of one number, given what Holm's procedure said of its p.

    Args:
        level: the family-wise level. together: how many numbers were tested.
    """
    if number.why:
        return UNDECIDED, number.why
    away = number.value - test.bound
    if not rejected:
        if p <= level:
            return UNDECIDED, f"it would decide alone, not after Holm's correction over {together}"
        return UNDECIDED, _undecided(test, number)
    if test.kind in IMPROVES and abs(away) < test.least:
        size = amount(test.least, number.unit)
        return UNDECIDED, f"there is a difference, but below the smallest that counts ({size})"
    return (SUPPORTED if away * test.sign > 0 else CONTRADICTED), ""


def _undecided(test: Comparison, number: Number) -> str:
    if test.kind not in IMPROVES:
        return "the interval includes the bound"
    if -test.least < number.low - test.bound and number.high - test.bound < test.least:
        size = amount(test.least, number.unit)
        return f"no difference that counts: the whole interval is within {size} of none"
    return "the interval includes no difference"
