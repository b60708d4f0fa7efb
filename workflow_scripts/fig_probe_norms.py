"""What tokens know against their norm: probes of claim 4 by tenths of the norm."""

import numpy as np
import pandas as pd

from tokenscope import plots, tidy
from tokenscope.jobs import job

WHO = ["family", "size", "registers", "kind"]
SHOWN = {
    "position_top1": "position top-1 / %",
    "pixel_l2_squared": "pixels, squared L2",
    "class_top1": "class top-1 / %",
}
COLOURS = {"normal": plots.BLUE, "outlier": plots.OUTLIER}
NOTE = (
    "Test tokens of each group in tenths by norm (points at the median norm); bars: 95 % bootstrap "
    "over seeds and images. Each group has a probe of its own. Dotted: chance, or the mean patch."
)


def main(norms, claim4, dataset, outputs):
    """A column of panels per backbone: position, pixels and class."""
    norms = pd.read_csv(norms)
    claim4 = tidy.read(claim4).query("dataset == @dataset")
    groups = list(claim4.groupby(WHO, sort=False))
    count = max(1, len(groups))
    figure, axes = plots.plt.subplots(
        3, count, figsize=(max(3.4, 1.7 * count + 0.4), 4.8), squeeze=False, sharex="col"
    )
    for column, (key, rows) in zip(axes.T, groups, strict=False):
        who = dict(zip(WHO, key, strict=True))
        mine = norms[np.logical_and.reduce([norms[c] == v for c, v in who.items()])]
        for axis, metric in zip(column, SHOWN, strict=True):
            _panel(axis, mine[mine["metric"] == metric], rows, metric)
        column[0].set_title(plots.title(who))
    for axis, label in zip(axes[:, 0], SHOWN.values(), strict=True):
        axis.set_ylabel(label)
    axes[0, 0].legend(
        handles=[plots.plt.Line2D([], [], marker="o", ms=3, color=c, label=g)
                 for g, c in COLOURS.items()]
    )  # fmt: skip
    figure.supxlabel("feature norm", fontsize=8)
    plots.note(figure, NOTE)
    plots.save(figure, outputs)


def _panel(axis, table, claim4, metric):
    for group, colour in COLOURS.items():
        line = table[table["group"] == group].sort_values("norm")
        if len(line):
            ends = np.abs(line[["low", "high"]].to_numpy().T - line["value"].to_numpy())
            axis.errorbar(
                line["norm"], line["value"], ends, color=colour, marker="o", ms=2.5, lw=0.8,
                elinewidth=0.6,
            )  # fmt: skip
        base = "chance" if metric != "pixel_l2_squared" else f"{group}: mean patch"
        guess = claim4[(claim4["group"] == base) & (claim4["metric"] == metric)]["value"]
        if len(guess):
            axis.axhline(guess.iloc[0], color="0.5" if base == "chance" else colour, lw=0.6, ls=":")
    missing = claim4[
        (claim4["metric"] == metric) & claim4["unit"].str.startswith(tidy.NOT_MEASURED)
    ]
    text = "\n".join(
        f"{r.group}: {r.unit.split(': ')[-1]} ({r.n})"
        for r in missing.itertuples() if r.group in COLOURS
    )  # fmt: skip
    axis.text(0.5, 0.97, text, transform=axis.transAxes, ha="center", va="top", fontsize=6)
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    plots.plain_log(axis.xaxis)


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure probes by norm {w.dataset}"):
        main(i.norms, i.claim4, w.dataset, list(snakemake.output))
