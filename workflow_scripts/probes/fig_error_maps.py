"""Where on the patch grid the position and pixel probes of claim 4 err."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.tidy import by_backbone, rows_of

SHOWN = {"position_distance": "distance / patches", "pixel_l2_squared": "squared L2 / patch"}
GROUPS = ("normal", "outlier")
NOTE = (
    "Mean error of the test tokens at each place of the patch grid, mean over seeds; one colour "
    "scale per backbone and quantity. Grey: no such token there, or too few to train a probe. "
    "Crowded: the group sits in so few places that its position probe says nothing."
)


def main(places, claim4, dataset, outputs):
    """One row of maps per backbone: both errors, for normal and for outlier tokens.

    Args:
        places: CSV with the mean error of each group at each place of the grid (rule probe_curves).
        claim4: table of tidy rows.
        dataset: the data set shown.
        outputs: files of the figure, one a format.
    """
    places = tidy.read_table(places)
    claim4 = tidy.read(claim4).query("dataset == @dataset")
    groups = list(by_backbone(claim4))
    count = max(1, len(groups))
    figure, axes = style.plt.subplots(count, 4, figsize=(6.4, 1.6 * count + 0.7), squeeze=False)
    for row, (who, rows) in zip(axes, groups, strict=False):
        for pair, (metric, label) in zip((row[:2], row[2:]), SHOWN.items(), strict=True):
            _maps(figure, pair, rows_of(places, **who, metric=metric), label)
        for axis, group in zip(row, GROUPS, strict=False):
            if _confounded(rows, group):
                axis.set_xlabel("crowded: can be guessed", fontsize=6, labelpad=1)
        name = f"{who['family']}/{who['size']}/{who['registers']}"
        row[0].set_ylabel(style.short(name), fontsize=7)
    for axis, metric in zip(axes[0], ("position", "position", "pixels", "pixels"), strict=True):
        axis.set_title(f"{metric}\n{axis.get_title()}")
    style.note(figure, NOTE)
    style.save(figure, outputs)


def _confounded(rows, group):
    """Whether a group's places could be guessed without looking."""
    rows = rows_of(rows, group=group, metric="position_confounded")
    return len(rows) and rows["value"].iloc[0] == 1


def _maps(figure, axes, table, label):
    top = table["value"].max()
    shown = None
    for axis, group in zip(axes, GROUPS, strict=True):
        rows = table[table["group"] == group]
        tokens = int(rows["tokens"].sum()) if len(rows) else 0
        axis.set_title(f"{group}, {tokens:,} tokens")
        if not tokens:
            style.picture(axis, np.full((1, 1), np.nan), cmap=style.cmap())
            continue
        grid = rows.pivot_table(index="row", columns="column", values="value", dropna=False)
        shown = style.picture(axis, grid.to_numpy(), cmap=style.cmap(), vmin=0, vmax=top)
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(axes), shrink=0.8, aspect=12, pad=0.02)
        bar.set_label(label, fontsize=6)
        bar.ax.tick_params(labelsize=6)
        bar.outline.set_visible(False)


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure error maps {w.dataset}"):
        main(places=i.places, claim4=i.claim4, dataset=w.dataset, outputs=list(snakemake.output))
