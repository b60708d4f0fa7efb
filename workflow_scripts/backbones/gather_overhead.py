"""The table of what registers cost, published figures beside ours."""

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.formatting import in_words, measured_text, words
from tokenscope.tables.published import as_published
from tokenscope.tables.rests_on import of_records, page_end, sentence

NOTE = (
    "counted: by torch's counter of operations; modelled: by tokenscope.study.flops. Speeds are "
    "medians of rounds in turn, brackets their extremes; time_overhead is taken round by round; "
    "training: forward and backward. Published: share of FLOPs added to a ViT-B at 224 pixels, "
    "read off a figure; beside models of size base only. The share depends on how many patches "
    "there are: an image of 224 pixels has 196 of 16 pixels and 256 of 14, so that it is larger "
    "where patches are."
)


def main(rows, records, published, csv, text):
    """Write the tidy rows of all backbones, and a page with a line a register count.

    Args:
        rows: CSV files of tidy rows, one per backbone.
        records: of the jobs that measured them, for the accounting.
        published: CSV file of the figures of the papers.
        csv: file of all rows. text: page in Markdown.
    """
    tables = [tidy.read(path) for path in rows]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=tidy.COLUMNS)
    tidy.write(table, csv)
    known = pd.read_csv(published).fillna({"bound": ""}).query("metric == 'flops_overhead'")
    lines = ["# What registers cost", "", in_words(NOTE)]
    for (family, size), group in table.groupby(["family", "size"], sort=False):
        quantities = list(dict.fromkeys(zip(group["group"], group["metric"], strict=True)))
        lines += ["", f"## {family}/{size}", ""]
        names = [f"{words(m)} ({words(g)})" for g, m in quantities]
        header = ["registers", *names, f"{words('flops_overhead')} (published)"]
        lines += ["| " + " | ".join(header) + " |", "|" + "-|" * len(header)]
        for registers, own in group.groupby("registers", sort=False):
            by_quantity = own.set_index(["group", "metric"])
            cells = [measured_text(by_quantity.loc[[q]].iloc[0]) for q in quantities]
            theirs = known[(known["registers"] == registers) & (known["size"] == size)]
            cited = "; ".join(
                f"{as_published(p.value, 'percent', p.bound)} % ({p.source})"
                for p in theirs.itertuples()
            )
            lines.append("| " + " | ".join([registers, *cells, cited]) + " |")
    if not len(table):
        lines += ["", "Not measured: the config key overhead names no backbone."]
    lines += ["", *page_end(sentence(of_records(records)))]
    with open(text, "w") as handle:
        handle.write("\n".join(lines))


if "snakemake" in globals():
    with job(snakemake.log[0], "table overhead"):
        out = snakemake.output
        main(
            rows=snakemake.input.rows,
            records=snakemake.params.records,
            published=snakemake.input.published,
            csv=out.csv,
            text=out.text,
        )
