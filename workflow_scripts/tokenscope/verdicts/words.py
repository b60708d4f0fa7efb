"""Criteria and numbers in words."""

from tokenscope.tables.formatting import as_text, interval_text
from tokenscope.verdicts.answers import Judged
from tokenscope.verdicts.criteria import BOUNDS, IMPROVES, Comparison, Criterion, Source

_SIDES = {
    "more": "above", "less": "below", "not_less": "above", "not_more": "below", "above": "above",
    "below": "below",
}  # fmt: skip


def supported_if(criterion: Criterion) -> str:
    """What would support a statement, as the end of a sentence that begins "Supported if"."""
    test = criterion.test
    what = f"{criterion.metric} ({', '.join(criterion.groups)})"
    if criterion.minus:
        what += f" less that of “{criterion.minus}”"
    if criterion.share_of_depth:
        what += " as a share of all blocks"
    if test.kind == "answer":
        return f"{what} is: {test.answer}"
    if test.kind == "order":
        return f"{what} is first no, then yes, from the smallest to the largest model of a family"
    return f"{what} is {_bound(test)}" + (", a count" if criterion.exact else "")


def _bound(test: Comparison) -> str:
    bound = f"surely {_SIDES[test.kind]} {test.bound:g}"
    if test.kind in BOUNDS or test.effect is None:
        return bound
    size = f"{test.effect.size:g} {test.effect.unit}".strip()
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
        text += f" [{interval_text(judged.low, judged.high)}]"
    return text


def cited(source: Source) -> str:
    """A source with the place in it."""
    return f"{source.paper}, {source.where}" if source.where else source.paper
