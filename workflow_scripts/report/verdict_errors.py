"""How often each criterion of the verdicts errs, on simulated studies that the engine judges.

Of criteria that repeat the decision of claim 1 the errors are those counted by ``make calibrate``.
"""

import pandas as pd

from tokenscope.calibration import summary
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import write_text
from tokenscope.tables import tidy
from tokenscope.tables.rests_on import made, page_end
from tokenscope.verdicts import criteria, simulation


def main(content, counts, csv, text):
    """Write the table of error rates, and the same to be read.

    Args:
        content: of the criteria, as :func:`tokenscope.report.contents.simulated` has it.
        counts: table of rule calibration that is kept in the repository.
        csv, text: paths of the table and of its page.
    """
    of = criteria.of(content)
    decisions = simulation.of_decisions(of, summary.wrong(summary.read(counts)))
    rates = pd.concat([simulation.table(of), decisions], ignore_index=True)
    tidy.write(rates, csv)
    write_text(text, "\n".join([simulation.page(rates), *page_end(made())]))
    failing = rates[rates["holds"] == "no"]
    for row in failing.drop_duplicates(["comparison", "effect", "design"]).itertuples():
        log.info(
            "%s %s (%s): %s %.1f %%, required %s", row.comparison, row.effect, row.design,
            row.quantity, row.value, row.required,
        )  # fmt: skip


if "snakemake" in globals():
    with job(snakemake.log[0], "verdict errors"):
        out = snakemake.output
        main(
            content=snakemake.params.content, counts=snakemake.input[0], csv=out.csv, text=out.text
        )
