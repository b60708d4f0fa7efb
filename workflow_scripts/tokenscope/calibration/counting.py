"""Count what the decision says of many draws of one cell, with exact bounds."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy import stats

from tokenscope.calibration.families import MODES, NULLS, normal, plant
from tokenscope.diagnosis.verdict import about_of, contrast, place_share
from tokenscope.norms.artifacts import judge
from tokenscope.norms.outliers import block_norms
from tokenscope.stats.bootstrap import Bootstrap

COLUMNS = [
    "kind", "family", "held_out", "images", "patches", "spread", "ratio", "share", "every",
    "draws", "yes", "cannot_tell", "no", "intervals", "covered", "smallest_ratio",
]  # fmt: skip
NEAR = 4.0  # log(ratio) in spreads of the bulk: nearer modes nobody promises to see
TOKENS, HOLDERS = 200, 30  # expected of a mode that must be found


def exact_interval(hits: int, draws: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a rate, from 0 to 1; NaN without draws."""
    if not draws:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, hits, draws - hits + 1) if hits else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, draws - hits) if hits < draws else 1.0
    return float(low), float(high)


def _rng(seed: int, *cell: int) -> np.random.Generator:
    return np.random.default_rng([seed, *cell])


def nulls(images: int, patches: int, spreads: list[float], draws: int, seed: int) -> Iterator[dict]:
    """A row for each null family and spread: how often which answer was given."""
    for f, family in enumerate(NULLS):
        for s, spread in enumerate(spreads):
            rng, blind = _rng(seed, 0, f, s, images, patches), []
            answers: Counter[str] = Counter()
            for _ in range(draws):
                logs = family.draw(rng, (images, patches), spread)
                # Of a Student tail one token in ten million is over what a float holds.
                found = judge(np.exp(np.clip(logs, -20, 20).astype(np.float32)))
                answers[found.verdict] += 1
                blind.append(found.smallest_ratio)
            yield {
                "kind": "null", "family": family.name, "held_out": family.held_out,
                "images": images, "patches": patches, "spread": spread, "draws": draws,
                **_answers(answers), "smallest_ratio": float(np.median(blind)),
            }  # fmt: skip


def modes(
    images: int, patches: int, spreads: list[float], ratios: list[float], shares: list[float],
    every: list[int], draws: int, seed: int,
) -> Iterator[dict]:  # fmt: skip
    """A row for each planted mode: answers, and how often the interval covers the share.

    The families beside the first are drawn only with the mode in every image.
    """
    for f, family in enumerate(MODES):
        for s, spread in enumerate(spreads):
            cells = [(e, r, q) for e in (every if f == 0 else [1]) for r in ratios for q in shares]
            counts: dict[tuple, tuple[Counter[str], list[int]]] = {
                cell: (Counter(), [0, 0]) for cell in cells
            }
            rng = _rng(seed, 1, f, s, images, patches)
            for _ in range(draws):
                bulk = np.exp(family.bulk(rng, (images, patches), spread).astype(np.float32))
                for cell, (answers, held) in counts.items():
                    one_in, ratio, share = cell
                    norms, truth = plant(rng, bulk, family, ratio, share, spread, one_in)
                    found = judge(norms)
                    answers[found.verdict] += 1
                    if found.verdict == "yes":
                        low, high = found.share_interval
                        held[0] += 1
                        held[1] += low <= 100 * truth <= high
            for (one_in, ratio, share), (answers, held) in counts.items():
                yield {
                    "kind": "mode", "family": family.name, "held_out": family.held_out,
                    "images": images, "patches": patches, "spread": spread, "ratio": ratio,
                    "share": 100 * share, "every": one_in, "draws": draws, **_answers(answers),
                    "intervals": held[0], "covered": held[1],
                }  # fmt: skip


def _answers(answers: Counter) -> dict:
    return {name.replace(" ", "_"): answers[name] for name in ("yes", "cannot tell", "no")}


def must_be_found(rows):
    """Which rows of modes (a table of :data:`COLUMNS`) promise to be found."""
    far = np.log(rows["ratio"]) >= NEAR * rows["spread"]
    tokens = rows["images"] * rows["patches"] * rows["share"] / 100
    return far & (tokens >= TOKENS) & (rows["images"] / rows["every"] >= HOLDERS)


def intervals(images: int, draws: int, seed: int, resamples: int = 500) -> Iterator[dict]:
    """How often the bootstrap's intervals cover what is known: a row for each kind of statistic."""
    rng, patches, sizes = _rng(seed, 2, images), 64, np.ones(images)
    rules = {"percentile": 98, "absolute": 150, "times_median": 3}
    held: Counter[str] = Counter()
    for draw in range(draws):
        bootstrap = Bootstrap(images, resamples, seed=draw)
        scale = np.exp(0.1 * rng.standard_normal((images, 1)))
        norms = (30 * scale * np.exp(normal(rng, (images, patches), 0.2))).astype(np.float32)
        block = block_norms(norms, bootstrap, rules)
        held["median of norms"] += block.low["norm_median"] <= 30 <= block.high["norm_median"]
        before = rng.gamma(2, 1, images)
        after = before * np.exp(0.5 * rng.standard_normal(images) - 0.125)
        outliers = rng.binomial(patches, 0.05, images) * (rng.random(images) < 0.4)
        for name, above, below, truth in (
            ("mean of a skewed quantity", before, sizes, 2.0),
            ("paired difference", after - before, sizes, 0.0),
            ("ratio", after, before, 1.0),
            ("share in four images of ten", outliers, sizes * patches, 0.02),
        ):
            _, low, high, _ = bootstrap.ratio(above, below)
            held[name] += low <= truth <= high
    for name, covered in held.items():
        yield {
            "kind": "interval", "family": name, "held_out": False, "images": images,
            "patches": patches, "draws": draws, "intervals": draws, "covered": int(covered),
        }  # fmt: skip


def place_or_content(images: int, draws: int, seed: int) -> Iterator[dict]:
    """What is said of outliers that follow the place, the content, or both at once.

    ``yes`` counts "position", ``no`` counts "content".
    """
    rng, side = _rng(seed, 3, images), 14
    row, column = np.indices((side, side)).reshape(2, -1)
    corner = np.isin(row, (0, side - 1)) & np.isin(column, (0, side - 1))
    families = {
        "position: four corners": lambda flat: np.tile(corner, (images, 1)),
        "position: a corner in half of the images": lambda flat: corner
        & (rng.random((images, 1)) < 0.5),
        "content: flat patches anywhere": lambda flat: flat & (rng.random(flat.shape) < 0.5),
        "tied: flat patches, always in the same places": None,
    }  # fmt: skip
    for family, choose in families.items():
        answers: Counter[str] = Counter()
        for draw in range(draws):
            flat = rng.random((images, side * side)) < 0.06
            if choose is None:
                flat = np.tile((row == 0) & (column < 5), (images, 1))
                outlier = flat
            else:
                outlier = choose(flat)
            cosine = np.where(flat, 0.97, rng.uniform(0.2, 0.9, flat.shape))
            bootstrap = Bootstrap(images, 200, seed=draw)
            about, _ = about_of(
                int(outlier.sum()), place_share(outlier, bootstrap),
                contrast(cosine, outlier, bootstrap),
                contrast(cosine, outlier, bootstrap, same_place=True), "",
            )  # fmt: skip
            answers[about] += 1
        yield {
            "kind": "place or content", "family": family, "held_out": False, "images": images,
            "patches": side * side, "draws": draws, "yes": answers["position"],
            "cannot_tell": answers[""], "no": answers["content"],
        }  # fmt: skip
