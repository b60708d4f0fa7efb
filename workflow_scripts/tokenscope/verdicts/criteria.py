"""Criteria as a reader writes them (``config/verdicts.yaml``), checked and given defaults.

A criterion compares one number of each backbone with what a statement says of it:

============  ====================================================================================
``more``      improves: surely above no effect, and by the smallest effect of interest or more
``less``      the same downwards
``not_less``  maintains: surely not lower by the smallest effect (non-inferiority)
``not_more``  surely not higher by it
``above``     above a bound that the statement itself names; ``below`` likewise
``answer``    a row that is itself an answer, ``yes`` or ``no``
``order``     first no, then yes, from the smallest to the largest model of a family
============  ====================================================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from math import inf
from typing import Any

from tokenscope.errors import StudyError

IMPROVES, MAINTAINS, BOUNDS = ("more", "less"), ("not_less", "not_more"), ("above", "below")
UPWARDS = ("more", "not_less", "above")


@dataclass(frozen=True)
class Effect:
    """The smallest effect of interest of one quantity, ``why`` it is that, and how it is sampled.

    ``no_effect`` is the number where there is none; ``log``: the quantity is a ratio, tested by its
    logarithm. ``sample`` and ``training`` say what the papers measure it with
    (:mod:`tokenscope.verdicts.simulation`).
    """

    name: str
    size: float
    unit: str
    why: str = ""
    no_effect: float = 0.0
    log: bool = False
    sample: dict = field(default_factory=dict, hash=False)
    training: dict = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Comparison:
    """How a number is compared: ``kind`` of the table above, against ``bound``.

    A number that lies beyond the bound counts only where it differs from it by ``least``.
    """

    kind: str
    bound: float = 0.0
    least: float = 0.0
    log: bool = False
    effect: Effect | None = None
    answer: str = ""

    @property
    def sign(self) -> int:
        return 1 if self.kind in UPWARDS else -1


@dataclass(frozen=True)
class Source:
    """Who said it, where, of which models (globs), on which data (globs), in which groups."""

    paper: str
    where: str = ""
    models: tuple[str, ...] = ()
    data: tuple[str, ...] = ("*",)
    groups: tuple[str, ...] = ()
    unreleased: tuple[str, ...] = ()


@dataclass(frozen=True)
class Criterion:
    """One statement and how it is judged; fields as in ``config/README.md``, section Verdicts."""

    id: str
    section: str
    test: Comparison
    backbones: tuple[str, ...]
    said: str = ""
    sources: tuple[Source, ...] = ()
    table: str = ""
    groups: tuple[str, ...] = ()
    metric: str = ""
    but: tuple[str, ...] = ()
    quantifier: str = "every"
    heads: bool = False
    exact: bool = False
    share_of_depth: bool = False
    instrument: bool = False
    minus: str = ""
    params: dict[str, float] = field(default_factory=dict, hash=False)
    unless: tuple[dict, ...] = field(default=(), hash=False)
    remarks: tuple[dict, ...] = field(default=(), hash=False)
    known: dict[str, str] = field(default_factory=dict, hash=False)

    def concerns(self, who: str, params: float = 0.0) -> bool:
        """Whether a backbone of so many parameters is of the population the statement is about."""
        below, above = self.params.get("below", inf), self.params.get("above", 0.0)
        named = matches(who, self.backbones) and not matches(who, self.but)
        return named and above <= params < below

    def known_of(self, who: str) -> str:
        """The answer that a phantom must give; empty for other backbones."""
        return next((a for pattern, a in self.known.items() if fnmatchcase(who, pattern)), "")


@dataclass(frozen=True)
class Criteria:
    """All criteria, and what holds for each of them.

    Attributes:
        error: most that is wrongly decided by one statement over all backbones together.
        seeds: fewest seeds of a head or of a backbone that is trained here.
        images_seen: a backbone trained here on fewer says nothing about the papers.
        majority: share of the backbones above which a statement counts as general.
        simulation: ``seed``, ``draws`` and ``backbones`` of the simulated studies.
    """

    error: float
    seeds: int
    images_seen: float
    majority: float
    effects: dict[str, Effect]
    by_section: dict[str, list[Criterion]]
    simulation: dict

    def __iter__(self) -> Iterator[Criterion]:
        return (criterion for section in self.by_section.values() for criterion in section)


@cache
def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the globs fits."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def of(content: dict) -> Criteria:
    """Criteria from the content of the file, which its schema has passed.

    Raises:
        StudyError: an effect that is not defined, an id that occurs twice.
    """
    effects = {name: Effect(name, **given) for name, given in content["effects"].items()}
    by_section = {
        section: [_criterion(section, given, effects) for given in statements]
        for section, statements in content["statements"].items()
    }
    criteria = Criteria(
        **content["decide"], effects=effects, by_section=by_section,
        simulation=content["simulation"],
    )  # fmt: skip
    seen: set[str] = set()
    for criterion in criteria:
        if criterion.id in seen:
            raise StudyError(f"verdicts: the id '{criterion.id}' is there twice: rename one")
        seen.add(criterion.id)
    return criteria


def _criterion(section: str, given: dict, effects: dict[str, Effect]) -> Criterion:
    plain = _tuples(given)
    plain["sources"] = tuple(Source(**_tuples(source)) for source in given.get("sources", []))
    plain["test"] = _test(given["id"], plain.pop("holds"), effects)
    plain["but"] = plain.pop("except", ())
    return Criterion(section=section, **plain)


def _test(name: str, holds: dict, effects: dict[str, Effect]) -> Comparison:
    ((kind, what),) = holds.items()
    if kind in BOUNDS:
        return Comparison(kind, bound=float(what))
    if kind not in IMPROVES + MAINTAINS:
        return Comparison(kind, answer=str(what))
    if what not in effects:
        raise StudyError(
            f"verdicts: {name}: holds: {kind}: no effect is named '{what}'; there are "
            f"{', '.join(effects)}"
        )
    effect = effects[what]
    if kind in IMPROVES:
        return Comparison(kind, effect.no_effect, effect.size, effect.log, effect)
    shift = effect.size if kind == "not_more" else -effect.size
    return Comparison(kind, effect.no_effect + shift, 0.0, effect.log, effect)


def _tuples(given: dict) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
