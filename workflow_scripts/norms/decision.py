"""What other passes must know of outliers: the decision, and where they are. Nothing else.

A pass over the images hangs on this file alone, so that the papers' multiples of the median, and
how many outliers a study calls artifacts (``min_share``), may change without another pass: who is
an outlier does not hang on them.
"""

import json

import numpy as np

from tokenscope.jobs.job import job, log
from tokenscope.norms.artifacts import cutoffs_of, judge
from tokenscope.norms.outlier_rule import judged_mask
from tokenscope.norms.token_norms import Bulk, PatchNorms
from tokenscope.stores.receipts import write_text


def main(receipts, percentile, confidence, output):
    """Write the decision on one backbone and one data set (JSON).

    Args:
        receipts: of its token store, one for each shard.
        percentile: of last-block norms over which a token counts where there are no artifacts.
        confidence: of the decision.
        output: path of the file: ``judged``, ``percentile`` (the norm), ``images``, and ``places``,
            percent of images with an outlier at each place of the grid, row by row; with artifacts
            also ``bulk``, by which images that are mostly outliers are told.
    """
    norms = PatchNorms.open(receipts).norms()
    judgement = judge(norms, confidence=confidence)
    log.info("artifacts: %s: %s", judgement.verdict, judgement.why)
    over = float(np.quantile(norms[:, -1], percentile / 100))
    bulk = {}
    if judgement.verdict == "yes":
        bulk = {"bulk": Bulk.of(norms[:, judgement.block - 1])._asdict()}
        outlier = judged_mask(norms[:, judgement.block - 1], judgement.cutoff)
    else:
        outlier = norms[:, -1] > over
    decision = {
        "judged": cutoffs_of(judgement), "percentile": over, "images": len(norms),
        "places": (100 * outlier.mean(0)).round(4).tolist(), **bulk,
    }  # fmt: skip
    write_text(output, json.dumps(decision, indent=1))


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"decision {w.dataset} {w.family}/{w.size}/{w.registers}"):
        main(
            receipts=snakemake.input, percentile=p.percentile, confidence=p.confidence,
            output=snakemake.output[0],
        )  # fmt: skip
