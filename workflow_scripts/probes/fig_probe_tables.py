"""Tables 1 to 3 as dots: position, pixels and class from normal, outlier and other tokens."""

import numpy as np
import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.tidy import BACKBONE_COLUMNS, by_backbone, rows_of

PANELS = {
    "position_top1": "Table 1: position,\ntop-1 (%)",
    "position_distance": "Table 1: distance\n(patches)",
    "pixel_l2_squared": "Table 2: pixels,\nsquared L2 per patch",
    "class_top1": "Table 3: class,\ntop-1 (%)",
}
GROUPS = {
    "normal": (style.BLUE, "o"), "outlier": (style.OUTLIER, "D"), "cls": (style.BLACK, "s"),
}  # fmt: skip
NOTE = (
    "Dots: this study; bars: 95 % bootstrap over seeds and images. Crosses: published, without "
    "intervals, in the colour of their group. Tokens that were too few to train a probe have no "
    "dot."
)


def main(claim4, published, dataset, outputs):
    """A row a backbone, a panel a quantity, a mark a group of tokens.

    Args:
        claim4: table of tidy rows. published: ``config/published.csv``.
        dataset: the data set shown.
        outputs: files of the figure, one a format of each page.
    """
    claim4 = tidy.read(claim4).query("dataset == @dataset")
    theirs = pd.read_csv(published)
    theirs = theirs[(theirs["source"] == "reassessment-2025") & theirs["metric"].isin(PANELS)]
    for groups, files in style.pages(outputs, list(by_backbone(claim4))):
        _page(groups, theirs, files)


def _page(groups, theirs, outputs):
    if not groups:
        return style.blank(outputs, "no backbone was probed")
    figure, axes = style.plt.subplots(
        1, len(PANELS), sharey=True, figsize=(style.WIDE, 0.32 * len(groups) + 0.85)
    )
    crosses = 0
    for axis, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for y, (who, rows) in enumerate(groups):
            backbone = {column: who[column] for column in BACKBONE_COLUMNS}
            same = rows_of(theirs, **backbone, metric=metric)
            for number, (group, (colour, mark)) in enumerate(GROUPS.items()):
                place = y + 0.22 * (number - 1)
                own = rows_of(rows, group=group, metric=metric).dropna(subset=["value"])
                ends = np.abs(own[["low", "high"]].to_numpy().T - own["value"].to_numpy())
                if len(own):
                    axis.errorbar(own["value"], [place] * len(own), xerr=np.nan_to_num(ends),
                                  fmt=mark, ms=3, lw=0.8, color=colour)  # fmt: skip
                cross = same[same["group"] == group]["value"]
                crosses += len(cross)
                axis.plot(cross, [place] * len(cross), "x", color=colour, ms=4.5, mew=0.9)
            if y % 2:
                axis.axhspan(y - 0.5, y + 0.5, color="0.95", lw=0, zorder=0)
        axis.set_title(title)
        axis.set_xlim(left=0)
        axis.locator_params(axis="x", nbins=4)
    names = [style.short("/".join(who[c] for c in BACKBONE_COLUMNS)) for who, _ in groups]
    axes[0].set_yticks(range(len(groups)), names, fontsize=6)
    axes[0].set_ylim(len(groups) - 0.5, -0.5)
    for axis in axes:
        axis.tick_params(axis="y", length=0)
    handles = [
        style.plt.Line2D([], [], color=colour, marker=mark, ls="", ms=3)
        for colour, mark in GROUPS.values()
    ]
    names = ["normal", "outlier", "CLS"]
    if crosses:
        handles.append(style.plt.Line2D([], [], color="0.4", marker="x", ls="", ms=4.5))
        names.append("published")
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=6)
    style.note(figure, NOTE)
    style.save(figure, outputs)


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure of Tables 1 to 3 {w.dataset}"):
        main(
            claim4=i.claim4, published=i.published, dataset=w.dataset,
            outputs=list(snakemake.output),
        )  # fmt: skip
