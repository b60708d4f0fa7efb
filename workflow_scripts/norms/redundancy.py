"""Claim 3: how similar a patch is to its neighbours, for outlier and for normal tokens.

Similarities were taken right after the patch embedding, without position, in the extraction pass.
Both ways of pooling are reported: every pair of neighbours, and the mean over a patch's neighbours.
Beside all normal tokens stands what image and place alone would have made of the outliers.
"""

import pandas as pd

from tokenscope.jobs.job import job, log
from tokenscope.norms import redundancy
from tokenscope.norms.matching import free
from tokenscope.norms.outlier_rule import Judged, judged_mask
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables.tidy import TidyRows, write

# How each rule's groups end; judged: the backbone's own cutoff in the block that was judged.
RULES = {"percentile": "", "times_median": "_3x_median", "judged": "_judged"}
VERDICT = ("outlier/matched", "redundant_region_ratio")  # what the claim is judged by


def main(receipts, cutoffs, who, settings, statistics, rows_file, curves_file):
    """Measure one backbone on one data set: tidy rows, and densities with intervals.

    Args:
        receipts: of its token store, one for each shard.
        cutoffs: JSON that rule norms wrote, with the norm above which each rule sees an outlier.
        who: the backbone and the data set, as columns of tidy rows.
        settings: the study's section ``redundancy``: ``similarities``, ``min_tokens``.
        statistics: the study's section of that name.
        rows_file, curves_file: CSV to write.
    """
    tokens, cutoffs = PatchNorms.open(receipts), read_receipt(cutoffs)
    pooled = redundancy.by_pooling(tokens.read("neighbour_cosine"))
    bootstrap = Bootstrap.of(tokens.images, statistics)
    rows, curves = TidyRows(who, tokens.images, statistics["seed"]), []
    for rule, suffix in RULES.items():
        outlier = outliers_by(rule, tokens, cutoffs)
        if outlier is None:
            group, metric = VERDICT
            rows.refuse("claim3", group + suffix, metric, "not judged to have artifacts", 0)
            continue
        count = int(outlier.sum())
        rows.add("claim3", f"outlier{suffix}", "tokens", count, unit="tokens")
        if rule == "judged":
            block = Judged.of(cutoffs).block
            rows.add("claim3", f"outlier{suffix}", "judged_block", block, unit="block, from 1")
        if count < settings["min_tokens"]:
            log.info("%d outlier tokens by the rule %s: too few to compare", count, rule)
            continue
        freed = free(outlier)
        share = 100 * freed.share
        rows.add("claim3", f"matched{suffix}", "free_of_place_and_image", share, unit="percent")
        if freed.share < redundancy.MIN_FREE:
            group, metric = VERDICT
            rows.refuse("claim3", group + suffix, metric, redundancy.NO_MATCH, count)
        for pooling, cosine in pooled.items():
            shown = cosine, outlier, settings["similarities"], bootstrap, pooling
            for group, *measured in (
                *redundancy.compare(*shown),
                *redundancy.compare_matched(cosine, freed, *shown[2:]),
                *(redundancy.aucs(*shown[:2], freed, bootstrap) if pooling == "pair" else ()),
            ):
                rows.add("claim3", group + suffix, *measured)
            curve = redundancy.curves(cosine, outlier, bootstrap)
            curves.append(pd.DataFrame({**who, "rule": rule, "pooling": pooling, **curve}))
    write(rows.frame(), rows_file)
    columns = [*who, "rule", "pooling", "group", "cosine", "density", "low", "high"]
    write(pd.concat(curves) if curves else pd.DataFrame(columns=columns), curves_file)


def outliers_by(rule, tokens, cutoffs):
    """Mask (image, patch) of outliers by one of :data:`RULES`; None where none were found."""
    if rule != "judged":
        return tokens.norms(-1) > cutoffs[rule]
    judged = Judged.of(cutoffs)
    return judged_mask(tokens.norms(judged.block - 1), judged.ratio_cutoff) if judged.yes else None


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"redundancy {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            receipts=i.receipts, cutoffs=i.cutoffs, who=p.who, settings=p.redundancy,
            statistics=p.statistics, rows_file=out.rows, curves_file=out.curves,
        )  # fmt: skip
