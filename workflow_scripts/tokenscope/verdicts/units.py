"""What is tested once, and the answers of all that is tested together."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from tokenscope.verdicts.answers import NAN, UNDECIDED, Judged
from tokenscope.verdicts.conditions import Verdict, of_answer
from tokenscope.verdicts.criteria import Criterion
from tokenscope.verdicts.evidence import Number, undefined
from tokenscope.verdicts.subjects import Study, Subject
from tokenscope.verdicts.testing import decided, holm, p_values


@dataclass(frozen=True)
class Unit:
    """One test: of whom, where, in which groups, by which number, or what excuses it."""

    who: str
    dataset: str
    group: str = ""
    number: Number = undefined("")
    excused: Verdict | None = None
    notes: tuple[str, ...] = ()


def of_cells(asked: Sequence[Subject]) -> list[Unit]:
    """Each number of each subject as a test of its own."""
    units = []
    for subject in asked:
        who, dataset, excused = subject.who, subject.dataset, subject.excused
        if not subject.cells:
            units.append(Unit(who, dataset, excused=excused))
        units += [
            Unit(who, dataset, cell.group, cell.number, excused, subject.notes)
            for cell in subject.cells
        ]
    return units


def together(study: Study, criterion: Criterion, asked: Sequence[Subject]) -> Unit:
    """All data sets and groups of one backbone as a single test."""
    who = asked[0].who
    notes = tuple(dict.fromkeys(note for subject in asked for note in subject.notes))
    cells = [c for s in asked if not s.excused for c in s.cells]
    deciding = [c for c in cells if not c.number.why] or cells
    if not deciding:
        about = [one for one in asked if _measured(study, criterion, one)]
        return of_cells(sorted(about or asked, key=lambda subject: not subject.cells))[0]
    if criterion.test.kind == "answer":
        same = len({c.number.value for c in deciding}) == 1
        number = deciding[0].number if same else Number(NAN, NAN, NAN, "verdict")
    elif deciding[0].number.why:
        number = deciding[0].number
    else:
        number = study.evidence.combined(deciding)
    places, groups = (
        ", ".join(dict.fromkeys(names))
        for names in ((c.dataset for c in deciding), (c.group for c in deciding))
    )
    return Unit(who, places, groups, number, notes=notes)


def _measured(study: Study, criterion: Criterion, subject: Subject) -> bool:
    """Whether a data set is one on which the statement's number is measured at all."""
    rows = study.evidence.of(criterion.table, subject.dataset, subject.who)
    return any(fnmatchcase(metric, criterion.metric) for _, metric in rows)


def judged(study: Study, criterion: Criterion, units: Sequence[Unit]) -> list[Judged]:
    """Answers of units tested together; the excused, and those without a number, do not count."""
    level, numeric = study.criteria.error, criterion.test.kind != "answer"
    open_ = [i for i, unit in enumerate(units) if unit.excused is None]
    p = np.full(len(units), NAN)
    if numeric:
        numbers = [units[i].number for i in open_]
        p[open_] = p_values(criterion.test, numbers, study.evidence)
    rejected, count = holm(p, level), int((p == p).sum())
    answers = []
    for unit, own_p, reject in zip(units, p, rejected, strict=True):
        number = unit.number
        if unit.excused:
            answer, why = unit.excused
        elif numeric:
            answer, why = decided(criterion.test, number, own_p, reject, level, count)
        elif number.why:
            answer, why = UNDECIDED, number.why
        else:
            answer, why = of_answer(criterion.test.answer, number.value)
        why = "; ".join(filter(None, (why, *unit.notes)))
        answers.append(
            Judged(unit.who, unit.dataset, answer, unit.group, *number[:4], float(own_p), why)
        )
    return answers
