"""Claim 3: how similar a patch is to its neighbours, for outlier and for normal tokens.

Similarities were taken right after the patch embedding, without position, in the extraction pass.
Both ways of pooling are reported: every pair of neighbours, and the mean over a patch's neighbours.
"""

import numpy as np
import pandas as pd

from tokenscope.jobs.job import job, log
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables.tidy import TidyRows, write

BINS = 100
RULES = {"percentile": "", "times_median": "_3x_median"}


def main(receipts, cutoffs, who, settings, statistics, rows_file, curves_file):
    """Measure one backbone on one data set: tidy rows, and densities with intervals."""
    tokens, cutoffs = PatchNorms.open(receipts), read_receipt(cutoffs)
    cosine, norms = tokens.read("neighbour_cosine"), tokens.norms(-1)
    images = len(norms)
    bootstrap = Bootstrap.of(images, statistics)
    rows, curves = TidyRows(who, images, statistics["seed"]), []
    pooled = {"pair": cosine, "patch": np.nanmean(cosine, axis=2, keepdims=True)}
    for rule, suffix in RULES.items():
        outlier = norms > cutoffs[rule]
        found = int(outlier.sum())
        rows.add("claim3", f"outlier{suffix}", "tokens", found, unit="tokens")
        if found < settings["min_tokens"]:
            log.info("%d outlier tokens by the rule %s: too few to compare", found, rule)
            continue
        for pooling, values in pooled.items():
            counts = {
                name: _histogram(values, mask)
                for name, mask in (("outlier", outlier), ("normal", ~outlier))
            }
            _compare(rows, values, outlier, bootstrap, settings, pooling, suffix)
            curves.append(_curves(who, counts, bootstrap, rule, pooling))
    write(rows.frame(), rows_file)
    columns = [*who, "rule", "pooling", "group", "cosine", "density", "low", "high"]
    write(pd.concat(curves) if curves else pd.DataFrame(columns=columns), curves_file)


def _sums(values, mask, of):
    """Per image: sum of ``of(values)`` over the neighbours that exist of the masked patches."""
    there = np.isfinite(values) & mask[:, :, None]
    return np.where(there, of(values), 0).sum((1, 2)), there.sum((1, 2))


def _compare(rows, values, outlier, bootstrap, settings, pooling, suffix):
    prefix = "neighbour_cosine" if pooling == "pair" else "neighbour_cosine_patch"
    again, point = {}, {}
    for group, mask in (("outlier", outlier), ("normal", ~outlier)):
        mean, low, high, again[group] = bootstrap.ratio(*_sums(values, mask, lambda v: v))
        point[group] = mean
        rows.add("claim3", group + suffix, f"{prefix}_mean", mean, low, high)
    difference = again["outlier"] - again["normal"]
    rows.add(
        "claim3", f"outlier-normal{suffix}", f"{prefix}_mean",
        point["outlier"] - point["normal"], *bootstrap.interval(difference),
    )  # fmt: skip
    for number, similarity in enumerate(settings["similarities"]):
        shares, resampled = {}, {}
        for group, mask in (("outlier", outlier), ("normal", ~outlier)):
            above, all_ = _sums(values, mask, lambda v, s=similarity: v > s)
            share, low, high, resampled[group] = bootstrap.ratio(100.0 * above, all_)
            shares[group] = share
            metric = f"{prefix}_share_over_{similarity:g}"
            rows.add("claim3", group + suffix, metric, share, low, high, "percent")
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.divide(shares["outlier"], shares["normal"])
            ends = bootstrap.interval(resampled["outlier"] / resampled["normal"])
        # The study's first similarity is the one that stands beside the published ratio.
        name = "redundant_region_ratio" + ("" if pooling == "pair" else "_patch")
        metric = name if number == 0 else f"{name}_over_{similarity:g}"
        value = ratio if np.isfinite(ratio) else float("nan")
        rows.add("claim3", f"outlier/normal{suffix}", metric, value, *ends, "ratio")


def _histogram(values, mask):
    """Counts (image, bin) of similarities of the masked patches, bins over -1 to 1."""
    index = np.clip(((values + 1) / 2 * BINS), 0, BINS - 1)
    there = np.isfinite(values) & mask[:, :, None]
    image = np.broadcast_to(np.arange(len(values))[:, None, None], values.shape)
    flat = np.where(there, index, 0).astype(int)[there] + BINS * image[there]
    return np.bincount(flat, minlength=len(values) * BINS).reshape(-1, BINS)


def _curves(who, counts, bootstrap, rule, pooling):
    tables = []
    for group, histogram in counts.items():
        scaled = histogram * (BINS / 2)
        point, low, high, _ = bootstrap.ratio(scaled, histogram.sum(1, keepdims=True))
        cosine = -1 + (np.arange(BINS) + 0.5) * 2 / BINS
        tables.append(
            pd.DataFrame({
                **who, "rule": rule, "pooling": pooling, "group": group, "cosine": cosine,
                "density": point, "low": low, "high": high,
            })
        )  # fmt: skip
    # The ratio of the shares above each similarity: the whole curve behind the published 2.5.
    above = {g: h[:, ::-1].cumsum(1)[:, ::-1] for g, h in counts.items()}
    share = {g: bootstrap.ratio(a, a[:, :1]) for g, a in above.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        point = share["outlier"][0] / share["normal"][0]
        ends = bootstrap.interval(share["outlier"][3] / share["normal"][3])
    tables.append(
        tables[0].assign(
            group="ratio", cosine=cosine - 1 / BINS, density=point, low=ends[0], high=ends[1]
        )
    )
    return pd.concat(tables).replace([np.inf, -np.inf], np.nan)


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"redundancy {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(i.receipts, i.cutoffs, p.who, p.redundancy, p.statistics, out.rows, out.curves)
