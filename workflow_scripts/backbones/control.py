"""Compare what the instrument says of a control with what is known from the pixels."""

import numpy as np

from tokenscope.backbones.planted_controls import constant_patches
from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import job, log
from tokenscope.norms.outlier_rule import outlier_mask
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables import tidy


def main(card, receipts, images, patch, measured, who, rules, statistics, output):
    """Write tidy rows: planted and measured share, agreement token by token, block, verdict.

    Args:
        card: of the control. receipts: of its token store, one for each shard.
        images: where they are (:class:`tokenscope.images.readers.ImageInputs`).
        patch: its side in pixels.
        measured: CSV of what claims 1 and 2 say of the control.
        who: the control and the data set, as columns of tidy rows; its kind says what is expected.
        rules, statistics: the study's sections ``outliers`` and ``statistics``.
        output: CSV to write.
    """
    card, tokens = read_receipt(card), PatchNorms.open(receipts)
    reader = images.open(1)
    norms = tokens.norms(-1)
    truth = np.concatenate([constant_patches(reader.read(*r), patch) for r in tokens.ranges])
    if who["kind"] == "clean":
        truth = np.zeros_like(truth)  # nothing was planted
    outlier = outlier_mask(norms, rules["times_median"])
    bootstrap = Bootstrap.of(len(norms), statistics)
    rows = tidy.TidyRows(who, len(norms), statistics["seed"])
    for group, mask in (("planted", truth), ("measured", outlier)):
        point, low, high, _ = bootstrap.ratio(100 * mask.mean(1), np.ones(len(mask)))
        rows.add("control", group, "share", point, low, high, "percent")
    wrong = int((truth != outlier).sum())
    rows.add("control", "difference", "tokens", wrong, unit="tokens")
    measures = tidy.read(measured).set_index(["group", "metric"])["value"]
    onset = measures["depth", "onset_block"]
    planted_block = card["planted"]["block"] if card["planted"] else float("nan")
    rows.add("control", "planted", "onset_block", planted_block, unit="block, from 1")
    rows.add("control", "measured", "onset_block", onset, unit="block, from 1")
    same_block = onset == planted_block or (np.isnan(onset) and np.isnan(planted_block))
    expected = 1.0 if who["kind"] == "planted" else 0.0
    verdict = wrong == 0 and same_block and measures["last_block", "has_artifacts"] == expected
    rows.add("control", "verdict", "passed", float(verdict), unit="verdict")
    log.info("%s control: %s", who["kind"], "passed" if verdict else "FAILED")
    tidy.write(rows.frame(), output)


if "snakemake" in globals():
    w, p, i = snakemake.wildcards, snakemake.params, snakemake.input
    with job(snakemake.log[0], f"control {w.dataset} {w.family}/{w.size}/{w.registers}"):
        main(
            card=i.card, receipts=i.tokens, images=ImageInputs(**p.images), patch=p.patch,
            measured=i.rows, who=p.who, rules=p.outliers, statistics=p.statistics,
            output=snakemake.output[0],
        )  # fmt: skip
