"""Claim 4, Tables 1-3: position, pixel and class probes of one backbone, all in one job."""

from pathlib import Path

import numpy as np
import pandas as pd

from tokenscope.forward.device import pick_device
from tokenscope.jobs.job import Progress, StopRequest, job, log
from tokenscope.norms.outlier_rule import share_metric
from tokenscope.probes.questions import (
    TASKS,
    ask,
    confounding,
    mean_patch,
    open_bank,
    set_precision,
)
from tokenscope.probes.tasks import Pixels
from tokenscope.probes.token_rows import SAME_PLACES
from tokenscope.stats.measurement import of_difference
from tokenscope.tables import tidy
from tokenscope.tables.names import guess_name

# Names of the published tables for what a task is scored by: metric, factor, unit.
METRICS = {
    "position": {"top1": ("position_top1", 100, "percent"),
                 "distance": ("position_distance", 1, "patches")},
    "pixels": {"l2_squared": ("pixel_l2_squared", 1, "squared L2 per patch"),
               "l2": ("pixel_l2", 1, "L2 per patch")},
    "class": {"top1": ("class_top1", 100, "percent")},
}  # fmt: skip
BINS = 10
SHOWN = ("normal", "outlier")  # in the figures
# Columns of the figures' data, also where nothing could be measured.
CURVES = {
    "places": ["metric", "group", "unit", "row", "column", "tokens", "value"],
    "norms": ["metric", "group", "unit", "tenth", "norm", "value", "low", "high", "tokens"],
}


def main(bank, who, saw_labels, settings, times, statistics, device, partial, outputs):
    """Ask all questions; write tidy ``rows``, and ``places`` and ``norms`` for the figures.

    Args:
        bank: ``receipts`` of the bank's shards, in order; where another data set tests the probes
            also ``tested``, those of its shards, and ``splits``, what is in both.
        saw_labels: whether the backbone was trained with labels of these classes.
        who: family, size, registers, kind and data set, as columns of every row.
        settings: the section ``probes`` of the config.
        times: the outlier rule's multiple of the median norm.
        statistics: the section of that name.
        device: ``cpu``, ``cuda`` or ``auto``.
        partial: folder for the states of an interrupted run.
        outputs: paths of the three tables by name.
    """
    set_precision()
    stop = StopRequest()
    bank = open_bank(**bank)
    device = pick_device(device)
    rows = tidy.TidyRows(who, bank.images, statistics["seed"])
    tables = {"places": [], "norms": []}
    describe(rows, bank, saw_labels, settings)
    for task in TASKS:
        answer = ask(
            bank, task, settings, device, partial=str(Path(partial, f"{task}.pt")), stop=stop,
            progress=Progress("epochs"),
        )  # fmt: skip
        for group, (why, count) in answer.refused.items():
            for metric, _, _ in METRICS[task].values():
                rows.refuse("claim4", group, metric, why, count)
        if not answer.groups:
            continue
        report(rows, task, answer, bank, settings, statistics)
        if task == "position":
            _over_rule(rows, answer, bank, times, statistics)
        for name, frames in (("places", _by_place), ("norms", _by_norm)):
            tables[name] += frames(who, task, answer, bank, statistics)
    tidy.write(rows.frame(), outputs["rows"])
    for name, frames in tables.items():
        empty = pd.DataFrame(columns=[*who, *CURVES[name]])
        tidy.write(pd.concat(frames) if frames else empty, outputs[name])


def describe(rows, bank, saw_labels, settings):
    """Rows that say what the others rest on: the tokens, the test images, what was trained on."""
    trained = bank.with_outlier[: bank.images - bank.test_images]
    rows.add("claim4", "outlier", "images_with_token", trained.sum(), unit="images", n=len(trained))
    if wanted := settings.get("images_with_outlier"):
        rows.add("claim4", "outlier", "images_wanted", wanted, unit="images", n=len(trained))
        if trained.sum() < wanted:
            log.warning("%d images with an outlier, %d are wanted", trained.sum(), wanted)
    rows.add("claim4", "tokens", "judged_block", bank.attrs["block"], unit="block, from 1")
    rows.add("claim4", "tokens", "judged", bank.attrs["cutoff_in_medians"], unit="verdict")
    rows.add("claim4", "backbone", "saw_labels", saw_labels, unit="verdict")
    rows.add("claim4", "test", "other_dataset", bool(bank.test_images), unit="verdict")
    if bank.test_images:
        n = bank.test_images
        rows.add("claim4", "test", "images", n, unit="images", n=n)
        rows.add("claim4", "test", "images_dropped", bank.dropped.sum(), unit="images", n=n)


def report(rows, task, answer, bank, settings, statistics):
    """Tidy rows of one question: every group, their difference, baselines, counts, choices."""
    bootstrap = answer.bootstrap(statistics)
    images, count = bootstrap.images, answer.count()
    for name, (metric, factor, unit) in METRICS[task].items():
        scores = {g: factor * answer.per_image(name, g) for g in answer.groups}
        _compare(rows, metric, unit, {g: (s, count) for g, s in scores.items()}, bootstrap)
    if task == "pixels":
        _compare(rows, "pixel_explained", "percent", dict(_explained(answer)), bootstrap)
    if task == "position":
        beyond = {g: (scores, count) for g, scores in beyond_prior(answer, bank)}
        _compare(rows, "position_top1_over_prior", "points", beyond, bootstrap)
    for group, metric, per_row, unit in baselines(task, answer, bank):
        if np.ndim(per_row) == 0:
            rows.add("claim4", group, metric, per_row, unit=unit, n=images)
            continue
        sums = np.bincount(answer.image, weights=per_row)
        value, low, high, _ = bootstrap.ratio(sums, count)
        rows.add("claim4", group, metric, value, low, high, unit, images)
    for kind, number in answer.rows.items():
        rows.add("claim4", "each group", f"{task}_tokens_{kind}", number, unit="tokens", n=images)
    rates = settings["learning_rates"]
    for group, best in zip(answer.groups, answer.trained.best.tolist(), strict=True):
        end = len(rates) > 1 and rates[best] in (min(rates), max(rates))
        unit = "(end of the sweep)" if end else ""
        rows.add("claim4", group, f"{task}_learning_rate", rates[best], unit=unit, n=images)
    if task == "position":
        for group in answer.groups:
            _confounding(rows, group, answer, bank, settings, bootstrap)


def _compare(rows, metric, unit, scores, bootstrap):
    """Each group's mean of (image, seed) sums over (image,) counts, and outlier minus normal,
    normal tokens of the same places too."""
    means = {g: bootstrap.over_seeds(*sums) for g, sums in scores.items()}
    for group, (value, low, high, _) in means.items():
        rows.add("claim4", group, metric, value, low, high, unit, bootstrap.images)
    for base in ("normal", SAME_PLACES):
        if not {base, "outlier"} <= set(means):
            continue
        (normal, *_, before), (outlier, *_, after) = means[base], means["outlier"]
        ends = bootstrap.interval(after - before)
        rows.add(
            "claim4", f"outlier-{base}", metric, outlier - normal, *ends, of_difference(unit),
            bootstrap.images,
        )  # fmt: skip


def beyond_prior(answer, bank):
    """What a position probe knows beyond where tokens of its group lie anyway: (image, seed) sums.

    In points of top-1 over always guessing the place that is the commonest among the group's tokens
    in all images but the test images.
    """
    choice, test = answer.tokens.choice, answer.test
    for group in answer.groups:
        place = bank.patch_index[choice.image, choice.slots[group]]
        commonest = np.bincount(place[~test]).argmax()
        guessed = np.bincount(answer.image, weights=100.0 * (place[test] == commonest))
        yield group, 100 * answer.per_image("top1", group) - guessed[:, None]


def _explained(answer):
    """How much of the mean patch's squared error a probe takes away, in percent.

    Where outliers sit on plain patches there is little to know, and any error is small.
    """
    for group, plain in zip(answer.groups, _mean_patch_error(answer), strict=True):
        plain = np.bincount(answer.image, weights=plain)
        yield group, (100 * (plain[:, None] - answer.per_image("l2_squared", group)), plain)


def baselines(task, answer, bank):
    """Chance and simplest guesses on the same test rows: group, metric, value by row, unit."""
    choice, test, not_test = answer.tokens.choice, answer.test, ~answer.test
    if task == "class":
        label = answer.tokens.class_number
        commonest = np.bincount(label[not_test]).argmax()
        yield "chance", "class_top1", 100 / len(answer.tokens.classes), "percent"
        yield "commonest class", "class_top1", 100.0 * (label[test] == commonest), "percent"
        return
    patches = bank.grid[0] * bank.grid[1]
    if task == "position":
        yield "chance", "position_top1", 100 / patches, "percent"
    errors = _mean_patch_error(answer) if task == "pixels" else None
    for group, slots in choice.slots.items():
        if task == "position":
            place = bank.patch_index[choice.image, slots]
            grid = np.indices(bank.grid).reshape(2, -1).T
            apart = np.linalg.norm(grid[:, None] - grid[None], axis=-1)
            anywhere = apart.mean(1)[place[test]]
            yield guess_name(group, "random place"), "position_distance", anywhere, "patches"
            commonest = np.bincount(place[not_test]).argmax()
            hit = 100.0 * (place[test] == commonest)
            yield guess_name(group, "commonest place"), "position_top1", hit, "percent"
            counts = np.bincount(place[not_test], minlength=patches)
            from_middle = apart[(apart @ counts).argmin()][place[test]]
            yield guess_name(group, "best one place"), "position_distance", from_middle, "patches"
        else:
            squared = errors[answer.groups.index(group)]
            guess = guess_name(group, "mean patch")
            yield guess, "pixel_l2_squared", squared, "squared L2 per patch"
            yield guess, "pixel_l2", np.sqrt(squared), "L2 per patch"


def _mean_patch_error(answer):
    """Squared L2 error (group, test row) of predicting the mean patch of all other images."""
    tokens, mean = answer.tokens, mean_patch(answer.tokens)[:, None]
    scaled = Pixels(mean.shape[2]).scaled
    parts = [tokens.targets(span)[:, tokens.test[span]] for span in tokens.spans]
    return np.concatenate([(scaled(part) - mean).square().sum(2).numpy() for part in parts], 1)


def _confounding(rows, group, answer, bank, settings, bootstrap):
    """Whether a group's positions could be guessed without looking at any token."""
    place = answer.of_tokens(bank.patch_index, group)
    patches = bank.grid[0] * bank.grid[1]
    value, low, high = confounding(place, patches, answer.image, bootstrap)
    unit = "of what as many uniform tokens reach"
    rows.add("claim4", group, "position_entropy", value, low, high, unit, bootstrap.images)
    limit = settings["min_entropy"]
    verdict = 1.0 if high < limit else 0.0 if low >= limit else None
    rows.add("claim4", group, "position_confounded", verdict, unit="verdict", n=bootstrap.images)


def _over_rule(rows, answer, bank, times, statistics):
    """How many of the test tokens that are called normal are over the rule of claim 2."""
    if bank.norm_over_median is None:  # banks of earlier versions
        return
    bootstrap = answer.bootstrap(statistics)
    over = answer.of_tokens(bank.norm_over_median, "normal") > times
    sums = np.bincount(answer.image, weights=100.0 * over)
    share = bootstrap.ratio(sums, answer.count())[:3]
    rows.add("claim4", "normal", share_metric(times), *share, "percent", bootstrap.images)


def _by_place(who, task, answer, bank, statistics):
    """Mean score at each place of the grid, with the number of tokens behind it."""
    if task == "class":
        return
    row, column = np.indices(bank.grid).reshape(2, -1)
    for name, (metric, factor, unit) in METRICS[task].items():
        for group in (g for g in answer.groups if g in SHOWN):
            place = answer.of_tokens(bank.patch_index, group)
            tokens = np.bincount(place, minlength=len(row))
            score = factor * answer.scores[name][answer.groups.index(group)].mean(0)
            with np.errstate(invalid="ignore"):
                value = np.bincount(place, weights=score, minlength=len(row)) / tokens
            yield pd.DataFrame({
                **who, "metric": metric, "group": group, "unit": unit, "row": row,
                "column": column, "tokens": tokens, "value": value,
            })  # fmt: skip


def _by_norm(who, task, answer, bank, statistics):
    """Scores by tenths of each group's tokens, ordered by norm."""
    bootstrap = answer.bootstrap(statistics)
    for name, (metric, factor, unit) in METRICS[task].items():
        for group in (g for g in answer.groups if g in SHOWN):
            norm = answer.of_tokens(bank.norm, group)
            tenth = (np.argsort(np.argsort(norm, kind="stable")) * BINS) // len(norm)
            lines = []
            for b in range(BINS):
                where = tenth == b
                if not where.any():
                    continue
                sums = factor * answer.per_image(name, group, where)
                value, low, high, _ = bootstrap.over_seeds(sums, answer.count(where))
                lines.append({
                    **who, "metric": metric, "group": group, "unit": unit, "tenth": b + 1,
                    "norm": np.median(norm[where]), "value": value, "low": low, "high": high,
                    "tokens": int(where.sum()),
                })  # fmt: skip
            yield pd.DataFrame(lines)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    label = f"probe {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            bank=dict(snakemake.input.items()), who=p.who, saw_labels=p.saw_labels,
            settings=p.settings, times=p.times, statistics=p.statistics, device=p.device,
            partial=p.partial, outputs=dict(snakemake.output.items()),
        )  # fmt: skip
