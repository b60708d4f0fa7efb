"""Join the counts of how often the instrument errs, and say in words what they mean."""

from pathlib import Path

import pandas as pd

from tokenscope.calibration.counting import COLUMNS
from tokenscope.calibration.summary import headline, read, summaries
from tokenscope.jobs.job import job, log
from tokenscope.tables.rests_on import made, page_end


def main(parts, stored, code, csv, text):
    """Write the table of counts, and the same as a page.

    Args:
        parts: CSV files of this study, one for each number of images; none without a section
            ``calibration``.
        stored: CSV of the long form that is kept with the code.
        code: hash of the code that decides, as it is now.
        csv, text: paths of the table (columns of :data:`tokenscope.calibration.counting.COLUMNS`,
            then ``form`` and ``code``) and of its page.
    """
    here = [read(path) for path in parts]
    long = [] if any((table["form"] == "long").any() for table in here) else _kept(stored)
    none = pd.DataFrame(columns=[*COLUMNS, "form", "code"])
    table = pd.concat([*long, *here], ignore_index=True) if long or here else none
    table.to_csv(csv, index=False)
    lines = ["# How often the instrument errs", ""]
    if not len(table):
        lines += ["Nothing was counted: add a section `calibration` or run `make calibrate`.", ""]
    for form, part in table.groupby("form", sort=False):
        lines += [f"## {form.capitalize()} form", "", headline(part), ""]
        if (part["code"] != code).any():
            stale = (
                "These counts were made by other code than this study's: `make calibrate` counts "
                "anew."
            )
            log.warning("%s form: %s", form, stale)
            lines += [stale, ""]
        for summary in summaries(part):
            lines += [f"### {summary.title}", "", summary.note, ""]
            lines += ["| " + " | ".join(summary.header) + " |", "|" + "-|" * len(summary.header)]
            lines += ["| " + " | ".join(row) + " |" for row in summary.rows]
            lines.append("")
    Path(text).write_text("\n".join([*lines, *page_end(made())]))


def _kept(stored):
    return [read(stored)] if Path(stored).exists() else []


if "snakemake" in globals():
    i, p, out = snakemake.input, snakemake.params, snakemake.output
    with job(snakemake.log[0], "calibration"):
        main(parts=i.parts, stored=i.stored, code=p.decides, csv=out.csv, text=out.text)
