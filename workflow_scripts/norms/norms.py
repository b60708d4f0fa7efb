"""Claims 1 and 2: how the norms of patch tokens are distributed, block by block.

Blocks are counted from 1, as in the papers: "block 8 of 12".
"""

import json

import numpy as np
import pandas as pd

from tokenscope.jobs.job import Progress, job
from tokenscope.norms.exceedance import STEPS, tail
from tokenscope.norms.outlier_rule import cutoff, outlier_mask
from tokenscope.norms.outliers import block_norms, first_block, position_entropy
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import write_text
from tokenscope.tables.tidy import TidyRows, write

CURVE_BINS = 120


def main(receipts, who, rules, statistics, outputs):
    """Measure one backbone on one data set.

    ``outputs`` has paths for ``rows`` (tidy), ``cutoffs`` (JSON, for the claims that choose tokens
    by norm), ``curves`` (densities of the norm by block), ``places`` (where outliers sit) and
    ``tails`` (JSON, how many tokens are above each threshold, for the report's norm explorer).
    """
    tokens = PatchNorms.open(receipts)
    norms = tokens.norms()
    images, blocks, _ = norms.shape
    bootstrap = Bootstrap.of(images, statistics)
    rows = TidyRows(who, images, statistics["seed"])
    times = f"share_norm_over_{rules['times_median']:g}x_median"
    measured, progress = [], Progress("blocks")
    for b in range(blocks):
        measured.append(block_norms(norms[:, b], bootstrap, rules))
        progress(b + 1, blocks)
    last = measured[-1]

    _add(rows, "claim1", "last_block", last)
    # Outliers of some backbones fade before the last block, so the block with most is judged too.
    peak = max(measured, key=lambda block: block.value[times])
    for group, block in (("last_block", last), ("peak_block", peak)):
        rows.add("claim1", group, "has_artifacts", artifacts(block, times, rules), unit="verdict")
    for kind, own in tokens.prefix_norms().items():
        point, low, high, _ = bootstrap.ratio(own, np.ones(images))
        rows.add("claim1", kind, "norm_mean", point, low, high)
    outlier = outlier_mask(norms[:, -1], rules["times_median"])
    if (attention := tokens.attention("cls")) is not None:
        _attention(rows, attention, outlier, bootstrap)
    else:  # without a CLS token there is no CLS row: undefined, not invented
        rows.add("claim1", "cls", "attention_share_on_outliers", None, unit="percent")
    _places(rows, outlier, bootstrap)

    for b, block in enumerate(measured):
        _add(rows, "claim2", f"block{b + 1:02d}", block)
    _depth(rows, measured, times, rules, bootstrap)
    if "top5" in tokens and "label" in tokens and (tokens.read("label") >= 0).all():
        _own_head(rows, tokens.read("top5"), tokens.read("label"), bootstrap)

    write(rows.frame(), outputs["rows"])
    write(_curves(who, norms, measured, bootstrap), outputs["curves"])
    write(_place_table(who, norms[:, -1], outlier, tokens.grid, rules), outputs["places"])
    write_text(outputs["tails"], json.dumps(_tails(norms, rules)))
    write_text(outputs["cutoffs"], json.dumps(_cutoffs(last, norms[:, -1], rules), indent=1))


def artifacts(block, times, rules):
    """1 if outliers are surely many and a mode of their own, 0 if surely too few, else NaN."""
    if block.high[times] < rules["min_share"]:
        return 0.0
    many = block.low[times] >= rules["min_share"]
    apart = block.low["bimodality_separation"] >= rules["min_separation"]
    return 1.0 if many and apart else float("nan")


def _add(rows, claim, group, block):
    for metric, value in block.value.items():
        unit = "percent" if "share" in metric else ""
        rows.add(claim, group, metric, value, block.low[metric], block.high[metric], unit)


def _attention(rows, attention, outlier, bootstrap):
    """How much of the CLS row's attention falls on outliers, and how peaked it is."""
    total = attention.sum(1)
    top = np.sort(attention, axis=1)[:, -max(1, round(0.02 * attention.shape[1])) :].sum(1)
    for metric, mass in (
        ("attention_share_on_outliers", (attention * outlier).sum(1)),
        ("attention_share_of_top_2_percent", top),
    ):
        point, low, high, _ = bootstrap.ratio(100 * mass, total)
        rows.add("claim1", "cls", metric, point, low, high, "percent")


def _places(rows, outlier, bootstrap):
    """Over how many places of the grid outliers spread: one (entropy 0) to all alike (1)."""
    counts = outlier.astype(np.float32)
    total = int(outlier.sum())
    rows.add("claim1", "outlier", "tokens", total, unit="tokens")
    point = position_entropy(counts.sum(0)) if total else float("nan")
    low, high = bootstrap.interval(position_entropy(bootstrap.sums(counts)))
    rows.add("claim1", "outlier", "position_entropy", point, low, high, "of the maximum")


def _depth(rows, measured, times, rules, bootstrap):
    shares = np.array([block.value[times] for block in measured])
    resampled = np.stack([block.resampled[times] for block in measured], axis=-1)
    onset, again = (
        first_block(shares, rules["min_share"]),
        first_block(resampled, rules["min_share"]),
    )
    rows.add("claim2", "depth", "onset_block", onset, *bootstrap.interval(again), "block, from 1")
    peak = shares.argmax() + 1 if shares.max() >= rules["min_share"] else float("nan")
    rows.add("claim2", "depth", "peak_block", peak, unit="block, from 1")
    rows.add("claim2", "depth", "peak_share", shares.max(), unit="percent")


def _own_head(rows, top5, label, bootstrap):
    hits = top5 == label[:, None]
    for metric, hit in (("top1", hits[:, 0]), ("top5", hits.any(1))):
        point, low, high, _ = bootstrap.ratio(100.0 * hit, np.ones(len(hit)))
        rows.add("claim5", "own_head", metric, point, low, high, "percent")


def _curves(who, norms, measured, bootstrap):
    """Density of log10(norm) by block, with its interval, on bins shared by all blocks."""
    logs = np.log10(norms)
    edges = np.linspace(logs.min(), logs.max() + 1e-9, CURVE_BINS + 1)
    width, tables = edges[1] - edges[0], []
    for b in range(norms.shape[1]):
        index = np.clip(((logs[:, b] - edges[0]) / width).astype(int), 0, CURVE_BINS - 1)
        index += np.arange(len(index))[:, None] * CURVE_BINS
        counts = np.bincount(index.ravel(), minlength=len(index) * CURVE_BINS)
        counts = counts.reshape(-1, CURVE_BINS) / norms.shape[2] / width
        point, low, high, _ = bootstrap.ratio(counts, np.ones((len(counts), 1)))
        table = {"block": b + 1, "norm": 10 ** (edges[:-1] + width / 2), "density": point}
        median = measured[b].value["norm_median"]
        tables.append(pd.DataFrame({**who, **table, "low": low, "high": high, "median": median}))
    return pd.concat(tables)


def _place_table(who, norms, outlier, grid, rules):
    above = norms > np.quantile(norms, rules["percentile"] / 100)
    row, column = np.indices(grid).reshape(2, -1)
    shares = {"times_median": 100 * outlier.mean(0), "percentile": 100 * above.mean(0)}
    return pd.DataFrame({**who, "row": row, "column": column, **shares})


def _tails(norms, rules):
    times = rules["times_median"]
    blocks = [tail(norms[:, b], times) for b in range(norms.shape[1])]
    return {"tokens": norms[:, 0].size, "times": times, "steps": STEPS, "blocks": blocks}


def _cutoffs(block, norms, rules):
    percentile = f"norm_p{rules['percentile']:g}"
    return {
        "percentile": float(np.quantile(norms, rules["percentile"] / 100)),
        "percentile_low": block.low[percentile], "percentile_high": block.high[percentile],
        "absolute": rules["absolute"],
        "times_median": float(cutoff(norms, rules["times_median"])),
        "median": float(np.median(norms)), "rules": rules, "images": len(norms),
    }  # fmt: skip


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(
        snakemake.log[0], f"norms {w.dataset} {w.family}/{w.size}/{w.registers}", snakemake.threads
    ):
        main(snakemake.input, p.who, p.outliers, p.statistics, dict(snakemake.output.items()))
