"""Verdicts by written criteria (``config/verdicts.yaml``): what a number says about a statement.

A criterion looks at one number of each backbone, with its interval. ``supported``: the whole
interval lies on the right side of the bound; ``contradicted``: wholly on the other side;
``cannot tell``: it holds the bound, or the number is undefined; ``not run``: it was planned and is
not there. A number without an interval decides nothing, unless the criterion says it is exact.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import pandas as pd

from tokenscope.stats.measurement import of_difference
from tokenscope.tables import tidy

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN = (
    "supported", "contradicted", "cannot tell", "not run",
)  # fmt: skip
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN)
NAN = float("nan")


@dataclass(frozen=True)
class Judged:
    """One verdict: ``who`` (family/size/registers), ``group``, the number that decided, ``why``.

    ``margin`` is how far the interval is from the bound; infinite where an answer decides.
    """

    who: str
    dataset: str
    verdict: str
    group: str = ""
    value: float = NAN
    low: float = NAN
    high: float = NAN
    unit: str = ""
    why: str = ""
    margin: float = 0.0


@dataclass(frozen=True)
class Overall:
    """The verdict over all backbones, how many say what, and the one that decided."""

    verdict: str
    counts: dict[str, int]
    decided_by: Judged | None


ANSWERS = {1.0: "yes", 0.0: "no"}


def judge(
    criterion: dict,
    tables: dict[str, pd.DataFrame],
    planned: Iterable[tuple[str, str]],
    params: dict[str, float] | None = None,
) -> list[Judged]:
    """Judge every planned backbone that a criterion is about.

    Args:
        tables: tidy rows by name of table: the criterion's, and those its exceptions look at.
        planned: (data set, family/size/registers) that the table is planned to hold.
        params: number of parameters by backbone, for criteria that go by size.

    Where a backbone has rows but none of this quantity, the criterion does not apply to it.
    """
    tables = {name: rows.assign(who=tidy.backbone_names(rows)) for name, rows in tables.items()}
    rows = tables[criterion["table"]]
    measured = set(zip(rows["dataset"], rows["who"], strict=True))
    about = [(d, who) for d, who in planned if concerns(criterion, who)]
    own_metric = rows[[fnmatchcase(metric, criterion["metric"]) for metric in rows["metric"]]]
    if "order" in criterion["holds"]:
        return _by_size(criterion, own_metric, measured, about, params or {})
    judged = []
    for dataset, who in about:
        if (dataset, who) not in measured:
            judged.append(Judged(who, dataset, NOT_RUN, why="no measurement yet"))
            continue
        own = own_metric[(own_metric["who"] == who) & (own_metric["dataset"] == dataset)]
        groups = own["group"].unique()
        for group in (g for g in groups if any(fnmatchcase(g, p) for p in criterion["groups"])):
            number = _number(criterion, own_metric, rows, dataset, who, group)
            if number is not None:
                judgement = _judge(criterion, who, dataset, group, number)
                judged.append(_excepted(criterion, tables, judgement))
    return judged


def concerns(criterion: dict, who: str) -> bool:
    """Whether a criterion is about a backbone."""
    some = any(fnmatchcase(who, pattern) for pattern in criterion["backbones"])
    return some and not any(fnmatchcase(who, pattern) for pattern in criterion.get("except", []))


def overall(criterion: dict, judged: list[Judged]) -> Overall:
    """One verdict from many: of every backbone that was run, or of some (``quantifier``)."""
    counts = {verdict: sum(j.verdict == verdict for j in judged) for verdict in VERDICTS}
    run = [j for j in judged if j.verdict != NOT_RUN]
    some = criterion.get("quantifier", "every") == "some"
    first, last = (SUPPORTED, CONTRADICTED) if some else (CONTRADICTED, SUPPORTED)
    if not run:
        return Overall(NOT_RUN, counts, None)
    if counts[first]:  # one backbone settles it: the clearest one is named
        deciding = [j for j in run if j.verdict == first]
        return Overall(first, counts, max(deciding, key=lambda j: j.margin))
    if counts[UNDECIDED]:
        return Overall(UNDECIDED, counts, next(j for j in run if j.verdict == UNDECIDED))
    return Overall(last, counts, min(run, key=lambda j: j.margin))  # all say so: the least clear


def _number(criterion, own_metric, rows, dataset, who, group):
    """Value, low, high, unit, and why there is none; None where there is nothing to compare with.

    A difference of two rows takes the extremes of both intervals, since the tables do not hold
    what the two have in common: its interval is wider than the true one.
    """
    row = _row(own_metric, dataset, who, group)
    value, low, high = row["value"], row["low"], row["high"]
    unit, why = row["unit"], ""
    if criterion.get("exact") and low != low:
        low = high = value
    if minus := criterion.get("minus"):
        other = _row(own_metric, dataset, who, minus["group"])
        if other is None:
            return None
        value, low, high = value - other["value"], low - other["high"], high - other["low"]
        unit = of_difference(unit)
    if criterion.get("share_of_depth"):
        blocks = rows[(rows["who"] == who) & (rows["dataset"] == dataset)]["group"]
        depth = blocks[blocks.str.fullmatch(r"block\d+")].nunique()
        value, low, high, unit = value / depth, low / depth, high / depth, "of the depth"
    if tidy.is_refused(unit):
        why = unit
    elif value != value:
        why = "undefined: there is nothing of the kind"
    return value, low, high, unit, why


def _row(rows, dataset, who, group):
    matching = rows[(rows["who"] == who) & (rows["dataset"] == dataset) & (rows["group"] == group)]
    return matching.iloc[0] if len(matching) else None


def _judge(criterion, who, dataset, group, number) -> Judged:
    value, low, high, unit, why = number
    side, bound = next(iter(criterion["holds"].items()))
    margin = 0.0
    if side == "answer":
        answer = ANSWERS.get(value)
        verdict = UNDECIDED if answer is None else (CONTRADICTED, SUPPORTED)[answer == bound]
        why = "the table says: cannot tell" if answer is None else ""
        margin = math.inf
    else:
        sign = 1 if side == "above" else -1
        right, left = sorted((sign * (low - bound), sign * (high - bound)))
        if not why and low != low:
            why = "no interval, so nothing is decided"
        verdict, margin = UNDECIDED, 0.0
        if not why and right > 0:
            verdict, margin = SUPPORTED, right
        elif not why and left < 0:
            verdict, margin = CONTRADICTED, -left
    numbers = (float(x) for x in (value, low, high))
    return Judged(who, dataset, verdict, group, *numbers, unit, why, margin)


def _excepted(criterion, tables, judged: Judged) -> Judged:
    """The verdict, unless something known of the backbone takes its meaning away."""
    for case in criterion.get("unless", []):
        rows = tables.get(case["table"])
        if rows is None:
            continue
        answers = rows[
            (rows["who"] == judged.who) & (rows["group"] == case["group"])
            & (rows["metric"] == case["metric"])
        ]["value"]  # fmt: skip
        if (answers.map(ANSWERS) == case["answer"]).any():
            return replace(judged, verdict=UNDECIDED, why=case["why"], margin=0.0)
    return judged


def _by_size(criterion, own_metric, measured, about, params) -> list[Judged]:
    """Within a family, from small to large: first all no, then all yes."""
    families: dict[tuple, list[str]] = {}
    for dataset, who in about:
        families.setdefault((dataset, tidy.columns_of(who)["family"]), []).append(who)
    judged = []
    for (dataset, family), members in families.items():
        if len(members) < 2:
            continue
        run = [who for who in members if (dataset, who) in measured]
        if not run:
            judged.append(Judged(family, dataset, NOT_RUN, why="no measurement yet"))
            continue
        answers = []
        for who in sorted(run, key=lambda who: params.get(who, 0)):
            row = _row(own_metric, dataset, who, criterion["groups"][0])
            answers.append(
                (tidy.columns_of(who)["size"], NAN if row is None else float(row["value"]))
            )
        in_order = ", ".join(f"{size} {ANSWERS.get(a, '?')}" for size, a in answers)
        known = [answer for _, answer in answers if answer == answer]
        complete = len(known) == len(members)
        if known != sorted(known) or (complete and all(known)):
            verdict = CONTRADICTED
        elif complete and any(known):
            verdict = SUPPORTED
        else:
            verdict = UNDECIDED
        judged.append(Judged(family, dataset, verdict, why=f"small to large: {in_order}"))
    return judged
