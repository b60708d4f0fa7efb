"""All verdicts as one table, and in words.

A row for each line of a statement, and below it one for each answer that it rests on.
Rows of a line have no backbone; ``supporting`` of the ``asked`` support it. Rows of answers have
the number that decided, its interval and its two-sided p before Holm's correction.
"""

import textwrap

import pandas as pd

from tokenscope.tables.formatting import (
    amount,
    as_text,
    group_words,
    interval_text,
    number_text,
    words,
)
from tokenscope.verdicts.answers import Judged, Line
from tokenscope.verdicts.criteria import (
    BOUNDS,
    IMPROVES,
    Comparison,
    Criteria,
    Criterion,
    Source,
)

COLUMNS = [
    "section", "statement", "scope", "source", "where", "backbone", "dataset", "group", "answer",
    "value", "low", "high", "unit", "p", "supporting", "asked", "spread", "known", "reason",
]  # fmt: skip
NOTE = (
    "By the criteria of config/verdicts.yaml. As published: the models, data and groups that the "
    "source names. Generalises: the backbones of this study that the statement could be about, "
    "each one test, its data sets and groups together. Both with Holm's correction. A statement "
    "generalises if more than decide: majority of those asked support it and none contradicts it."
)
_SIDES = {
    "more": "above", "less": "below", "not_less": "above", "not_more": "below", "above": "above",
    "below": "below",
}  # fmt: skip


def frame(lines: dict[str, list[Line]], criteria: Criteria) -> pd.DataFrame:
    """The table (:data:`COLUMNS`) from the lines of each statement, by its id."""
    rows = []
    for criterion in criteria:
        for line in lines[criterion.id]:
            head = {
                "section": criterion.section, "statement": criterion.id, "scope": line.scope,
                "source": line.source, "where": line.where,
            }  # fmt: skip
            rows.append({
                **head, "answer": line.answer, "supporting": line.supporting, "asked": line.asked,
                "spread": line.spread, "reason": line.why,
            })  # fmt: skip
            rows += [
                {
                    **head, "backbone": one.who, "dataset": one.dataset, "group": one.group,
                    "answer": one.answer, "value": one.value, "low": one.low, "high": one.high,
                    "unit": one.unit, "p": one.p, "known": one.known, "reason": one.why,
                }
                for one in line.judged
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def page(lines: dict[str, list[Line]], criteria: Criteria) -> str:
    """The same to be read: a table of lines, then each criterion with what decided it."""
    text = ["# Verdicts", "", *textwrap.wrap(NOTE, 100), ""]
    text += ["| statement | scope | source | answer | why |", "|-|-|-|-|-|"]
    for criterion in criteria:
        for line in lines[criterion.id]:
            source = ", ".join(filter(None, (line.source, line.where)))
            cells = (criterion.said, line.scope, source, line.answer, line.why)
            text.append(f"| {' | '.join(map(_cell, cells))} |")
    for criterion in criteria:
        text += ["", *_details(criterion, lines[criterion.id])]
    return "\n".join([*text, ""])


def _details(criterion: Criterion, lines: list[Line]) -> list[str]:
    text = [f"## {criterion.id}", "", criterion.said, ""]
    text += [*textwrap.wrap(f"Supported if {supported_if(criterion)}.", 100), ""]
    text += ["| scope | backbone | data set | group | answer | number | why |", "|-|-|-|-|-|-|-|"]
    for line in lines:
        scope = ", ".join(filter(None, (line.scope, line.source)))
        for one in line.judged:
            cells = (scope, one.who, one.dataset, one.group, one.answer, number(one), one.why)
            text.append(f"| {' | '.join(map(_cell, cells))} |")
    return text


def _cell(text: str) -> str:
    return text.replace("|", "/")


def supported_if(criterion: Criterion) -> str:
    """What would support a statement, as the end of a sentence that begins "Supported if"."""
    test = criterion.test
    what = f"{words(criterion.metric)} ({'; '.join(map(group_words, criterion.groups))})"
    if criterion.minus:
        what += f" less that of “{group_words(criterion.minus)}”"
    if criterion.share_of_depth:
        what += " as a share of all blocks"
    if test.kind == "answer":
        return f"{what} is: {test.answer}"
    if test.kind == "order":
        return f"{what} is first no, then yes, from the smallest to the largest model of a family"
    if criterion.exact:
        return f"{what} is {_SIDES[test.kind]} {number_text(test.bound)} (a count: no interval)"
    return f"{what} is {_bound(test)}"


def _bound(test: Comparison) -> str:
    bound = f"{_SIDES[test.kind]} {number_text(test.bound)} with its whole interval"
    if test.kind in BOUNDS or test.effect is None:
        return bound
    size = amount(test.effect.size, test.effect.unit)
    if test.kind in IMPROVES:
        return (
            f"{bound} and {size} from it or more (smallest effect of interest: {test.effect.why})"
        )
    return f"{bound} (margin of {size}: {test.effect.why})"


def number(judged: Judged) -> str:
    """The number that decided, with its interval; empty where there is none."""
    if judged.value != judged.value:
        return ""
    text = as_text(judged.value, judged.unit)
    if judged.low < judged.high:
        text += f" {interval_text(judged.low, judged.high, judged.unit)}"
    return text


def cited(source: Source) -> str:
    """A source with the place in it."""
    return f"{source.paper}, {source.where}" if source.where else source.paper
