"""The table of backbones by their kind: by size, and by the loss they were trained with."""

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.stores.receipts import write_text
from tokenscope.tables import tidy
from tokenscope.tables.by_kind import by_kind, page
from tokenscope.tables.rests_on import of_tables, page_end, sentence


def main(claim1, claim4, provenance, params, confidence, csv, text):
    """Write a line for each kind of backbone and quantity.

    Args:
        claim1: table of tidy rows. claim4: a list of one, or empty where nothing is probed.
        provenance: tables of the weights and images behind them.
        params: number of parameters of each released backbone without registers.
        confidence: of intervals over backbones.
        csv: file of the table. text: page in Markdown.
    """
    probed = [tidy.read(path) for path in claim4] or [pd.DataFrame(columns=tidy.COLUMNS)]
    table = by_kind(tidy.read(claim1), probed[0], params, confidence)
    table.to_csv(csv, index=False, float_format="%.4g")
    rests = page_end(sentence(of_tables(provenance)))
    write_text(text, "\n".join([page(table), *rests]))


if "snakemake" in globals():
    with job(snakemake.log[0], "table of kinds"):
        i, p, out = snakemake.input, snakemake.params, snakemake.output
        main(
            claim1=i.claim1, claim4=i.claim4, provenance=i.provenance, params=p.params,
            confidence=p.confidence, csv=out.csv, text=out.text,
        )  # fmt: skip
