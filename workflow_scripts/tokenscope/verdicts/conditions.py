"""When a number means nothing for a statement: what a backbone is, and what else is known of it.

Conditions look at the data set of the number where they were measured there, else at the one whose
cutoffs chose its tokens, else at all on which the backbone was measured, if these agree.
"""

from dataclasses import dataclass, field

from tokenscope.study import register_names
from tokenscope.tables import tidy
from tokenscope.verdicts.answers import (
    CONTRADICTED,
    NOT_APPLICABLE,
    SUPPORTED,
    UNDECIDED,
    YES_NO,
)
from tokenscope.verdicts.criteria import Criteria, Criterion
from tokenscope.verdicts.evidence import Evidence

Verdict = tuple[str, str]  # answer and reason


@dataclass(frozen=True)
class Facts:
    """What a study knows of its backbones and data sets before anything is measured.

    Attributes:
        params: number of parameters by backbone.
        images_seen: images (with repetition) that backbones trained here saw, by backbone.
        alike: of backbones trained here, a name that trainings share which differ in their seed
            alone, by backbone.
        heads: seeds of the heads behind a table, by table.
        rendered: data sets of rendered scenes.
        chosen_on: data set whose cutoffs chose the tokens of another, by that other.
    """

    params: dict[str, float] = field(default_factory=dict)
    images_seen: dict[str, float] = field(default_factory=dict)
    alike: dict[str, str] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    rendered: tuple[str, ...] = ()
    chosen_on: dict[str, str] = field(default_factory=dict)


def stands_for_papers(who: str, dataset: str, criteria: Criteria, facts: Facts) -> str:
    """Why a backbone on a data set says nothing about the papers; empty where it may."""
    seen = facts.images_seen.get(who)
    if seen is not None and seen < criteria.images_seen:
        return (
            f"trained here on {seen:,.0f} images; with fewer than "
            f"{criteria.images_seen:,.0f} a backbone says nothing about the papers"
        )
    if dataset in facts.rendered:
        return f"{dataset} holds rendered scenes: nothing about photographs follows from them"
    return ""


def twin_of(who: str) -> str:
    """The same backbone without registers."""
    names = tidy.columns_of(who)
    return "/".join((names["family"], names["size"], register_names.base(names["registers"])))


def excused(
    criterion: Criterion, evidence: Evidence, facts: Facts, who: str, dataset: str
) -> Verdict | None:
    """What takes a number's meaning away, by the criterion's ``unless``; None where nothing does.

    Known beats unknown: if one exception holds and another cannot be told, the first is given.
    """
    unknown = None
    for case in criterion.unless:
        subject = twin_of(who) if case.get("of") == "twin" else who
        if subject not in facts.params and subject != who:
            return NOT_APPLICABLE, f"no twin without registers ({subject}) is in this study"
        answer, where = known(case, evidence, facts, subject, dataset)
        about = "" if where == dataset or not where else f" (on {where})"
        if answer == case["answer"]:
            return case.get("then", NOT_APPLICABLE), case["why"] + about
        if answer == UNDECIDED and unknown is None:
            unknown = (UNDECIDED, f"cannot tell whether {case['why']}{about}")
    return unknown


def known(case: dict, evidence: Evidence, facts: Facts, who: str, dataset: str) -> tuple[str, str]:
    """``yes``, ``no`` or ``cannot tell`` of a row that is an answer, and of which data set."""
    table, key = case["table"], (case["group"], case["metric"])
    measured = evidence.data_sets(table, who)
    chosen = facts.chosen_on.get(dataset, "")
    places = [d for d in (dataset, chosen) if d in measured][:1] or measured
    said = {
        YES_NO.get(row["value"], UNDECIDED)
        for place in places
        if (row := evidence.of(table, place, who).get(key)) is not None
    }
    where = ", ".join(places)
    return (said.pop(), where) if len(said) == 1 else (UNDECIDED, where)


def remarks(
    criterion: Criterion, evidence: Evidence, facts: Facts, who: str, dataset: str
) -> list[str]:
    """What a reader must know beside an answer, by the criterion's ``remarks``."""
    said = []
    for case in criterion.remarks:
        answer, _ = known(case, evidence, facts, who, dataset)
        if answer == case["answer"]:
            said.append(case["why"])
    return said


def too_few_heads(criterion: Criterion, criteria: Criteria, facts: Facts) -> str:
    """Why the heads behind a number are too few to decide; empty where they are enough."""
    count = facts.heads.get(criterion.table, 1)
    if not criterion.heads or count >= criteria.seeds:
        return ""
    heads = "one head" if count == 1 else f"{count} heads"
    return f"{heads} of its own seed each: at least {criteria.seeds} are needed (decide: seeds)"


def of_answer(wanted: str, value: float) -> Verdict:
    """How a row that is itself an answer decides."""
    said = YES_NO.get(value)
    if said is None:
        return UNDECIDED, "the decision itself cannot tell"
    return (SUPPORTED if said == wanted else CONTRADICTED), ""
