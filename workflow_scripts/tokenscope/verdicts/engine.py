"""The lines of a statement: as published, whether it generalises, and what phantoms say of it.

*As published*: each model, data set and group that a source names is one test. *Generalises*: each
backbone is one test, its data sets and groups together, so that backbones are counted and not
heads. Both correct for their number of tests by Holm's procedure.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tokenscope.verdicts import by_size, seed_pairs, units
from tokenscope.verdicts.answers import (
    AS_PUBLISHED,
    CONTRADICTED,
    GENERALISES,
    INSTRUMENT,
    NAN,
    NOT_APPLICABLE,
    NOT_RUN,
    PHANTOM,
    SUPPORTED,
    UNDECIDED,
    Judged,
    Line,
    counted,
)
from tokenscope.verdicts.criteria import Criterion, Source, matches
from tokenscope.verdicts.subjects import Study, Subject, subjects


def judge(study: Study, criterion: Criterion) -> list[Line]:
    """All lines of a statement, those of its sources first."""
    planned = study.planned.get(criterion.table, [])
    if criterion.instrument:
        concerned = [pair for pair in planned if criterion.concerns(pair[1])]
        judged = _each(study, criterion, subjects(study, criterion, concerned, of_papers=False))
        return [_every(INSTRUMENT, judged)]
    lines = [
        _as_published(study, criterion, source) for source in criterion.sources if source.models
    ]
    lines.append(generalises(study, criterion))
    if phantoms := [pair for pair in planned if criterion.known_of(pair[1])]:
        lines.append(_phantoms(study, criterion, phantoms))
    return [*lines, *seed_pairs.lines(study, criterion, planned)]


def _each(study: Study, criterion: Criterion, asked: Sequence[Subject]) -> list[Judged]:
    return units.judged(study, criterion, units.of_cells(asked))


def _as_published(study: Study, criterion: Criterion, source: Source) -> Line:
    planned = [
        (dataset, who)
        for dataset, who in study.planned.get(criterion.table, [])
        if matches(who, source.models) and matches(dataset, source.data)
    ]
    if criterion.test.kind == "order":
        judged = by_size.families(study, criterion, planned)
    else:
        judged = _each(study, criterion, subjects(study, criterion, planned, source.groups))
    line = _every(AS_PUBLISHED, judged, criterion.quantifier)
    absent = [m for m in source.models if not any(matches(who, (m,)) for _, who in planned)]
    unreleased = [m for m in absent if m in source.unreleased]
    absent = [m for m in absent if m not in unreleased]
    where = f" on {' or '.join(source.data)}" if source.data != ("*",) else ""
    said = [line.why] if judged else []
    if unreleased:
        said.append(f"weights were never released: {', '.join(unreleased)}")
    if absent:
        said.append(f"not in this study{where}: {', '.join(absent)}")
        if line.answer == SUPPORTED and criterion.quantifier == "every":
            said.insert(0, "supported as far as it was measured")
            line = replace(line, answer=NOT_RUN)
    return replace(line, source=source.paper, where=source.where, why="; ".join(filter(None, said)))


def generalises(study: Study, criterion: Criterion) -> Line:
    """Whether a statement holds of the backbones of this study, and of how many."""
    planned = [
        (dataset, who)
        for dataset, who in study.planned.get(criterion.table, [])
        if criterion.concerns(who, study.facts.params.get(who, 0.0)) and not criterion.known_of(who)
    ]
    if criterion.test.kind == "order":
        return _many(study, criterion, by_size.families(study, criterion, planned))
    by_backbone: dict[str, list[Subject]] = {}
    for subject in subjects(study, criterion, planned):
        by_backbone.setdefault(subject.who, []).append(subject)
    tests = [units.together(study, criterion, own) for own in by_backbone.values()]
    return _many(study, criterion, units.judged(study, criterion, tests))


def _many(study: Study, criterion: Criterion, judged: list[Judged]) -> Line:
    counts = counted(judged)
    asked = [j for j in judged if j.answer in (SUPPORTED, CONTRADICTED, UNDECIDED)]
    k, n, against = counts[SUPPORTED], len(asked), counts[CONTRADICTED]
    values = np.array([j.value for j in asked if j.value == j.value and j.unit != "verdict"])
    spread = float(values.std(ddof=1)) if len(values) > 1 else NAN
    if not n:
        answer, why = _none(judged)
    else:
        why = f"{k} of {n}"
        if criterion.quantifier == "some":
            answer = SUPPORTED if k else CONTRADICTED if against == n else UNDECIDED
        elif against:
            answer, why = CONTRADICTED, f"{why}; {against} the other way"
        else:
            answer = SUPPORTED if k > study.criteria.majority * n else UNDECIDED
    return Line(GENERALISES, answer, why, tuple(judged), "", "", k, n, spread, counts)


def _every(scope: str, judged: list[Judged], quantifier: str = "every") -> Line:
    """The answer over all that a source names: one contradiction settles it, support needs all."""
    counts = counted(judged)
    asked = [j for j in judged if j.answer in (SUPPORTED, CONTRADICTED, UNDECIDED)]
    k, n = counts[SUPPORTED], len(asked)
    if not n:
        answer, why = _none(judged)
        return Line(scope, answer, why, tuple(judged), counts=counts)
    why = f"{k} of {n}" if n > 1 else asked[0].why
    if quantifier == "some":
        answer = SUPPORTED if k else CONTRADICTED if counts[CONTRADICTED] == n else UNDECIDED
    elif counts[CONTRADICTED]:
        answer = CONTRADICTED
    elif k == n and not counts[NOT_RUN]:
        answer = SUPPORTED
    else:
        answer = UNDECIDED if k < n else NOT_RUN
    if counts[NOT_RUN]:
        why = f"{why}; {counts[NOT_RUN]} not run yet"
    return Line(scope, answer, why, tuple(judged), "", "", k, n, NAN, counts)


def _none(judged: list[Judged]) -> tuple[str, str]:
    """The answer where nobody could be asked."""
    excused = [j for j in judged if j.answer == NOT_APPLICABLE]
    if excused and all(j.answer == NOT_APPLICABLE for j in judged):
        reasons = list(dict.fromkeys(j.why for j in excused))
        return NOT_APPLICABLE, reasons[0] + (f"; and {len(reasons) - 1} more" * (len(reasons) > 1))
    return NOT_RUN, "no measurement yet" if judged else "no backbone of this study is meant"


def _phantoms(study: Study, criterion: Criterion, planned) -> Line:
    """What phantoms say, each by itself: supported where every one gives its known answer,
    contradicted where one decides otherwise. Where for none anything is to be decided, and nothing
    is, the statement does not apply to them: that is no test of it."""
    judged = []
    for pair in planned:
        (subject,) = subjects(study, criterion, [pair], of_papers=False)
        known = criterion.known_of(pair[1])
        judged += [replace(one, known=known) for one in _each(study, criterion, [subject])]
    run = [j for j in judged if j.answer != NOT_RUN]
    right = [j for j in run if _as_known(j)]
    wrong = [j for j in run if j.answer in (SUPPORTED, CONTRADICTED) and not _as_known(j)]
    other = [f"{j.who} says {j.answer}, known: {j.known}" for j in run if not _as_known(j)]
    if not run:
        answer = NOT_RUN
    elif wrong:
        answer = CONTRADICTED
    else:
        answer = SUPPORTED if len(right) == len(run) else UNDECIDED
    why = "; ".join([f"{len(right)} of {len(run)} give the known answer", *other])
    if answer == SUPPORTED and not any(one.known in (SUPPORTED, CONTRADICTED) for one in right):
        answer, why = (
            NOT_APPLICABLE,
            f"nothing is to be decided of {_them(len(run))}, and nothing is",
        )
    return Line(PHANTOM, answer, why, tuple(judged), "", "", len(right), len(run), NAN,
                counted(judged))  # fmt: skip


def _them(count: int) -> str:
    return "the one phantom" if count == 1 else f"{count} phantoms"


def _as_known(one: Judged) -> bool:
    """Whether a phantom says what is known; where nothing is to be decided, nothing is."""
    decisive = (SUPPORTED, CONTRADICTED)
    return one.answer == one.known or not {one.answer, one.known} & set(decisive)
