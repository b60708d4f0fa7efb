"""Emergence in training: quantiles of the norm and share of outliers, by update and block."""

from pathlib import Path

from tokenscope.jobs.job import job
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables import tidy
from tokenscope.training.emergence import emergence_table


def main(receipt, who, outliers, statistics, output):
    """Write tidy rows with two columns more, ``step`` (updates done) and ``block`` (from 1).

    Args:
        receipt: of rule snapshots.
        who: backbone and data set, as in tidy rows.
        outliers, statistics: sections of the config.
        output: CSV to write.
    """
    receipt = read_receipt(receipt)
    snapshots = (
        (name, PatchNorms([Path(receipt["store"]) / name]).norms()) for name in receipt["snapshots"]
    )
    tidy.write(emergence_table(snapshots, who, outliers["times_median"], statistics), output)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    label = f"emergence {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            receipt=snakemake.input[0],
            who=p.who,
            outliers=p.outliers,
            statistics=p.statistics,
            output=snakemake.output[0],
        )
