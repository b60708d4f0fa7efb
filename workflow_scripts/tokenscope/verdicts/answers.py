"""The five answers that a statement can get, and what stands beside one."""

from collections.abc import Iterable
from dataclasses import dataclass, field

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN, NOT_APPLICABLE = ANSWERS = (
    "supported", "contradicted", "cannot tell", "not run", "does not apply",
)  # fmt: skip
AS_PUBLISHED, GENERALISES, PHANTOM, SAME_MODEL, INSTRUMENT = SCOPES = (
    "as published", "generalises", "phantom", "same model, other seed", "instrument",
)  # fmt: skip
YES_NO = {1.0: "yes", 0.0: "no"}
NAN = float("nan")


@dataclass(frozen=True)
class Judged:
    """The answer of one backbone (or of one training over its seeds), and what decided it.

    ``value``, ``low``, ``high`` in ``unit``; ``p`` is two-sided, before Holm's correction;
    ``known`` is the answer that a phantom must give.
    """

    who: str
    dataset: str
    answer: str
    group: str = ""
    value: float = NAN
    low: float = NAN
    high: float = NAN
    unit: str = ""
    p: float = NAN
    why: str = ""
    known: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a statement: ``supporting`` of the ``asked`` that could be asked support it.

    ``source`` and ``where`` name who said it where the line is about what was published; ``spread``
    is the standard deviation between backbones, in the unit of their numbers.
    """

    scope: str
    answer: str
    why: str
    judged: tuple[Judged, ...] = ()
    source: str = ""
    where: str = ""
    supporting: int = 0
    asked: int = 0
    spread: float = NAN
    counts: dict[str, int] = field(default_factory=dict)


def counted(judged: Iterable[Judged]) -> dict[str, int]:
    """How many say what, by answer."""
    said = [one.answer for one in judged]
    return {answer: said.count(answer) for answer in ANSWERS}
