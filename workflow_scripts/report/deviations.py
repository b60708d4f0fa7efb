"""The table of all deviations from the papers' recipes."""

import csv

from tokenscope.jobs.job import job
from tokenscope.report.deviations import COLUMNS, DEVIATES
from tokenscope.stores.receipts import write_text
from tokenscope.tables.rests_on import made, page_end


def main(rows, table, text):
    """Write what is configured beside what the papers say.

    Args:
        rows: of :func:`tokenscope.report.deviations.deviations`.
        table: path of the CSV. text: path of the page.
    """
    with open(table, "w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(text, "\n".join([page(rows), *page_end(made())]))


def page(rows):
    """The same as Markdown, by paper; what deviates is in bold."""
    lines = ["# What is done otherwise than in the papers", ""]
    count = sum(row["answer"] == DEVIATES for row in rows)
    lines += [f"{count} of {len(rows)} points of their recipes deviate in this study.", ""]
    for paper in dict.fromkeys(row["paper"] for row in rows):
        lines += [f"## {paper}", "", "| about | where | theirs | here | configured | | why |"]
        lines.append("|" + "-|" * 7)
        for row in (row for row in rows if row["paper"] == paper):
            answer = row["answer"]
            answer = f"**{answer}**" if answer == DEVIATES else answer
            cells = [row[name] for name in ("about", "where", "theirs", "here", "configured")]
            cells = [str(cell).replace("|", "/") for cell in [*cells, answer, row["why"]]]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


if "snakemake" in globals():
    with job(snakemake.log[0], "deviations"):
        out = snakemake.output
        main(rows=snakemake.params.rows, table=out.csv, text=out.text)
