"""Write Tables 1 to 5 of the main paper as LaTeX, published figures beside ours."""

from pathlib import Path

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.stores.receipts import write_text
from tokenscope.tables import tidy
from tokenscope.tables.paper_tables import TABLES, latex
from tokenscope.tables.published import Published
from tokenscope.tables.rests_on import comment, made, of_tables, sentence


def main(claims, provenance, published, outputs):
    """Write each table, with what its numbers of here rest on in a comment at its top.

    Args:
        claims: file of the tidy rows by claim; a claim that the study does not ask is not there.
        provenance: table of the weights and images behind them, by claim.
        published: ``config/published.csv``.
        outputs: path by name of table.
    """
    empty, rows = pd.DataFrame(columns=tidy.COLUMNS), Published(published).rows
    for name, output in outputs.items():
        claim = TABLES[name].claim
        ours = tidy.read(claims[claim]) if claim in claims else empty
        said = _rests_on(provenance[claim]) if len(ours) else made()
        write_text(output, latex(name, ours, rows, comment(said)))


def _rests_on(file):
    return f"{sentence(of_tables([file]))} Their checksums: tables/{Path(file).name} of the study."


if "snakemake" in globals():
    with job(snakemake.log[0], "LaTeX tables"):
        claims = {
            path.rsplit("/", 1)[1].removesuffix(".csv"): path for path in snakemake.input.claims
        }
        main(
            claims=claims,
            provenance=dict(zip(claims, snakemake.input.provenance, strict=True)),
            published=snakemake.input.published,
            outputs=dict(snakemake.output.items()),
        )
