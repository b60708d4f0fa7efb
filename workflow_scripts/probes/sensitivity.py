"""Claim 4: how far the outlier-minus-normal class accuracy depends on the recipe of the probe.

Published differences on one and the same model run from +3 to +35 points. Each variation changes
one thing of the study's own recipe and keeps the rest, images and split included.
"""

from functools import partial as bind

import numpy as np

from tokenscope.errors import StudyError
from tokenscope.forward.device import pick_device
from tokenscope.jobs.job import StopRequest, job, log
from tokenscope.probes.logistic_regression import fit_logistic
from tokenscope.probes.questions import (
    FEW,
    ask,
    choose_rows,
    masks_of,
    open_bank,
    set_precision,
)
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables import tidy

NAMES = ("base recipe", "features not standardised", "tokens after the final norm",
         "normal token of lowest norm", "L-BFGS, C swept")  # fmt: skip


def main(bank, cutoffs, who, settings, statistics, device, output):
    """Train the class probes of normal and outlier tokens under each recipe; write tidy rows.

    Args:
        bank: as of rule probe: ``receipts``, and where it has them ``tested`` and ``splits``.
        cutoffs: JSON with the norms above which a token is an outlier (rule norms).
        who: family, size, registers, kind and data set, as columns of every row.
        settings: the section ``probes`` of the config, ``sensitivity`` included.
        statistics: the section of that name.
        device: ``cpu``, ``cuda`` or ``auto``.
        output: path of the table.
    """
    set_precision()
    stop = StopRequest()
    bank = open_bank(**bank)
    rows = tidy.TidyRows(who, bank.images, statistics["seed"])
    for name, change in variations(bank, settings, read_receipt(cutoffs)):
        log.info("recipe: %s", name)
        which = change.pop("which", {})
        try:
            choice, refused = choose_rows(bank, "class", settings, **which)
            compared = [g for g in ("normal", "outlier") if g not in refused]
            answer = ask(
                bank, "class", settings, pick_device(device), stop=stop,
                choice=choice.only(compared if len(compared) == 2 else []), **change,
            )  # fmt: skip
        except StudyError as error:
            _refuse(rows, name, str(error), 0)
            continue
        if len(answer.groups) < 2:
            refused |= answer.refused
            why, count = next(iter(refused.values()), (FEW, 0))
            _refuse(rows, name, why, count)
            continue
        _report(rows, name, answer, statistics)
    tidy.write(rows.frame(), output)


def variations(bank, settings, cutoffs):
    """Names of the recipes with what each changes in :func:`tokenscope.probes.questions.ask`."""
    base, raw, after, lowest, logistic = NAMES
    train, validation, test = masks_of(bank, settings)
    yield base, {}
    for share in settings["sensitivity"]["shares"]:
        rng = np.random.default_rng([settings["seed"], bank.images])
        few = train & (rng.random(train.shape) < share)
        yield f"{100 * share:g} % of the training images", {"masks": (few, validation, test)}
    yield raw, {"standardise": False}
    yield after, {"final_norm": True}
    yield lowest, {"which": {"normal": "lowest"}}
    yield logistic, {"trainer": bind(fit_logistic, penalties=settings["sensitivity"]["penalties"])}
    times, absolute = cutoffs["rules"]["times_median"], cutoffs["absolute"]
    in_medians = {"cutoff": times, "in_medians": True}
    yield f"outlier: over {times:g} x median", {"which": in_medians}
    yield f"outlier: norm over {absolute:g}", {"which": {"cutoff": absolute}}


def _report(rows, name, answer, statistics):
    bootstrap, count = answer.bootstrap(statistics), answer.count()
    resampled, point = {}, {}
    for group in answer.groups:
        sums = 100 * answer.per_image("top1", group)
        point[group], low, high, resampled[group] = bootstrap.over_seeds(sums, count)
        metric = f"class_top1_{group}"
        rows.add("sensitivity", name, metric, point[group], low, high, "percent", bootstrap.images)
    gap = point["outlier"] - point["normal"]
    ends = bootstrap.interval(resampled["outlier"] - resampled["normal"])
    rows.add("sensitivity", name, "class_top1_difference", gap, *ends, "points", bootstrap.images)
    trained = answer.rows["train"]
    rows.add("sensitivity", name, "class_tokens_train", trained, unit="tokens", n=bootstrap.images)


def _refuse(rows, name, why, count):
    log.info("%s: %s (%d)", name, why, count)
    rows.refuse("sensitivity", name, "class_top1_difference", why, count)


if "snakemake" in globals():
    w, p, i = snakemake.wildcards, snakemake.params, snakemake.input
    label = f"sensitivity {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            bank={name: value for name, value in i.items() if name != "cutoffs"},
            cutoffs=i.cutoffs, who=p.who, settings=p.settings,
            statistics=p.statistics, device=p.device, output=snakemake.output[0],
        )  # fmt: skip
