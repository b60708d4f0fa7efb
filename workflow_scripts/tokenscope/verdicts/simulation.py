"""How often a criterion errs: studies are simulated and judged by the engine itself.

A simulated study has many backbones, each measured on as many images as a paper had (``effects:
sample`` of the criteria). Without effect, nothing may be decided of any of them; an effect of twice
the smallest one of interest should be found. Where a margin is judged, the margin itself is the
hardest case and takes the place of no effect, and twice the smallest effect counts from there.

Trainings differ by their seed as well (``effects: training``): judged over so many seeds, and for
comparison as if one run of each and its images were all there is. The most seeds named must find
the effect in one training; that so few tell dozens of trainings apart is not asked, but shown.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf, sqrt

import numpy as np
import pandas as pd
from scipy import stats

from tokenscope.stats.seeds import noise_of_ends, normal_quantile
from tokenscope.tables.formatting import amount, as_text, interval_text
from tokenscope.verdicts.answers import AS_PUBLISHED, CONTRADICTED, GENERALISES, SUPPORTED
from tokenscope.verdicts.conditions import Facts
from tokenscope.verdicts.criteria import IMPROVES, Criteria, Criterion, Effect, Source
from tokenscope.verdicts.engine import judge
from tokenscope.verdicts.evidence import Evidence
from tokenscope.verdicts.subjects import Study

RELEASED, ALONE = "released", "trained, one run and its images alone"
COUNTED = "draws of norms"
WRONG, FOUND = "decided", "found"
CONFIDENCE, RESAMPLES = 0.95, 1000  # of intervals, as in a study
SURE = 0.999  # that a bound is exceeded: dozens of rates are held against it
SINGLE = 4  # backbones of each study that are also judged by themselves, as published
FEWER = 8  # so many times fewer studies say what is found: their backbones are counted
COLUMNS = [
    "statement", "comparison", "effect", "smallest", "unit", "design", "quantity", "truth",
    "backbones", "studies", "value", "low", "high", "required", "holds",
]  # fmt: skip
_NAME = "simulated"  # table, group and metric of what is simulated


def table(criteria: Criteria) -> pd.DataFrame:
    """Error rates, in percent, of every criterion that compares a number (:data:`COLUMNS`).

    ``decided`` where nothing is there to be decided: share of the studies in which any backbone is
    said to support or to contradict. ``found``: share of the backbones that support what is there.
    """
    known: dict[tuple, list[dict]] = {}
    rows = []
    for criterion in criteria:
        effect = criterion.test.effect
        if effect is None or not effect.sample:
            continue
        comparison = "improves" if criterion.test.kind in IMPROVES else "maintains"
        for design, seeds in designs(criterion, effect).items():
            key = (comparison, effect.name, design)
            if key not in known:
                rng = np.random.default_rng([criteria.simulation["seed"], len(known)])
                known[key] = [
                    {"comparison": comparison, "design": design, **row}
                    for row in _rates(criteria, criterion, effect, seeds, rng)
                ]
            rows += [{"statement": criterion.id, **row} for row in known[key]]
    return pd.DataFrame(rows, columns=COLUMNS)


def of_decisions(criteria: Criteria, wrong: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """The same of criteria that repeat the answer of :func:`tokenscope.norms.artifacts.judge`.

    They compare no number, so that nothing is corrected for; the decision's own rate of errors must
    be low enough for all backbones of a study together.

    Args:
        wrong: by answer, how often it was given where it is wrong, and of how many draws.
    """
    rows, truths = [], {"yes": "no second mode", "no": "a mode that must be found"}
    for criterion in criteria:
        answer = criterion.test.answer
        if criterion.metric != "has_artifacts" or not wrong.get(answer, (0, 0))[1]:
            continue
        hits, draws = wrong[answer]
        rates = [hits / draws, *(end / 100 for end in _clopper_pearson(hits, draws))]
        for count in (1, criteria.simulation["backbones"]):
            value, low, high = (100 * (1 - (1 - rate) ** count) for rate in rates)
            rows.append({
                "statement": criterion.id, "comparison": "answer", "effect": criterion.metric,
                "design": COUNTED, "quantity": WRONG, "truth": truths[answer],
                "backbones": count, "studies": draws, "value": value, "low": low, "high": high,
                "required": f"at most {100 * criteria.error:g}",
                "holds": "yes" if low <= 100 * criteria.error else "no",
            })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def designs(criterion: Criterion, effect: Effect) -> dict[str, int]:
    """Whom a criterion is about, with the seeds of each: released files (none), own trainings."""
    own = [pattern.endswith(("-scratch", "-finetuned")) for pattern in criterion.backbones]
    named = {} if all(own) else {RELEASED: 0}
    if any(own) and effect.training:
        named[ALONE] = 1
        named |= {f"trained, over {count} seeds": count for count in effect.training["seeds"]}
    return named


def _rates(
    criteria: Criteria, criterion: Criterion, effect: Effect, seeds: int, rng
) -> Iterator[dict]:
    """A row for each truth, of one backbone and of all together."""
    test, setting = criterion.test, criteria.simulation
    improves = test.kind in IMPROVES
    truths = (
        (WRONG, "no effect" if improves else "at the margin", 0.0),
        (FOUND, "twice the smallest effect" + ("" if improves else " from the margin"),
         2 * effect.size * test.sign),
    )  # fmt: skip
    for quantity, truth, shift in truths[:1] if seeds == 1 else truths:
        draws = setting["draws"] if quantity == WRONG else max(2, setting["draws"] // FEWER)
        judged = [_study(criteria, criterion, effect, seeds, shift, rng) for _ in range(draws)]
        for scope, count in ((AS_PUBLISHED, 1), (GENERALISES, setting["backbones"])):
            answers = [answers for study in judged for answers in study[scope]]
            if quantity == WRONG:
                of = len(answers)
                hits = sum(bool({SUPPORTED, CONTRADICTED} & set(a)) for a in answers)
                value, (low, high) = 100 * hits / of, _clopper_pearson(hits, of)
                bound = 100 * criteria.error
                holds = _clopper_pearson(hits, of, SURE)[0] <= bound
            else:  # the backbones of a study share Holm's correction: the study is the unit
                shares = np.array([100 * a.count(SUPPORTED) / len(a) for a in answers])
                value, half = shares.mean(), 1.96 * shares.std() / sqrt(len(shares))
                low, high = max(0.0, value - half), min(100.0, value + half)
                bound = 100 * setting["power"]
                holds = high >= bound
            most_seeds = max(effect.training.get("seeds", [0])) == seeds and count == 1
            asked = seeds == 0 or (seeds > 1 and (quantity == WRONG or most_seeds))
            most = "most" if quantity == WRONG else "least"
            yield {
                "effect": effect.name, "smallest": effect.size, "unit": effect.unit,
                "quantity": quantity, "truth": truth, "backbones": count, "studies": draws,
                "value": value, "low": low, "high": high,
                "required": f"at {most} {bound:g}" if asked else "",
                "holds": ("yes" if holds else "no") if asked else "",
            }  # fmt: skip


def _clopper_pearson(hits: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact interval of a share, in percent."""
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, hits, of - hits + 1) if hits else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, of - hits) if hits < of else 1.0
    return 100 * float(low), 100 * float(high)


def _study(
    criteria: Criteria, criterion: Criterion, effect: Effect, seeds: int, shift: float, rng
) -> dict[str, list[list[str]]]:
    """The answers of one simulated study by scope, of each line."""
    count, kind = criteria.simulation["backbones"], "r4-scratch" if seeds else "r4"
    noise = effect.training["noise"] * sqrt(2) if seeds else 0.0
    runs = range(max(1, seeds))
    moved = noise * rng.normal(size=(len(runs), count))
    images = effect.sample["images"]
    sets = {f"set{k}": n for k, n in enumerate(images if isinstance(images, list) else [images])}
    rows = []
    for name, size in sets.items():  # the images are the same for all seeds
        own = np.stack(_measured(effect, np.full(count, criterion.test.bound + shift), size, rng))
        for seed, b in np.ndindex(moved.shape):
            numbers = own[:, b] + moved[seed, b]
            numbers = np.exp(numbers) if effect.log else numbers
            rows.append({
                "family": f"b{b}-s{seed}", "size": "any", "registers": kind, "dataset": name,
                "group": _NAME, "metric": _NAME, "n": size, "unit": effect.unit,
                **dict(zip(("value", "low", "high"), numbers, strict=True)),
            })  # fmt: skip
    names = [(f"b{b}-s{s}/any/{kind}", f"b{b}/any/{kind}") for b in range(count) for s in runs]
    planned = [(name, who) for name in sets for who, _ in names]
    facts = Facts()
    if seeds > 1:
        facts = Facts(images_seen=dict.fromkeys((who for who, _ in names), inf), alike=dict(names))
    plain = replace(
        criterion, table=_NAME, groups=(_NAME,), metric=_NAME, backbones=("*/*/*",), but=(),
        unless=(), remarks=(), known={}, params={}, heads=False, minus="", exact=False,
        share_of_depth=False, quantifier="every",
        sources=tuple(
            Source("a paper", "a table", (f"b{b}-s*/any/{kind}",))
            for b in range(min(SINGLE, count))
        ),
    )  # fmt: skip
    study = Study(criteria, Evidence({_NAME: rows}, CONFIDENCE), {_NAME: planned}, facts)
    answers: dict[str, list[list[str]]] = {AS_PUBLISHED: [], GENERALISES: []}
    for line in judge(study, plain):
        if line.scope in answers:
            answers[line.scope].append([one.answer for one in line.judged])
    return answers


def _measured(
    effect: Effect, truth: np.ndarray, images: int, rng
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and the ends of their intervals over images, on the scale of the test."""
    if effect.log:
        truth = np.log(truth)
    if "differ" in effect.sample:  # paired hits: the images on which only one of two is right
        differ, gain = effect.sample["differ"] / 100, truth / 100
        right, wrong = (differ + gain) / 2, (differ - gain) / 2
        drawn = rng.multinomial(images, np.stack([right, wrong, 1 - right - wrong], 1)) / images
        share = drawn[:, 0] - drawn[:, 1]
        value, spread = 100 * share, 100 * np.sqrt(drawn[:, 0] + drawn[:, 1] - share**2)
    else:
        spread = np.full(len(truth), effect.sample["spread"])
        value = truth + spread / sqrt(images) * rng.normal(size=len(truth))
        spread = spread * np.sqrt(rng.chisquare(images - 1, len(truth)) / (images - 1))
    half = normal_quantile(CONFIDENCE) * spread / sqrt(images)
    noise = noise_of_ends(CONFIDENCE, RESAMPLES) * rng.normal(size=(2, len(truth)))
    return value, value - half * (1 + noise[0]), value + half * (1 + noise[1])


def in_words(rates: pd.DataFrame) -> dict[str, str]:
    """A sentence for each statement, from :func:`table`; of one's own trainings beside it."""
    said: dict[str, list[str]] = {}
    for (statement, design), rows in rates.groupby(["statement", "design"], sort=False):
        by = rows.set_index(["quantity", "backbones"])
        many, first = int(rows["backbones"].max()), rows.iloc[0]
        wrong, improves = by.loc[(WRONG, many)], first["comparison"] == "improves"
        if design == COUNTED:
            said.setdefault(str(statement), []).append(
                f"Counted on {first['studies']:,} draws with {first['truth']}: the wrong answer in "
                f"{_rate(by.loc[(WRONG, 1)])} of backbones, which is {_rate(wrong)} of studies of "
                f"{many}."
            )
            continue
        unit = first["unit"] if isinstance(first["unit"], str) else ""  # read from a file: NaN
        size = amount(2 * first["smallest"], unit)
        although = "there was no effect" if improves else "the truth lay at the margin"
        sentence = (
            f"Simulated ({design}, {first['studies']} studies of {many} backbones): decided, "
            f"although {although}, in {_rate(wrong)} of the studies"
        )
        if design != ALONE:
            one, found = by.loc[(FOUND, 1)], by.loc[(FOUND, many)]
            sentence += (
                f"; {size} {'' if improves else 'from the margin '}found in "
                f"{_rate(one)} of single backbones and {_rate(found)} of {many}"
            )
        said.setdefault(str(statement), []).append(sentence + ".")
    return {statement: " ".join(sentences) for statement, sentences in said.items()}


def _rate(row) -> str:
    ends = interval_text(row["low"], row["high"], "percent")
    return f"{as_text(row['value'], 'percent')} {ends}".strip()


def page(rates: pd.DataFrame) -> str:
    """The same as Markdown; statements that are judged alike share a row."""
    keys = [name for name in COLUMNS if name != "statement"]
    lines = ["# Error rates of the verdicts", "", *(__doc__ or "").split("\n")[2:], ""]
    header = ["statements", *keys]
    lines += [f"| {' | '.join(header)} |", "|" + "-|" * len(header)]
    text = rates.round(3).astype(object).fillna("").astype(str)  # groups of NaN would be dropped
    for key, rows in text.groupby(keys, sort=False):
        lines.append(f"| {', '.join(rows['statement'])} | {' | '.join(key)} |")
    return "\n".join([*lines, ""])
