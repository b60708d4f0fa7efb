"""Gather the measurements of a claim into one table, published figures beside ours."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.kinds.answers import KINDS, said
from tokenscope.phantoms.answers import ANSWERS, CONTENT, POSITION, TIED
from tokenscope.phantoms.comparison import KIND_HEADER, kind_lines
from tokenscope.stats.top_k import sign_of_interval
from tokenscope.study.register_names import is_control
from tokenscope.tables import names, paired, tidy
from tokenscope.tables.captions import NOTES, TITLES
from tokenscope.tables.formatting import (
    as_text,
    group_words,
    heading,
    in_words,
    interval_text,
    number_text,
    signed_text,
    unit_text,
    words,
)
from tokenscope.tables.probe_tables import HEADER, tables
from tokenscope.tables.published import Published
from tokenscope.tables.register_gains import BASE, WITH_REGISTERS
from tokenscope.tables.rests_on import page_end, sentence

NOTHING = "No backbone of this study has a measurement for this table."
WHY_EMPTY = {
    "claim5": (
        "Nothing is scored here: no backbone has a head for the classes of the images (the column "
        "`classes` of its row and the key `classes` of the data set name the same), and the config "
        "trains none (section `heads`, with `train`)."
    ),
    "claim4": "No tokens are probed: the section `probes` of the config names no backbone.",
}


def main(rows, claim, provenance, published, csv, text):
    """Write the tidy table, and the same for reading as Markdown with what it rests on.

    Args:
        rows: files of tidy rows, one a backbone.
        claim: whose rows are taken, one of :data:`PAGES`.
        provenance: CSV of the backbones, weights and images behind the rows.
        published: ``config/published.csv``.
        csv, text: paths of the table and of its page.
    """
    table = pd.concat([tidy.read(path) for path in rows])
    table = table[table["claim"] == claim]
    if PAGES[claim].measured_twice:
        table = table.drop_duplicates(tidy.KEY_COLUMNS)
    table = table.reset_index(drop=True)
    tidy.write(table, csv)
    with open(text, "w") as handle:
        handle.write(page(table, claim, pd.read_csv(provenance), Published(published)))


def page(table, claim, provenance, published):
    """The Markdown page of a table."""
    lines = [f"# {TITLES[claim]}", "", *textwrap.wrap(in_words(NOTES[claim]), 100), ""]
    lines += PAGES[claim].summary(table, published)
    for (dataset, *who), group in table.groupby(["dataset", *tidy.BACKBONE_COLUMNS], sort=False):
        kind = group["kind"].iloc[0]
        control = " (control)" if is_control(kind) else ""
        lines += [f"## {'/'.join(who)}{control} on {dataset}", ""]
        lines += ["| group | quantity | value | interval | published | n |", "|-|-|-|-|-|-|"]
        for row in PAGES[claim].shown(group).itertuples():
            cited = published.citations((*who, row.group, row.metric), dataset)
            value = f"{as_text(row.value, row.unit)} | {interval_text(row.low, row.high, row.unit)}"
            named = f"{group_words(row.group)} | {words(row.metric)}"
            lines.append(f"| {named} | {value} | {cited} | {row.n} |")
        lines.append("")
    if not len(table):
        lines += [*textwrap.wrap(WHY_EMPTY.get(claim, NOTHING), 100), ""]
    lines += PAGES[claim].addendum(published)
    lines += page_end(sentence(provenance))
    columns = ["timm_id", "origin", "geometry", "precision", "images", "images_skipped"]
    header = ["backbone", "data set", *map(heading, columns), "weights"]
    lines += ["| " + " | ".join(header) + " |", "|" + "-|" * len(header)]
    for row in provenance.to_dict("records"):
        name = "/".join(str(row[c]) for c in tidy.BACKBONE_COLUMNS)
        cells = [name, row["dataset"], *(str(row[c]) for c in columns), row["weights_sha256"][:12]]
        lines.append("| " + " | ".join(cells) + " |")
    seeds = " and seeds" if PAGES[claim].over_seeds else ""
    note = (
        f"Intervals: percentile bootstrap over images{seeds} (200 resamples for mixtures and "
        "entropies); n: images."
    )
    lines += ["", note, ""]
    return "\n".join(lines)


def verdicts(table, published):
    """The answer of claim 5 in one table: each difference that registers make, and its verdict."""
    head = table["group"].map(lambda group: names.head_and_view(group)[0])
    by_registers = (table["metric"] == names.gain_over("r0")) | (
        (table["metric"] == names.gain_over(BASE)) & (head == WITH_REGISTERS)
    )
    if not by_registers.any():
        return []
    header = ["backbone", "dataset", "head", "compared with", "gain in top-1 (points)", "interval"]
    header += ["published", "registers help"]
    lines = ["## Do registers help?", "", f"| {' | '.join(header)} |", "|" + "-|" * len(header)]
    for gain in table[by_registers].itertuples():
        who = (gain.family, gain.size, gain.registers)
        cited = published.citations((*who, gain.group, gain.metric))
        base = names.base_of_gain(gain.metric)
        value = f"{signed_text(gain.value, gain.unit)} | {_signed(gain)} | {cited}"
        verdict = as_text(sign_of_interval(gain.low, gain.high), "verdict")
        lines.append(
            f"| {'/'.join(who)} | {gain.dataset} | {words(gain.group)} | {words(base)} | {value} "
            f"| {verdict} |"
        )
    return [*lines, ""]


def _signed(row):
    """The interval of a difference, its ends with their signs; empty where nothing varied."""
    ends = [signed_text(end, row.unit) for end in (row.low, row.high)]
    return f"[{', '.join(ends)}]" if row.low < row.high else ""


def phantoms(table, published):
    """What must be said of each phantom, what is said, and what of it is wrong."""
    header = ["phantom", "dataset", "planted", "must be said", "said", "right"]
    lines = [f"| {' | '.join(header)} |", "|" + "-|" * len(header)]
    keys = ["dataset", *tidy.BACKBONE_COLUMNS, "kind"]
    for (dataset, *who, kind), rows in table.groupby(keys, sort=False):
        value = rows.set_index(["group", "metric"])["value"]
        high, answer = value["said", "has_artifacts"], ANSWERS[kind]
        said = [as_text(high, "verdict").replace("undefined", "cannot tell")]
        if high == 1:
            follows = {1.0: POSITION, 0.0: CONTENT}.get(value["said", "follows_position"], TIED)
            said += [
                f"about: {follows}", f"from block {value['measured', 'onset_block']:g}",
                f"{as_text(value['measured', 'share'], 'percent')} of tokens at "
                f"{number_text(value['measured', 'ratio'])} x",
            ]  # fmt: skip
        wrong = [item for item, right in value["right"].items() if right == 0]
        right = f"no: {', '.join(wrong)}" if wrong else "undecided"
        right = "yes" if value["verdict", "passed"] == 1 else right
        cells = ["/".join(who), dataset, answer.said, answer.text, "; ".join(said), right]
        lines.append(f"| {' | '.join(cells)} |")
    if of_kinds := kind_lines(table):
        lines += ["", "## Kinds of artifacts in them", ""]
        lines += [f"| {' | '.join(KIND_HEADER)} |", "|" + "-|" * len(KIND_HEADER)]
        for phantom, dataset, kind, *cells in of_kinds:
            lines.append(f"| {' | '.join([phantom, dataset, words(kind), *cells])} |")
    return [*lines, ""] if len(table) else []


def matrix(table, published):
    """Backbones against kinds: answer, size and interval, and what each kind is."""
    answers = said(table)
    kinds = [kind for kind in KINDS if kind in set(answers["artifact"])]
    header = ["backbone", "data set", *map(words, kinds)]
    lines = ["## Answers", "", f"| {' | '.join(header)} |", "|" + "-|" * len(header)]
    for (dataset, *who), rows in answers.groupby(["dataset", *tidy.BACKBONE_COLUMNS], sort=False):
        by_kind = {row.artifact: row for row in rows.itertuples()}
        cells = ["/".join(who), dataset]
        cells += [_cell(by_kind[kind]) if kind in by_kind else "" for kind in kinds]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- **{words(kind)}**: {KINDS[kind]}" for kind in kinds), ""]
    return lines


def _cell(row):
    if pd.isna(row.value):
        return row.answer
    number = f"{as_text(row.value, row.unit)} {interval_text(row.low, row.high, row.unit)}".strip()
    return f"**{row.answer}** {number}"


def claim4_tables(table, published):
    """Tables 1 to 3 of the main paper: a line per backbone and measure."""
    header, lines = [f"| {' | '.join(HEADER)} |", "|" + "-|" * len(HEADER)], []
    for title, cells_by_line in tables(table, published.citations):
        rows = (f"| {' | '.join(cells)} |" for cells in cells_by_line)
        lines += [f"## {title}", "", *header, *rows, ""]
    return lines


def reported(published):
    """What the sources say registers gain, also of backbones that this study has not."""
    header = "source | item | backbone | head | compared with | gain in top-1 (points) | accuracies"
    lines = ["## What was published (without intervals)", "", f"| {header} |", "|" + "-|" * 7]
    for row in published.gains.itertuples():
        who = f"{row.family}/{row.size}/{row.registers}"
        base = names.base_of_gain(row.metric)
        head, gain = words(row.group or "own_head"), signed_text(row.value, row.unit)
        cells = [row.source, heading(row.item), who, head, words(base), gain, row.note]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def differences(table, published):
    """What registers change in discovery and dense tasks, and whether that is for the better."""
    if not (table["metric"] == "registers_help").any():
        return []
    header = ["backbone", "data set", "group", "quantity", "minus r0", "interval", "published"]
    lines = ["## Do registers help?", "", f"| {' | '.join([*header, 'registers help'])} |"]
    lines.append("|" + "-|" * (len(header) + 1))
    for row in table[table["metric"].map(names.is_minus_r0)].itertuples():
        who = (row.family, row.size, row.registers)
        cited = published.citations((*who, row.group, row.metric), row.dataset)
        metric = words(names.without_minus_r0(row.metric))
        cells = ["/".join(who), row.dataset, words(row.group), metric]
        shown = f"{signed_text(row.value, row.unit)} {unit_text(row.unit)}".strip()
        cells += [shown, _signed(row), cited]
        cells.append(as_text(paired.helps(row.metric, row.low, row.high), "verdict"))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


@dataclass(frozen=True)
class Page:
    """What a table's page has besides its rows.

    ``shown`` are the rows of a backbone that it lists.

    ``summary`` (of table and published figures) gives the lines before them, ``addendum`` (of
    published figures) those after. ``over_seeds``: intervals are over seeds as well.
    ``measured_twice``: two rules may have scored the same on the same images.
    """

    shown: Callable = lambda rows: rows
    summary: Callable = lambda table, published: []
    addendum: Callable = lambda published: []
    over_seeds: bool = False
    measured_twice: bool = False


PAGES = {
    "claim1": Page(),
    "claim2": Page(),
    "claim3": Page(),
    "claim4": Page(summary=claim4_tables, over_seeds=True),
    "claim5": Page(summary=verdicts, addendum=reported, over_seeds=True, measured_twice=True),
    "sensitivity": Page(over_seeds=True),
    "registers": Page(),
    "control": Page(
        shown=lambda rows: rows[~rows["group"].str.startswith("kinds-")], summary=phantoms
    ),
    # Thousands of rows are of single blocks, and stand in the table.
    "kinds": Page(shown=lambda rows: rows[rows["group"] == rows["artifact"]], summary=matrix),
    "discovery": Page(summary=differences),
    "dense": Page(summary=differences),
}


if "snakemake" in globals():
    with job(snakemake.log[0], f"table {snakemake.output.csv.rsplit('/', 1)[1]}"):
        i, out = snakemake.input, snakemake.output
        main(
            rows=i.rows, claim=snakemake.params.claim, provenance=i.provenance,
            published=i.published, csv=out.csv, text=out.text,
        )  # fmt: skip
