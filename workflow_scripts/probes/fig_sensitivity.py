"""Outlier minus normal class accuracy under other recipes, published differences marked."""

import string

import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.tidy import BACKBONE_COLUMNS, KIND_COLUMNS, by_backbone, rows_of

LINE, LEVELS = 6, 2  # points; how many letters stand above another
NOTE = (
    "Class probe, top-1 of outlier tokens minus that of normal tokens of the same images; bars: "
    "95 % bootstrap over seeds and images; right: training images, test images."
)


def main(rows, published, dataset, outputs):
    """One panel per backbone, a line per recipe.

    Args:
        rows: table of tidy rows, ``sensitivity.csv``.
        published: ``config/published.csv``.
        dataset: the data set shown.
        outputs: files of the figure, one a format of each page.
    """
    table = tidy.read(rows).query("dataset == @dataset")
    trained = rows_of(table, metric="class_tokens_train")
    trained = trained.set_index([*KIND_COLUMNS, "group"])["value"]
    table = table[table["metric"] == "class_top1_difference"]
    theirs = differences(pd.read_csv(published))
    for groups, files in style.pages(outputs, list(by_backbone(table))):
        _page(groups, trained, theirs, files)


def _page(groups, trained, theirs, outputs):
    if not groups:
        return style.blank(outputs, "no recipe of the probe was varied")
    names = list(dict.fromkeys(name for _, recipes in groups for name in recipes["group"]))
    count = len(groups)
    figure, axes = style.plt.subplots(
        1, count, figsize=(min(style.WIDE, 2.2 * count + 1.9), 0.19 * len(names) + 0.75),
        squeeze=False, sharey=True, sharex=True,
    )  # fmt: skip
    letters = dict(zip(theirs.index, string.ascii_lowercase, strict=False))
    for axis, (who, recipes) in zip(axes[0], groups, strict=True):
        key = tuple(who.values())
        axis.axvline(0, color="0.7", lw=0.6)
        for name, value in theirs.items():
            same = name[:3] == key[:3]
            axis.axvline(
                value, color=style.BLUE if same else "0.6", lw=0.8, ls="-" if same else ":"
            )
        for row in recipes.itertuples():
            y = names.index(row.group)
            if row.value != row.value:
                text = f"{tidy.why_not_measured(row.unit) or row.unit} ({row.n})"
                axis.text(
                    0.02, y, text, fontsize=6, va="center", transform=_left(axis),
                    bbox={"fc": "white", "ec": "none", "pad": 0.5},
                )  # fmt: skip
                continue
            ends = [[row.value - row.low], [row.high - row.value]]
            colour = style.OUTLIER if y == 0 else style.BLACK
            axis.errorbar(row.value, y, xerr=ends, fmt="o", ms=3, lw=0.9, color=colour)
            counts = f"{trained[*key, row.group]:,.0f}, {row.n:,}"
            axis.text(1.01, y, counts, fontsize=5.5, va="center", transform=_left(axis))
        axis.set_title(style.title(who), pad=3 + LINE * (1 + LEVELS))
        axis.text(1.01, 1.01, "train, test", fontsize=5.5, va="bottom", transform=axis.transAxes)
    for axis in axes[0]:
        _named(axis, theirs, letters)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel("outlier minus normal, top-1 (points)")
    lines = [
        f"{letters[name]} {'/'.join(name[:2])} {value:+.2f} ({name[3]})"
        for name, value in theirs.items()
    ]
    published = f" Lines, published (the same model in blue): {', '.join(lines)}." if lines else ""
    style.note(figure, NOTE + published)
    style.save(figure, outputs)


def differences(published):
    """Published outlier-minus-normal class accuracy by (family, size, registers, source)."""
    rows = published[published["metric"] == "class_top1"]
    wide = rows.pivot_table(index=[*BACKBONE_COLUMNS, "source"], columns="group", values="value")
    return (wide["outlier"] - wide["normal"]).dropna()


def _named(axis, theirs, letters):
    """A letter above each published line; those that are close stand above each other."""
    low, high = axis.get_xlim()
    before, level = low - high, 0
    for name, value in theirs.sort_values().items():
        level = min(level + 1, LEVELS) if value - before < 0.05 * (high - low) else 0
        axis.annotate(
            letters[name], (value, 1), (0, 1 + LINE * level), ha="center", fontsize=6,
            xycoords=("data", "axes fraction"), textcoords="offset points",
        )  # fmt: skip
        before = value


def _left(axis):
    """x from the left edge of the panel, y as the data."""
    return axis.get_yaxis_transform()


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure sensitivity {w.dataset}"):
        main(rows=i.rows, published=i.published, dataset=w.dataset, outputs=list(snakemake.output))
