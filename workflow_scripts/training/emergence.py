"""Emergence in training: quantiles of the norm and share of outliers, by update and block."""

from pathlib import Path

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.norms.emergence import norm_summary
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables import tidy


def main(receipt, who, rules, statistics, output):
    """Tidy rows with two columns more, ``step`` (updates done) and ``block`` (from 1)."""
    receipt, tables = read_receipt(receipt), []
    for name in receipt["snapshots"]:
        norms = PatchNorms([Path(receipt["store"]) / name]).norms()
        bootstrap = Bootstrap.of(len(norms), statistics)
        for block in range(norms.shape[1]):
            rows = tidy.TidyRows(who, len(norms), statistics["seed"])
            group = f"step{name}/block{block + 1:02d}"
            for metric, ends in norm_summary(
                norms[:, block], bootstrap, rules["times_median"]
            ).items():
                unit = "percent" if "share" in metric else ""
                rows.add("training", group, metric, *ends, unit=unit)
            tables.append(rows.frame().assign(step=int(name), block=block + 1))
    empty = pd.DataFrame(columns=[*tidy.COLUMNS, "step", "block"])
    tidy.write(pd.concat(tables) if tables else empty, output)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    label = f"emergence {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(snakemake.input[0], p.who, p.outliers, p.statistics, snakemake.output[0])
