"""How often each criterion of the verdicts errs, on simulated studies that the engine judges."""

from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import write_text
from tokenscope.tables import tidy
from tokenscope.verdicts import criteria, simulation


def main(content, csv, text):
    """Write the table of error rates, and the same to be read.

    Args:
        content: of the criteria, as :func:`tokenscope.report.contents.simulated` has it.
        csv, text: paths of the table and of its page.
    """
    rates = simulation.table(criteria.of(content))
    tidy.write(rates, csv)
    write_text(text, simulation.page(rates))
    failing = rates[rates["holds"] == "no"]
    for row in failing.drop_duplicates(["comparison", "effect", "design"]).itertuples():
        log.info(
            "%s %s (%s): %s %.1f %%, required %s", row.comparison, row.effect, row.design,
            row.quantity, row.value, row.required,
        )  # fmt: skip


if "snakemake" in globals():
    with job(snakemake.log[0], "verdict errors"):
        out = snakemake.output
        main(content=snakemake.params.content, csv=out.csv, text=out.text)
