"""Outlier minus normal class accuracy under other recipes, published differences marked."""

import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.tidy import BACKBONE_COLUMNS, KIND_COLUMNS, by_backbone, rows_of

NOTE = (
    "Class probe, top-1 of outlier tokens minus that of normal tokens of the same images; bars: "
    "95 % bootstrap over seeds and images; right: training and test images. Published values: same "
    "model in blue, others in grey."
)


def main(rows, published, dataset, outputs):
    """One panel per backbone, a line per recipe.

    Args:
        rows: table of tidy rows, ``sensitivity.csv``.
        published: ``config/published.csv``.
        dataset: the data set shown.
        outputs: files of the figure, one a format.
    """
    table = tidy.read(rows).query("dataset == @dataset")
    trained = rows_of(table, metric="class_tokens_train")
    trained = trained.set_index([*KIND_COLUMNS, "group"])["value"]
    table = table[table["metric"] == "class_top1_difference"]
    groups = list(by_backbone(table))
    names = list(dict.fromkeys(table["group"]))
    theirs = differences(pd.read_csv(published))
    count = max(1, len(groups))
    figure, axes = style.plt.subplots(
        1, count, figsize=(max(4.4, 2.3 * count + 1.6), 0.24 * len(names) + 1.5), squeeze=False,
        sharey=True,
    )  # fmt: skip
    for axis, (who, recipes) in zip(axes[0], groups, strict=False):
        key = tuple(who.values())
        axis.axvline(0, color="0.7", lw=0.6)
        same = theirs[[k == key[:3] for k in theirs.index]]
        for value in theirs.drop(same.index).to_numpy():
            axis.axvline(value, color="0.6", lw=0.7, ls=":")
        for value in same.to_numpy():
            axis.axvline(value, color=style.BLUE, lw=1)
        for row in recipes.itertuples():
            y = names.index(row.group)
            if row.value != row.value:
                text = f"{tidy.why_not_measured(row.unit) or row.unit} ({row.n})"
                axis.text(0.02, y, text, fontsize=6, va="center", transform=_left(axis))
                continue
            ends = [[row.value - row.low], [row.high - row.value]]
            colour = style.OUTLIER if y == 0 else style.BLACK
            axis.errorbar(row.value, y, xerr=ends, fmt="o", ms=3, lw=0.9, color=colour)
            counts = f"{trained[*key, row.group]:,.0f}, {row.n:,}"
            axis.text(1.01, y, counts, fontsize=6, va="center", transform=_left(axis))
        axis.set_title(style.title(who))
    if names:
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel("outlier - normal, top-1 / points", fontsize=8)
    style.note(figure, NOTE)
    style.save(figure, outputs)


def differences(published):
    """Published outlier-minus-normal class accuracy by (family, size, registers)."""
    rows = published[published["metric"] == "class_top1"]
    wide = rows.pivot_table(index=["source", *BACKBONE_COLUMNS], columns="group", values="value")
    gap = (wide["outlier"] - wide["normal"]).dropna()
    return gap.droplevel("source")


def _left(axis):
    """x from the left edge of the panel, y as the data."""
    return axis.get_yaxis_transform()


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure sensitivity {w.dataset}"):
        main(rows=i.rows, published=i.published, dataset=w.dataset, outputs=list(snakemake.output))
