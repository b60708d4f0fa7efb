"""What tokens know against their norm: probes of claim 4 by tenths of the norm."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.names import guess_name
from tokenscope.tables.tidy import by_backbone, rows_of

SHOWN = {
    "position_top1": "position, top-1 (%)",
    "pixel_l2_squared": "pixels, squared L2 (log scale)",
    "class_top1": "class, top-1 (%)",
}
LOG = ("pixel_l2_squared",)  # the mean patch errs many times as much
COLOURS = {"normal": style.BLUE, "outlier": style.OUTLIER}
BINS, APART = 10, 2  # tenths of a group; places between two groups
NOTE = (
    "Test tokens of each group in tenths by feature norm, lowest first; below: median norm of the "
    "first and of the last tenth. Bars: 95 % bootstrap over seeds and images. Each group has a "
    "probe of its own. Dotted: chance, or the mean patch."
)


def main(norms, claim4, dataset, outputs):
    """A row of panels per backbone: position, pixels and class.

    Args:
        norms: CSV with the scores by tenths of the norm (rule probe_curves).
        claim4: table of tidy rows.
        dataset: the data set shown.
        outputs: files of the figure, one a format of each page.
    """
    norms = tidy.read_table(norms)
    claim4 = tidy.read(claim4).query("dataset == @dataset")
    for groups, files in style.pages(outputs, list(by_backbone(claim4))):
        _page(groups, norms, files)


def _page(groups, norms, outputs):
    if not groups:
        return style.blank(outputs, "no backbone was probed")
    figure, axes = style.plt.subplots(
        len(groups), 3, figsize=(style.WIDE, 0.95 * len(groups) + 0.45), squeeze=False, sharey="col"
    )
    for line, (who, rows) in zip(axes, groups, strict=True):
        for axis, metric in zip(line, SHOWN, strict=True):
            _panel(axis, rows_of(norms, **who, metric=metric), rows, metric)
        line[0].set_ylabel(style.title(who).replace("/", " ", 1).replace("/", "\n", 1), fontsize=6)
    for axis, (metric, label) in zip(axes[0], SHOWN.items(), strict=True):
        axis.set_title(label)
        if metric in LOG:
            axis.set_yscale("log")
            style.plain_log(axis.yaxis)
            axis.yaxis.set_major_locator(style.LogLocator(numticks=4))
        else:
            axis.set_ylim(bottom=0)
    marks = [style.plt.Line2D([], [], ls="", marker="o", ms=3, color=c) for c in COLOURS.values()]
    figure.legend(marks, COLOURS, loc="outside upper center", ncols=2, fontsize=6)
    figure.supxlabel("tenths of the tokens by feature norm")
    style.note(figure, NOTE)
    style.save(figure, outputs)


def _panel(axis, table, claim4, metric):
    ticks = {}
    for number, (group, colour) in enumerate(COLOURS.items()):
        start = number * (BINS + APART - 1)
        line = table[table["group"] == group].sort_values("tenth")
        if len(line):
            bars = np.abs(line[["low", "high"]].to_numpy().T - line["value"].to_numpy())
            axis.errorbar(
                start + line["tenth"], line["value"], bars, color=colour, fmt="o", ms=2,
                elinewidth=0.6,
            )  # fmt: skip
            first, last = line["norm"].iloc[[0, -1]]
            ticks[start + (BINS + 1) / 2] = f"{first:.3g} to {last:.3g}"
        base = "chance" if metric != "pixel_l2_squared" else guess_name(group, "mean patch")
        guess = claim4[(claim4["group"] == base) & (claim4["metric"] == metric)]["value"]
        if len(guess) and len(line):
            own = start + 0.5, start + BINS + 0.5
            axis.plot(own, [guess.iloc[0]] * 2, color=colour, lw=0.8, ls=":")
        own = claim4[(claim4["metric"] == metric) & (claim4["group"] == group)]
        for row in own.itertuples():
            if tidy.is_refused(row.unit):
                axis.text(
                    0.98, 0.9 - 0.14 * number,
                    f"{group}: {tidy.why_not_measured(row.unit)} ({row.n})", fontsize=6,
                    ha="right", va="top", transform=axis.transAxes, color=colour,
                )  # fmt: skip
    axis.set_xticks(list(ticks), list(ticks.values()), fontsize=6)
    axis.set_xlim(0, 2 * BINS + APART)
    axis.tick_params(axis="x", length=0)


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure probes by norm {w.dataset}"):
        main(norms=i.norms, claim4=i.claim4, dataset=w.dataset, outputs=list(snakemake.output))
