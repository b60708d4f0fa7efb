"""Two trainings that differ in their seed alone: whatever registers do, here nothing was done.

What intervals over images alone would conclude from such a pair is what the noise of training makes
of one run each; the engine must decide nothing.
"""

from collections import defaultdict
from fnmatch import fnmatchcase
from itertools import combinations
from math import hypot

from tokenscope.tables import names
from tokenscope.tables.formatting import words
from tokenscope.verdicts.answers import (
    NOT_APPLICABLE,
    SAME_MODEL,
    UNDECIDED,
    Judged,
    Line,
    counted,
)
from tokenscope.verdicts.conditions import stands_for_papers
from tokenscope.verdicts.criteria import IMPROVES, MAINTAINS, Criterion, matches
from tokenscope.verdicts.evidence import Number
from tokenscope.verdicts.subjects import Planned, Study, over_r0
from tokenscope.verdicts.testing import decided, p_values

ALONE = "images alone would say"
NAMED = 3  # pairs; more are counted


def lines(study: Study, criterion: Criterion, planned: Planned) -> list[Line]:
    """The line of a criterion that compares a backbone with its twin; none for others."""
    if criterion.test.kind not in IMPROVES + MAINTAINS or not over_r0(criterion.metric):
        return []
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for dataset, who in planned:
        if who in study.facts.alike:
            alike[dataset, study.facts.alike[who]].append(who)
    judged = [
        one
        for (dataset, _), trainings in alike.items()
        for first, second in combinations(trainings, 2)
        for one in _pair(study, criterion, dataset, first, second)
    ]
    if not judged:
        return []
    why, counts = _why(criterion, judged), counted(judged)
    answer = UNDECIDED if counts[UNDECIDED] else NOT_APPLICABLE
    return [Line(SAME_MODEL, answer, why, tuple(judged), "", "", 0, len(judged),
                 counts=counts)]  # fmt: skip


def _metric(criterion: Criterion) -> str:
    """What a statement compares with the twin's, of one backbone."""
    return names.without_minus_r0(criterion.metric).partition("_gain_over_")[0]


def _why(criterion: Criterion, judged: list[Judged]) -> str:
    """Who is compared in what, and how often images alone would decide."""
    alone, pairs = sum(ALONE in j.why for j in judged), list(dict.fromkeys(j.who for j in judged))
    who = ", ".join(pairs[:NAMED]) + f" and {len(pairs) - NAMED} more" * (len(pairs) > NAMED)
    what = f"two backbones that differ in their seed alone ({who}), in {words(_metric(criterion))}"
    if len(judged) == 1:
        return f"{what}: images alone would {'decide it' if alone else 'not decide it'}"
    return f"{what}: of {len(judged)} comparisons images alone would decide {alone}"


def _pair(study: Study, criterion: Criterion, dataset: str, first: str, second: str):
    metric = _metric(criterion)
    rows, others = (study.evidence.of(criterion.table, dataset, who) for who in (first, second))
    for key in rows.keys() & others.keys():
        group, own = key
        if not fnmatchcase(own, metric) or not matches(group, criterion.groups):
            continue
        a, b = (study.evidence.number(r[key]) for r in (rows, others))
        if a.why or b.why:
            continue
        value = b.value - a.value
        number = Number(
            value, value - hypot(b.value - b.low, a.high - a.value),
            value + hypot(b.high - b.value, a.value - a.low),
            criterion.test.effect.unit if criterion.test.effect else a.unit,
        )  # fmt: skip
        level = study.criteria.error
        (p,) = p_values(criterion.test, [number], study.evidence)
        alone, _ = decided(criterion.test, number, p, p <= level, level, 1)
        excused = stands_for_papers(second, dataset, study.criteria, study.facts)
        answer = NOT_APPLICABLE if excused else UNDECIDED
        why = excused or "one seed each"
        if alone != UNDECIDED:
            why += f"; {ALONE} {alone}"
        yield Judged(f"{second} - {first}", dataset, answer, group, *number[:4], float(p), why)
