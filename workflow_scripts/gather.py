"""Gather the measurements of a claim into one table, published figures beside ours."""

import textwrap

import pandas as pd

from tokenscope import tidy
from tokenscope.cited import Published, ends, spoken
from tokenscope.jobs import job
from tokenscope.kinds import is_control
from tokenscope.wording import NOTES, TITLES


def main(rows, claim, provenance, published, csv, text):
    """Write the tidy table, and the same for reading as Markdown with what it rests on."""
    table = pd.concat([tidy.read(path) for path in rows])
    table = table[table["claim"] == claim]
    if claim == "claim5":  # an own head may have been scored by two rules, on the same images
        table = table.drop_duplicates([*tidy.COLUMNS[:5], "group", "metric"])
    table = table.reset_index(drop=True)
    tidy.write(table, csv)
    with open(text, "w") as handle:
        handle.write(page(table, claim, pd.read_csv(provenance), Published(published)))


def page(table, claim, provenance, published):
    """The Markdown page of a table."""
    lines = [f"# {TITLES[claim]}", "", *textwrap.wrap(NOTES[claim], 100), ""]
    lines += verdicts(table, published)
    for (dataset, *who), group in table.groupby(
        ["dataset", "family", "size", "registers"], sort=False
    ):
        kind = group["kind"].iloc[0]
        control = " (control)" if is_control(kind) else ""
        lines += [f"## {'/'.join(who)}{control} on {dataset}", ""]
        lines += ["| group | quantity | value | interval | published | n |", "|-|-|-|-|-|-|"]
        for row in group.itertuples():
            cited = published.citations((*who, row.group, row.metric), dataset)
            value = f"{spoken(row.value, row.unit)} | {ends(row.low, row.high)}"
            lines.append(f"| {row.group} | {row.metric} | {value} | {cited} | {row.n} |")
        lines.append("")
    if not len(table):
        lines += ["No backbone of this study has a measurement for this table.", ""]
    lines += ["## What this rests on", ""]
    columns = ["timm_id", "origin", "geometry", "precision", "images", "images_skipped"]
    header = ["backbone", "dataset", *columns, "weights"]
    lines += ["| " + " | ".join(header) + " |", "|" + "-|" * len(header)]
    for row in provenance.to_dict("records"):
        name = "/".join(str(row[c]) for c in ("family", "size", "registers"))
        cells = [name, row["dataset"], *(str(row[c]) for c in columns), row["weights_sha256"][:12]]
        lines.append("| " + " | ".join(cells) + " |")
    seeds = " and seeds" if claim in ("claim4", "claim5", "sensitivity") else ""
    note = (
        f"Intervals: percentile bootstrap over images{seeds} (200 resamples for mixtures and "
        "entropies); n: images."
    )
    lines += ["", note, ""]
    return "\n".join(lines)


def verdicts(table, published):
    """The answer of claim 5 in one table: each difference that registers make, and its verdict."""
    helped = table[table["metric"] == "registers_help"]
    if not len(helped):
        return []
    header = ["backbone", "dataset", "head", "compared with", "gain in top-1 (points)", "interval"]
    header += ["published", "registers help"]
    lines = ["## Do registers help?", "", f"| {' | '.join(header)} |", "|" + "-|" * len(header)]
    key = ["family", "size", "registers", "dataset", "group"]
    gains = table[table["metric"].str.startswith("top1_gain_over_")]
    gains = gains.drop_duplicates([*key, "metric"])
    for row in helped.itertuples():
        mine = gains[(gains[key] == [getattr(row, column) for column in key]).all(axis=1)]
        for gain in mine.itertuples():
            who = (row.family, row.size, row.registers)
            cited = published.citations((*who, gain.group, gain.metric))
            base = gain.metric.removeprefix("top1_gain_over_")
            value = f"{gain.value:+.2f} | {gain.low:+.2f} to {gain.high:+.2f} | {cited}"
            said = spoken(row.value, row.unit)
            lines.append(
                f"| {'/'.join(who)} | {row.dataset} | {row.group} | {base} | {value} | {said} |"
            )
    return [*lines, ""]


if "snakemake" in globals():
    with job(snakemake.log[0], f"table {snakemake.output.csv.rsplit('/', 1)[1]}"):
        i, out = snakemake.input, snakemake.output
        main(i.rows, snakemake.params.claim, i.provenance, i.published, out.csv, out.text)
