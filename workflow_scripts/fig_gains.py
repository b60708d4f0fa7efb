"""Tables 4 and 5 as one figure: what registers gain, by backbone and head, with intervals."""

import pandas as pd

from tokenscope import plots, tidy
from tokenscope.gains import published_gains
from tokenscope.jobs import job

OVER_R0, OVER_BASE = "top1_gain_over_r0", "top1_gain_over_cls+patch_mean"
TITLES = {
    OVER_R0: "backbone with registers\nminus backbone without, same head",
    OVER_BASE: "same backbone: other features\nminus [CLS; patch mean]",
}
NOTE = (
    "bars: intervals of paired differences (bootstrap over test images and seeds); crosses: "
    "published, without intervals"
)


def main(claim5, published, dataset, outputs):
    """One panel per question; rows are backbones, colours are heads."""
    rows = tidy.read(claim5).query("dataset == @dataset")
    theirs = published_gains(pd.read_csv(published))
    shown = [metric for metric in TITLES if (rows["metric"] == metric).any()]
    groups = {m: list(dict.fromkeys(rows[rows["metric"] == m]["group"])) for m in shown}
    names = {m: _names(rows[rows["metric"] == m]) for m in shown}
    lines = max((len(n) * (len(groups[m]) + 1.5) for m, n in names.items()), default=2)
    figure, axes = plots.panels(
        max(1, len(shown)), columns=2, width=3.4, height=min(9, 0.9 + 0.13 * lines)
    )
    for axis, metric in zip(axes, shown, strict=False):
        panel(axis, rows[rows["metric"] == metric], theirs, groups[metric], names[metric], metric)
    if not shown:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "no two heads to compare in this study", ha="center")
    images = rows["n"].max() if len(rows) else 0
    plots.note(figure, f"{NOTE}; {images:,} images of {dataset}")
    plots.save(figure, outputs)


def _names(rows):
    return list(dict.fromkeys(zip(rows["family"], rows["size"], rows["registers"], strict=True)))


def panel(axis, rows, theirs, groups, names, metric):
    """Differences in percentage points, a line for each head within each backbone."""
    step = len(groups) + 1.5
    theirs = theirs[theirs["metric"] == metric]
    for g, group in enumerate(groups):
        colour = plots.PALETTE[g % len(plots.PALETTE)]
        marker = "osD^v<>ph*"[g // len(plots.PALETTE) + g % 3]
        mine = rows[rows["group"] == group]
        labelled = False
        for row in mine.itertuples():
            y = names.index((row.family, row.size, row.registers)) * step + g
            axis.plot([row.low, row.high], [y, y], color=colour, lw=1.4, solid_capstyle="butt")
            label = None if labelled else group
            axis.plot(row.value, y, marker, color=colour, ms=3.5, label=label)
            labelled = True
            same = theirs[
                (theirs["family"] == row.family)
                & (theirs["size"] == row.size)
                & (theirs["registers"] == row.registers)
                & (theirs["group"] == group)
            ]
            axis.plot(same["value"], [y] * len(same), "x", color=plots.BLACK, ms=4, mew=0.8)
    axis.axvline(0, color="0.5", lw=0.6)
    for n in range(1, len(names)):
        axis.axhline(n * step - 1.25, color="0.9", lw=0.5)
    centre = (len(groups) - 1) / 2
    axis.set_yticks(
        [n * step + centre for n in range(len(names))],
        [f"{family}\n{size} {registers}" for family, size, registers in names],
    )
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(names) * step - 1.25, -1.25)
    axis.set(xlabel="difference of top-1 (percentage points)", title=TITLES[metric])
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=2, fontsize=6)


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure gains {w.dataset}"):
        main(i.claim5, i.published, w.dataset, snakemake.output)
