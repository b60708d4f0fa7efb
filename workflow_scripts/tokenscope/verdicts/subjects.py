"""Who a criterion asks, and with which numbers: backbones, and trainings over their seeds."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from tokenscope.study import register_names
from tokenscope.tables import names, tidy
from tokenscope.verdicts import conditions
from tokenscope.verdicts.answers import NOT_APPLICABLE, NOT_RUN
from tokenscope.verdicts.conditions import Facts, Verdict
from tokenscope.verdicts.criteria import Criteria, Criterion, matches
from tokenscope.verdicts.evidence import Cell, Evidence, Number, difference, divided, undefined

Planned = Iterable[tuple[str, str]]  # data set, family/size/registers


@dataclass(frozen=True)
class Study:
    """What all criteria are judged on: rows, plans by table, facts, and the criteria themselves."""

    criteria: Criteria
    evidence: Evidence
    planned: dict[str, list[tuple[str, str]]]
    facts: Facts


@dataclass(frozen=True)
class Subject:
    """One who is asked on one data set: its numbers by group, or why there is nothing to ask."""

    who: str
    dataset: str
    cells: tuple[Cell, ...] = ()
    excused: Verdict | None = None
    notes: tuple[str, ...] = ()


def subjects(
    study: Study, criterion: Criterion, planned: Planned, groups: Sequence[str] = (),
    of_papers: bool = True,
) -> list[Subject]:  # fmt: skip
    """Everyone who is planned, with numbers; trainings that differ in their seed alone are one.

    Args:
        groups: narrower than those of the criterion.
        of_papers: whether answers are about the papers, so that backbones which cannot stand for
            them are excused and trainings need several seeds.
    """
    asked = [_subject(study, criterion, d, who, groups, of_papers) for d, who in planned]
    return _over_seeds(study, asked) if of_papers else asked


def _subject(study, criterion, dataset, who, groups, of_papers) -> Subject:
    facts = study.facts
    why = conditions.stands_for_papers(who, dataset, study.criteria, facts) if of_papers else ""
    if why:
        return Subject(who, dataset, excused=(NOT_APPLICABLE, why))
    rows = study.evidence.of(criterion.table, dataset, who)
    if not rows:
        return Subject(who, dataset, excused=(NOT_RUN, "no measurement yet"))
    cells = [
        Cell(who, dataset, group, number)
        for group, metric in rows
        if fnmatchcase(metric, criterion.metric)
        and matches(group, criterion.groups)
        and (not groups or matches(group, tuple(groups)))
        and (number := _number(study, criterion, rows, group, metric)) is not None
    ]
    if not cells:
        return Subject(who, dataset, excused=(NOT_APPLICABLE, _nothing(criterion, who)))
    heads = conditions.too_few_heads(criterion, study.criteria, facts)
    if heads:
        cells = [replace(c, number=c.number._replace(why=heads)) for c in cells]
    return Subject(
        who,
        dataset,
        cells=tuple(cells),
        excused=conditions.excused(criterion, study.evidence, facts, who, dataset),
        notes=(
            *conditions.remarks(criterion, study.evidence, facts, who, dataset),
            *(["these two weights"] if _of_two_files(criterion, facts, who) else []),
        ),
    )  # fmt: skip


def _nothing(criterion: Criterion, who: str) -> str:
    if over_r0(criterion.metric):
        return f"no twin without registers ({conditions.twin_of(who)}) is measured beside it"
    groups = ", ".join(criterion.groups)
    return (
        f"not measured: {criterion.metric} ({groups}), which would stand in table {criterion.table}"
    )


def over_r0(metric: str) -> bool:
    """Whether a metric compares a backbone with its twin without registers."""
    return names.is_minus_r0(metric) or names.base_of_gain(metric) == "r0"


def _of_two_files(criterion: Criterion, facts: Facts, who: str) -> bool:
    """Whether a number compares two released files, of which another training might differ."""
    if not over_r0(criterion.metric) or who in facts.images_seen:
        return False
    return register_names.kind(tidy.columns_of(who)["registers"]) == "trained"


def _number(study, criterion, rows, group, metric) -> Number | None:
    number = study.evidence.number(rows[group, metric], criterion.exact)
    if criterion.minus:
        if (criterion.minus, metric) not in rows:
            return None
        number = difference(number, study.evidence.number(rows[criterion.minus, metric]))
    if criterion.share_of_depth:
        blocks = {g for g, _ in rows if g.startswith("block") and g.removeprefix("block").isdigit()}
        number = (
            divided(number, len(blocks), "of the depth") if blocks
            else undefined("the number of blocks is not in the table")
        )  # fmt: skip
    return number


def _over_seeds(study: Study, asked: list[Subject]) -> list[Subject]:
    """Trainings that differ in their seed alone, joined: at the place of the first."""
    trained: dict[tuple[str, str], list[Subject]] = defaultdict(list)
    joined: dict[int | tuple[str, str], list[Subject]] = {}
    for i, subject in enumerate(asked):
        alike = study.facts.alike.get(subject.who)
        if alike is None or not subject.cells or subject.excused:
            joined[i] = [subject]
            continue
        key = (alike, subject.dataset)
        trained[key].append(subject)
        joined.setdefault(key, trained[key])
    return [
        group[0] if isinstance(key, int) else _training(study, key[0], group)
        for key, group in joined.items()
    ]


def _training(study: Study, alike: str, seeds: list[Subject]) -> Subject:
    by_group: dict[str, list[Number]] = defaultdict(list)
    for subject in seeds:
        for cell in subject.cells:
            by_group[cell.group].append(cell.number)
    first, cells = seeds[0], []
    for group, numbers in by_group.items():
        number = study.evidence.over_seeds(numbers)
        if len(numbers) < study.criteria.seeds and not number.why:
            seeds_here = "one seed" if len(numbers) == 1 else f"{len(numbers)} seeds"
            why = (
                f"{seeds_here} of this training: at least {study.criteria.seeds} are needed "
                "(decide: seeds)"
            )
            number = number._replace(why=why)
        cells.append(Cell(alike, first.dataset, group, number))
    return replace(first, who=alike, cells=tuple(cells))
