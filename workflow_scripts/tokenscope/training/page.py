"""The page of trainings: what each changed, as one table for a reader."""

import textwrap

import pandas as pd

from tokenscope.norms.outlier_rule import is_share_metric
from tokenscope.tables import names
from tokenscope.tables.formatting import in_words, interval_text, number_text, without_unit
from tokenscope.tables.names import AFTER, BEFORE, of_training
from tokenscope.tables.tidy import BACKBONE_COLUMNS

NOTE = (
    "before: the backbone it was fine-tuned from, on the same images; a training from scratch has "
    "no before. Norms are those of last-block patch tokens before the final norm, and of CLS and "
    "registers. Outliers: patches over 3 x median. Loss: of the class alone, mean of the first and "
    "of the last epoch, on training images. Brackets: bootstrap over images; 'over seeds': "
    "Student's interval over trainings that differ in their seed only. The table (CSV) also has "
    "..._minus_r0: less the same training, recipe, settings and seed, without registers."
)


def page(table: pd.DataFrame, published: pd.DataFrame) -> str:
    """One line a training and data set, in the order of the zoo.

    Args:
        table: of :func:`tokenscope.training.summary.training_table`.
        published: figures of the papers, ``config/published.csv``.
    """
    lines = ["# Training with registers", "", *textwrap.wrap(in_words(NOTE), 100), ""]
    measured = table[table["dataset"] != ""]
    lines += [
        "| backbone | on | loss | top-1 before (%) | top-1 after (%) | published | "
        "outliers before (%) | outliers after (%) | median norm before, after | "
        "largest register norm |",
        "|" + "-|" * 10,
    ]
    for (dataset, *who), group in measured.groupby(["dataset", *BACKBONE_COLUMNS], sort=False):
        own = table[(table[BACKBONE_COLUMNS] == who).all(axis=1)].set_index(["group", "metric"])
        name_of = names.over_seeds if any(map(names.is_over_seeds, group["group"])) else str
        rows = group.set_index(["group", "metric"])
        share = next(filter(is_share_metric, group["metric"]))

        def cell(name, metric, rows=rows, name_of=name_of, own=own):
            for source in (rows, own):
                if (key := (name_of(name), metric)) in source.index:
                    return _with_interval(source.loc[[key]].iloc[0])
            return ""

        registers = group[
            group["group"].str.fullmatch(name_of(of_training(AFTER, r"reg\d+")))
            & (group["metric"] == "norm_mean")
        ]
        losses = [cell("curve", f"loss_{part}_epoch") for part in ("first", "last")]
        medians = [cell(of_training(when, "last_block"), "norm_median") for when in (BEFORE, AFTER)]
        top = number_text(registers["value"].max()) if len(registers) else ""
        cells = [
            name_of("/".join(who)), dataset, " to ".join(losses),
            *(cell(of_training(when, "own_head"), "top1") for when in (BEFORE, AFTER)),
            _published(published, who, dataset),
            *(cell(of_training(when, "last_block"), share) for when in (BEFORE, AFTER)),
            ", ".join(m for m in medians if m), top,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    if not len(measured):
        lines += ["", "No backbone of this study is trained here."]
    return "\n".join([*lines, ""])


def _with_interval(row):
    ends = interval_text(row["low"], row["high"], row["unit"])
    return f"{without_unit(row['value'], row['unit'])} {ends}".strip()


def _published(published, who, dataset):
    """Top-1 of bach-2025's trainings from scratch, beside ours of the same size and registers."""
    family, size, registers = who
    rows = published[
        (published["source"] == "bach-2025") & (published["metric"] == "top1")
        & (published["size"] == size) & (published["dataset"] == dataset)
        & (published["registers"] + "-scratch" == registers)
    ]  # fmt: skip
    same = rows[[family.startswith(name) for name in rows["family"]]] if len(rows) else rows
    return "; ".join(
        f"{number_text(row.value, 'percent')} ({row.source})" for row in same.itertuples()
    )
