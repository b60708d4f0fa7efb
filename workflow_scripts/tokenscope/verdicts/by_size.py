"""Statements about size: within a family, first all no, then all yes, from small to large."""

from tokenscope.tables import tidy
from tokenscope.verdicts.answers import (
    CONTRADICTED,
    NAN,
    NOT_APPLICABLE,
    SUPPORTED,
    UNDECIDED,
    YES_NO,
    Judged,
)
from tokenscope.verdicts.criteria import Criterion
from tokenscope.verdicts.subjects import Planned, Study, subjects


def families(study: Study, criterion: Criterion, planned: Planned) -> list[Judged]:
    """One answer a family and data set; families of one size, or of none to ask, do not count."""
    by_family: dict[tuple[str, str], list] = {}
    for subject in subjects(study, criterion, planned):
        family = tidy.columns_of(subject.who)["family"]
        by_family.setdefault((subject.dataset, family), []).append(subject)
    judged = []
    for (dataset, family), members in by_family.items():
        excused = [m.excused for m in members if m.excused and not m.cells]
        if len(members) - sum(e[0] == NOT_APPLICABLE for e in excused) < 2:
            why = "fewer than two sizes can be asked"
            judged.append(Judged(family, dataset, NOT_APPLICABLE, why=why))
            continue
        if len(excused) == len(members):
            judged.append(Judged(family, dataset, *excused[0]))
            continue
        judged.append(_in_order(study, dataset, family, members))
    return judged


def _in_order(study: Study, dataset: str, family: str, members: list) -> Judged:
    members = sorted(members, key=lambda m: study.facts.params.get(m.who, 0))
    answers = [m.cells[0].number.value if m.cells and not m.excused else NAN for m in members]
    sizes = [tidy.columns_of(m.who)["size"] for m in members]
    why = ", ".join(f"{s} {YES_NO.get(a, '?')}" for s, a in zip(sizes, answers, strict=True))
    known = [answer for answer in answers if answer == answer]
    complete = len(known) == len(answers)
    if known != sorted(known) or (complete and all(known)):
        answer = CONTRADICTED
    elif complete and any(known):
        answer = SUPPORTED
    else:
        answer = UNDECIDED
    group = next(m.cells[0].group for m in members if m.cells)
    return Judged(family, dataset, answer, group, why=f"small to large: {why}")
