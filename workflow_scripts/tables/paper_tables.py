"""Write Tables 1 to 5 of the main paper as LaTeX, published figures beside ours."""

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.stores.receipts import write_text
from tokenscope.tables import tidy
from tokenscope.tables.paper_tables import TABLES, latex
from tokenscope.tables.published import Published


def main(claims, published, outputs):
    """Write each table.

    Args:
        claims: file of the tidy rows by claim; a claim that the study does not ask is not there.
        published: ``config/published.csv``.
        outputs: path by name of table.
    """
    empty, rows = pd.DataFrame(columns=tidy.COLUMNS), Published(published).rows
    for name, output in outputs.items():
        claim = TABLES[name].claim
        ours = tidy.read(claims[claim]) if claim in claims else empty
        write_text(output, latex(name, ours, rows))


if "snakemake" in globals():
    with job(snakemake.log[0], "LaTeX tables"):
        claims = {
            path.rsplit("/", 1)[1].removesuffix(".csv"): path for path in snakemake.input.claims
        }
        main(
            claims=claims,
            published=snakemake.input.published,
            outputs=dict(snakemake.output.items()),
        )
