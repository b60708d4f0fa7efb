"""What tokens know against their norm: probes of claim 4 by tenths of the norm."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.names import guess_name
from tokenscope.tables.tidy import by_backbone, rows_of

SHOWN = {
    "position_top1": "position top-1 / %",
    "pixel_l2_squared": "pixels, squared L2",
    "class_top1": "class top-1 / %",
}
COLOURS = {"normal": style.BLUE, "outlier": style.OUTLIER}
SHIFT = 13  # from the tenths of normal tokens to those of outliers
NOTE = (
    "Test tokens of each group in tenths by feature norm, whose median is written below the 1st, "
    "5th and 10th; bars: 95 % bootstrap over seeds and images. Each group has a probe of its own. "
    "Dotted: chance, or the mean patch."
)


def main(norms, claim4, dataset, outputs):
    """A column of panels per backbone: position, pixels and class.

    Args:
        norms: CSV with the scores by tenths of the norm (rule probe_curves).
        claim4: table of tidy rows.
        dataset: the data set shown.
        outputs: files of the figure, one a format.
    """
    norms = tidy.read_table(norms)
    claim4 = tidy.read(claim4).query("dataset == @dataset")
    groups = list(by_backbone(claim4))
    count = max(1, len(groups))
    figure, axes = style.plt.subplots(
        3, count, figsize=(max(3.4, 1.8 * count + 0.4), 5), squeeze=False
    )
    for column, (who, rows) in zip(axes.T, groups, strict=False):
        for axis, metric in zip(column, SHOWN, strict=True):
            _panel(axis, rows_of(norms, **who, metric=metric), rows, metric)
        column[0].set_title(style.title(who), pad=12)
    for axis, label in zip(axes[:, 0], SHOWN.values(), strict=True):
        axis.set_ylabel(label)
    figure.supxlabel("feature norm of the tenth", fontsize=8)
    style.note(figure, NOTE)
    style.save(figure, outputs)


def _panel(axis, table, claim4, metric):
    ticks = {}
    for first, (group, colour) in zip((0, SHIFT), COLOURS.items(), strict=True):
        line = table[table["group"] == group].sort_values("tenth")
        x = first + line["tenth"]
        if len(line):
            ends = np.abs(line[["low", "high"]].to_numpy().T - line["value"].to_numpy())
            axis.errorbar(
                x, line["value"], ends, color=colour, marker="o", ms=2.5, lw=0.8, elinewidth=0.6
            )
        labelled = line["tenth"].isin((1, 5, 10))
        ticks |= dict(zip(x[labelled], (f"{n:.3g}" for n in line["norm"][labelled]), strict=True))
        axis.text(
            first + 5.5, 1, group, color=colour, fontsize=6, ha="center", va="bottom",
            transform=axis.get_xaxis_transform(),
        )  # fmt: skip
        base = "chance" if metric != "pixel_l2_squared" else guess_name(group, "mean patch")
        guess = claim4[(claim4["group"] == base) & (claim4["metric"] == metric)]["value"]
        if len(guess):
            ends = [first + 0.5, first + 10.5]
            axis.plot(ends, [guess.iloc[0]] * 2, color="0.5", lw=0.8, ls=":")
        own = claim4[(claim4["metric"] == metric) & (claim4["group"] == group)]
        for row in own.itertuples():
            if not tidy.is_refused(row.unit):
                continue
            why = tidy.why_not_measured(row.unit).replace(" ", "\n")
            axis.text(
                first + 5.5, 0.5, f"{why}\n({row.n})", fontsize=6, ha="center", va="center",
                transform=axis.get_xaxis_transform(),
            )  # fmt: skip
    axis.set_xticks(list(ticks), list(ticks.values()), fontsize=6)
    axis.set_xlim(0, SHIFT + 11)
    axis.set_ylim(bottom=0)


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure probes by norm {w.dataset}"):
        main(norms=i.norms, claim4=i.claim4, dataset=w.dataset, outputs=list(snakemake.output))
