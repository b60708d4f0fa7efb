"""The table of every item of the sources, and where this study shows it."""

import csv

from tokenscope.jobs.job import job
from tokenscope.report.coverage import NEEDS, OUT
from tokenscope.stores.receipts import write_text
from tokenscope.tables.rests_on import made, page_end

FIRST = 2  # files named of one item; how many more there are is said


def main(rows, table, text):
    """Write which file shows each item, or why none does.

    Args:
        rows: of :func:`tokenscope.report.coverage.coverage`.
        table: path of the CSV. text: path of the page.
    """
    with open(table, "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(text, "\n".join([page(rows), *page_end(made())]))


def page(rows):
    """The same as Markdown, a table a source."""
    shown = sum(row["answer"] not in (NEEDS, OUT) for row in rows)
    lines = ["# Every item of the sources", ""]
    lines += [f"{shown} of {len(rows)} are shown by this study, the others say what they need.", ""]
    for source in dict.fromkeys(row["source"] for row in rows):
        lines += [f"## {source}", "", "| item | what | where | |", "|" + "-|" * 4]
        for row in (row for row in rows if row["source"] == source):
            cells = [row["item"], row["shows"], where(row["files"]), row["note"] or row["answer"]]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def where(files):
    """The first files of an item as links from the folder of tables."""
    names = files.split()
    links = [f"[{name}](../{name})" for name in names[:FIRST]]
    return ", ".join(links) + (f" and {len(names) - FIRST} more" if names[FIRST:] else "")


if "snakemake" in globals():
    with job(snakemake.log[0], "coverage"):
        out = snakemake.output
        main(rows=snakemake.params.rows, table=out.csv, text=out.text)
