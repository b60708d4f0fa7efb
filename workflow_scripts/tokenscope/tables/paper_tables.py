"""Tables 1 to 5 of the main paper, and as LaTeX (booktabs): a line a model, published beside ours.

Main paper: "On the Reproducibility of Vision Transformers Need Registers". The page of the report
and the LaTeX files show the same cells (:func:`printed`), made by
:func:`tokenscope.tables.formatting.number_text`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from tokenscope.study.register_names import is_control, kind
from tokenscope.tables import tidy
from tokenscope.tables.formatting import arrow, better, interval_text, number_text, words
from tokenscope.tables.probe_tables import COUNTS

PAPER = "reassessment-2025"
NONE = "--"
HEAD, BOTH, ALL = "published_head", "cls+patch_mean", "cls+patch_mean+registers"
WITHOUT, WITH = "without registers", "with registers"
_FAMILIES = {"dinov2": "DINOv2", "dino": "DINO", "deit3": "DeiT3", "openclip": "OpenCLIP"}
_SIZES = {"small": "S", "base": "B", "medium": "M", "large": "L", "huge": "H", "giant": "G"}
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {mark: "\\" + mark for mark in "&%$#_{}"}
_SPECIAL |= {"\u2191": r"$\uparrow$", "\u2193": r"$\downarrow$"}


@dataclass(frozen=True)
class Measure:
    """A block of columns: a score, and in words as the table's caption leaves to be said."""

    metric: str
    words: str


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    ``columns`` are groups of the tidy rows and their words in the head; ``claim`` is whose rows.
    ``question``: what a probe was asked, for the counts of tokens.
    """

    caption: str
    claim: str
    measures: tuple[Measure, ...]
    columns: dict[str, str]
    question: str = ""


@dataclass(frozen=True)
class Cell:
    """A number as it is printed; ``best`` of its line among the published, or among ours."""

    text: str = NONE
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Printed:
    """A table as it is printed.

    Attributes:
        number, caption: as in the paper, ``1`` and in words.
        measures: words of each block of columns, with an arrow to where it is better.
        columns: words of the columns of a block, each of them twice: published and ours.
        lines: model in words, its name (family/size/registers; for Table 4 without the last),
            and the cells.
        footnote: images, counts, and what must be known of a model's numbers.
    """

    number: str
    caption: str
    measures: list[str]
    columns: list[str]
    lines: list[tuple[str, str, list[Cell]]]
    footnote: str


# What must be known of a model's numbers: a row of it by group, metric and value, and the words.
REMARKS = (
    ("tokens", "judged", 0,
     "Artifacts not found, or undecided; outliers are the 2 % of largest norm"),
    ("outlier", "position_confounded", 1,
     "Places of outliers can be guessed without looking at the token"),
)  # fmt: skip
TOP1 = Measure("top1", "top-1 (%)")
TABLES = {
    "table1": PaperTable(
        "Position of a patch from its own token (linear probes).", "claim4",
        (Measure("position_top1", "top-1 (%)"),
         Measure("position_distance", "distance (patches)")),
        {"normal": "normal", "outlier": "outlier"}, "position",
    ),
    "table2": PaperTable(
        "Pixels of a patch from its own token (linear probes).", "claim4",
        (Measure("pixel_l2_squared", "squared L2 error"),),
        {"normal": "normal", "outlier": "outlier"}, "pixels",
    ),
    "table3": PaperTable(
        "Class of the image from a single token (linear probes).", "claim4",
        (Measure("class_top1", "top-1 (%)"),),
        {"cls": "CLS", "normal": "normal", "outlier": "outlier"}, "class",
    ),
    "table4": PaperTable(
        "Classification by the released linear heads, without and with registers.", "claim5",
        (TOP1,), {WITHOUT: WITHOUT, WITH: WITH},
    ),
    "table5": PaperTable(
        "Classification by retrained linear heads on several sets of tokens.", "claim5",
        (TOP1,),
        {HEAD: "released", BOTH: "CLS + patches", ALL: "CLS + patches + registers",
         "patch_mean+registers": "patches + registers"},
    ),
}  # fmt: skip


def printed(name: str, ours: pd.DataFrame, published: pd.DataFrame) -> Printed:
    """One of :data:`TABLES`.

    Models of the paper come first, in its order, whether they are in the study or not; then the
    study's own. Controls are left out. A dash stands where nothing was published or measured.

    Args:
        ours: tidy rows of the table's claim, or none.
        published: ``config/published.csv``.
    """
    table = TABLES[name]
    theirs = published[(published["source"] == PAPER) & (published["item"] == name)]
    control = [
        is_control(kind) or family == "control"
        for kind, family in zip(ours["kind"], ours["family"], strict=True)
    ]
    ours = ours[~pd.Series(control, index=ours.index, dtype=bool)]
    paper = _cells(name, theirs.assign(low=float("nan"), high=float("nan")))
    measured: dict[tuple, dict] = {}
    for dataset, rows in ours.groupby("dataset", sort=False):
        for who, cells in _cells(name, rows).items():
            measured[(*who, dataset)] = cells
    lines, several = [], len({key[-1] for key in measured}) > 1
    for who in dict.fromkeys([*paper, *(key[:-1] for key in measured)]):
        for key in [key for key in measured if key[:-1] == who] or [(*who, "")]:
            label = model_words(who) + f" ({key[-1]})" * (several and bool(key[-1]))
            line = _line(table, paper.get(who, {}), measured.get(key, {}))
            lines.append((label, "/".join(filter(None, who)), line))
    measures = [f"{measure.words} {arrow(measure.metric)}" for measure in table.measures]
    footnote = _footnote(table, ours, list(measured))
    columns = list(table.columns.values())
    return Printed(name.removeprefix("table"), table.caption, measures, columns, lines, footnote)


def _cells(name: str, rows: pd.DataFrame) -> dict[tuple, dict]:
    """By model the rows of its columns, by measure and column; models without any are left out."""
    table, found = TABLES[name], dict[tuple, dict]()
    metrics = {measure.metric for measure in table.measures}
    for row in rows[rows["metric"].isin(metrics)].to_dict("records"):
        who, column = tuple(row[c] for c in tidy.BACKBONE_COLUMNS), row["group"]
        if name == "table4":
            pair = {"none": WITHOUT, "trained": WITH}
            column = pair.get(kind(who[2]), "") if row["group"] == HEAD else ""
            who = (*who[:2], "")
        if column in table.columns:
            found.setdefault(who, {}).setdefault((row["metric"], column), row)
    if name == "table5":  # its models are those whose heads were retrained
        retrained = {(TOP1.metric, column) for column in table.columns} - {(TOP1.metric, HEAD)}
        found = {who: cells for who, cells in found.items() if retrained & set(cells)}
    return found


def _line(table: PaperTable, paper: dict, measured: dict) -> list[Cell]:
    """Numbers of a model, published and ours in turn."""
    line = []
    for measure in table.measures:
        keys = [(measure.metric, column) for column in table.columns]
        both = [_of_best([cells.get(key) for key in keys], better(measure.metric))
                for cells in (paper, measured)]  # fmt: skip
        line += [cell for pair in zip(*both, strict=True) for cell in pair]
    return line


def _of_best(rows: list[dict | None], sign: int) -> list[Cell]:
    """Cells; of two numbers or more the best is marked, and every one that is printed alike."""
    cells = [
        Cell()
        if row is None or row["value"] != row["value"]
        else Cell(
            number_text(row["value"], row["unit"]),
            interval_text(row["low"], row["high"], row["unit"]),
        )
        for row in rows
    ]
    numbers = [_printed(cell) for cell in cells if cell.text != NONE]
    best = max(numbers, key=lambda x: sign * x) if len(numbers) > 1 else None
    return [replace(cell, best=cell.text != NONE and _printed(cell) == best) for cell in cells]


def _printed(cell: Cell) -> float:
    return float(cell.text.replace(",", ""))


def model_words(who: Sequence[str]) -> str:
    """``DINOv2-S, 4 registers`` of (dinov2, small, r4)."""
    family, size, registers = who
    text = f"{_FAMILIES.get(family, family)}-{_SIZES.get(size, size)}"
    number, _, made = registers.removeprefix("r").partition("-")
    count = f"{number} register{'s' * (number != '1')}" if number not in ("", "0") else ""
    return ", ".join(filter(None, (text, count, made)))


def _footnote(table: PaperTable, ours: pd.DataFrame, measured: list[tuple]) -> str:
    said = ["Paper: as published, on ImageNet-1k.", f"{NONE}: not published, or not measured here."]
    datasets = list(dict.fromkeys(key[-1] for key in measured))
    if datasets:
        said.append(f"Here: {', '.join(datasets)}; brackets: intervals.")
    counts = []
    for part in COUNTS if table.question and measured else ():
        metric = f"{table.question}_tokens_{part}"
        values = ours[(ours["group"] == "each group") & (ours["metric"] == metric)][
            "value"
        ].dropna()
        if len(values):
            low, high = f"{values.min():,.0f}", f"{values.max():,.0f}"
            counts.append(f"{low if low == high else f'{low} to {high}'} for {part}")
    if counts:
        said.append(f"Tokens per group here: {', '.join(counts)}.")
    if table.question and (over := _normal_over_rule(ours)):
        said.append(over)
    for group, metric, value, remark in REMARKS if table.question else ():
        if metric == "position_confounded" and table.question != "position":
            continue
        rows = tidy.rows_of(ours, group=group, metric=metric, value=value)
        who = dict.fromkeys(rows[tidy.BACKBONE_COLUMNS].itertuples(index=False, name=None))
        if who:
            said.append(f"{remark}: {'; '.join(map(model_words, who))}.")
    said.append("Bold: best estimate of a line, which its interval may not set apart.")
    return " ".join(said)


def _normal_over_rule(ours: pd.DataFrame) -> str:
    """How many of the normal tokens are over the rule of claim 2; empty where nobody counted."""
    rows = tidy.rows_of(ours, group="normal").dropna(subset=["value"])
    rows = rows[rows["metric"].astype(str).str.startswith("share_norm_over_")]
    if not len(rows):
        return ""
    most = rows.sort_values("value").iloc[-1]
    who = model_words([most[name] for name in tidy.BACKBONE_COLUMNS])
    found = f"{number_text(most['value'], 'percent')} % or less ({who})"
    said = f"{words(most['metric'])} among the normal ones tested"
    return f"{said[:1].upper()}{said[1:]}: {found if most['value'] > 0 else 'none'}."


def latex(name: str, ours: pd.DataFrame, published: pd.DataFrame, rests: Sequence[str] = ()) -> str:
    """A table (:func:`printed`) as a LaTeX table environment.

    ``rests``: lines at its top that say what it rests on, comments to TeX.
    """
    table = printed(name, ours, published)
    wide = 2 * len(table.columns)
    head, rules, groups, last = [""], [], [""], ["Model"]
    for i, measure in enumerate(table.measures):
        head.append(rf"\multicolumn{{{wide}}}{{c}}{{{_escaped(measure)}}}")
        rules.append(rf"\cmidrule(lr){{{2 + i * wide}-{1 + (i + 1) * wide}}}")
        groups += [rf"\multicolumn{{2}}{{c}}{{{words}}}" for words in table.columns]
        last += ["paper", "here"] * len(table.columns)
    lines = [[_escaped(label), *map(_in_tex, cells)] for label, _, cells in table.lines]
    text = [
        f"% Table {table.number} of the main paper. Needs \\usepackage{{booktabs}}.",
        *rests,
        r"\begin{table}[t]", r"\centering\footnotesize",
        rf"\caption{{{table.caption} As Table {table.number} of the main paper.}}",
        rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{l*{{{wide * len(table.measures)}}}{{r}}}}", r"\toprule",
        " & ".join(head) + r" \\", "".join(rules), " & ".join(groups) + r" \\",
        " & ".join(last) + r" \\", r"\midrule", *(" & ".join(line) + r" \\" for line in lines),
        r"\bottomrule", r"\end{tabular}",
        rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {_escaped(table.footnote)}}}",
        r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(text)


def _in_tex(cell: Cell) -> str:
    if cell.text == NONE:
        return NONE
    text = cell.text.replace("-", "$-$")
    if cell.best:
        text = rf"\textbf{{{text}}}"
    if cell.interval:
        text += rf" {{\scriptsize{cell.interval.replace('-', '$-$')}}}"
    return text


def _escaped(text: str) -> str:
    """A text for TeX; percent signs keep to their numbers."""
    return "".join(_SPECIAL.get(mark, mark) for mark in text).replace(r" \%", r"\,\%")
