"""What the study has cost so far, attempt by attempt, and the paper's own section on carbon."""

import csv
import os
import textwrap
from pathlib import Path

import pandas as pd

from tokenscope.cost.accounting import DONE, collect, forecasts, table
from tokenscope.cost.carbon import Site, paper_rows
from tokenscope.jobs.job import job, log
from tokenscope.jobs.records import RUN
from tokenscope.stores.receipts import write_text
from tokenscope.tables.formatting import as_text, words
from tokenscope.tables.rests_on import made, page_end, sentence
from tokenscope.tables.tidy import backbone_names

NOTE = (
    "Each attempt of each job. Hours: by Slurm's accounting (elapsed x allocation) where it is "
    "there, else by the job itself. Energy: by the counters of the hardware where it has any, else "
    "power x time; the method stands in every row of accounting.csv. CO2 = intensity x PUE x "
    "energy. new: of the last run. reused: of earlier runs, and still in use. spent: of earlier "
    "runs, superseded or failed since. Claim: tokenscope/cost/claims.py; what serves "
    "several claims is shared."
)
PAPER_NOTE = (
    "The section on carbon of the paper (reassessment-2025), CO2 = intensity x PUE x power x time. "
    "Its printed inputs do not give its printed result: they give 55.39 kg, and 29.94 kg is what "
    "an intensity of 0.20 kg/kWh gives. Both are shown."
)
ASKED = "Medians of jobs that ended well. Memory: of the job, its Snakemake, and the largest child."
SUMS = ["gpu_hours", "core_hours", "kwh", "co2_kg", "units"]


def main(folder, site, published, outputs, run):
    """Write ``accounting.csv`` (one row an attempt), ``carbon_paper.csv``, and both to be read.

    Args:
        folder: ``<results>/accounting``, with the records of jobs and the forecasts of runs.
        site: the fields of a :class:`tokenscope.cost.carbon.Site`.
        published: CSV of published figures, with the inputs of the paper's own section.
        outputs: paths by name: CSV ``jobs`` and ``paper``, Markdown ``text`` and ``paper_text``.
        run: name of the run whose work counts as new; empty for none.
    """
    site = Site(**site)
    attempts, problem = collect(Path(folder))
    rows = table(attempts, site, run, forecasts(Path(folder)))
    rows.to_csv(outputs["jobs"], index=False, float_format="%.7g")
    write_text(outputs["text"], page(rows, site, problem))
    with open(published, newline="") as handle:
        paper = pd.DataFrame(paper_rows(list(csv.DictReader(handle)), site))
    paper.to_csv(outputs["paper"], index=False, float_format="%.7g")
    lines = ["# The paper's carbon footprint", "", *textwrap.wrap(PAPER_NOTE, 100), ""]
    cells = [(words(r.quantity), as_text(r.value, r.unit), r.note) for r in paper.itertuples()]
    write_text(
        outputs["paper_text"],
        "\n".join([*lines, *grid(paper.columns[[0, 1, 3]], cells), "", *page_end(made())]),
    )
    log.info("%d attempts, %.3g kWh, %.3g kg CO2", len(rows), rows.kwh.sum(), rows.co2_kg.sum())


def page(rows, site, problem):
    """The Markdown page: sums by what they were for."""
    lines = ["# What the study took", "", *textwrap.wrap(NOTE, 100), ""]
    about = f"Site {site.site}: {site.intensity:g} kg/kWh, PUE {site.pue:g}, "
    about += f"{site.gpu_watts:g} W per GPU, {site.core_watts:g} W per core by the formula; "
    about += f"{site.units_per_gpu_hour:g} service units per GPU-hour. Source: {site.source}."
    lines += [*textwrap.wrap(about, 100), ""]
    if problem:
        missing = "Attempts that were killed are missing here."
        lines += [f"No Slurm accounting: {problem}. {missing}", ""]
    named = rows.assign(
        backbone=backbone_names(rows).where(rows["registers"] != "", "none"),
        ended=rows["state"].where(~rows["state"].isin(["finished", "COMPLETED"]), "finished"),
    )
    for title, keys in (
        ("All", ["work"]), ("By claim", ["claim", "work"]), ("By rule", ["rule"]),
        ("By backbone", ["backbone"]), ("How attempts ended", ["ended"]),
    ):  # fmt: skip
        lines += [f"## {title}", "", *sums(named, keys), ""]
    lines += ["## What jobs asked for, and what they used", "", ASKED, "", *requests(rows), ""]
    lines += ["## How energy is known", ""]
    known = [
        {"part": part, "method": method, "kwh": group[f"{part}_kwh"].sum(), "attempts": len(group)}
        for part in ("gpu", "cpu")
        for method, group in rows[rows[f"{part}_method"] != ""].groupby(f"{part}_method")
    ]
    cells = [(k["part"].upper(), k["method"], k["attempts"], f"{k['kwh']:.3g}") for k in known]
    lines += [*grid(["part", "method", "attempts", "kWh"], cells), ""]
    return "\n".join([*lines, *page_end(sentence(rows))])


def sums(rows, keys):
    """A table of sums, and of all."""
    if rows.empty:
        return ["No job has left a record."]
    groups = [*rows.groupby(keys, sort=True), (("all",) + ("",) * (len(keys) - 1), rows)]
    cells = [
        (*name, len(group), *(f"{group[c].sum():.3g}" for c in SUMS))
        for name, group in groups
    ]  # fmt: skip
    head = [*keys, "attempts", "GPU-hours", "core-hours", "kWh", "kg CO2", "service units"]
    return grid(head, cells)


def requests(rows):
    """A table of requests over use: medians of each rule's jobs that ended well."""
    known = rows[rows["state"].isin(DONE) & rows["asked_mb"].notna() & rows["peak_mb"].notna()]
    cells = []
    for rule, group in known.groupby("rule"):
        used = (group["seconds"].median() / 60, group["peak_mb"].median())
        requested = (group["asked_minutes"].median(), group["asked_mb"].median())
        ratios = (f"{a / u:.2g}" if u else "" for a, u in zip(requested, used, strict=True))
        cells.append((rule, len(group), *(f"{v:.3g}" for pair in zip(requested, used, strict=True)
                                          for v in pair), *ratios))  # fmt: skip
    head = ["rule", "jobs", "minutes asked", "minutes used", "MB asked", "MB used"]
    return grid([*head, "time asked / used", "memory asked / used"], cells)


def grid(head, cells):
    """Lines of a Markdown table."""
    rows = [head, ["-"] * len(head), *cells]
    return ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]


if "snakemake" in globals():
    i, p = snakemake.input, snakemake.params
    with job(snakemake.log[0], "accounting"):
        run = os.environ.get(RUN, "")
        main(
            folder=p.folder,
            site=p.site,
            published=i.published,
            outputs=dict(snakemake.output.items()),
            run=run,
        )
