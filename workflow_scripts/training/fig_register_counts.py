"""Registers by their number: outliers, accuracy and cost side by side (Darcet et al., Figure 8)."""

import numpy as np
import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job

PANELS = {
    "outliers": "tokens over {times:g} x median (%)",
    "top1": "top-1, own head (%)",
    "flops_overhead": "FLOPs added (%)",
}
LEAST = 1.0  # percent: the shortest scale of outliers, on which a few would be seen


def main(counts, dataset, times, outputs):
    """A panel a quantity, a line a recipe and size, against the number of registers.

    Args:
        counts: table of rule register_counts (CSV).
        dataset: whose rows are drawn. times: outliers have a norm over so many medians.
        outputs: files of the figure, one a format.
    """
    table = pd.read_csv(counts, keep_default_na=False, na_values=[""])
    table = table[table["dataset"] == dataset]
    if not len(table):
        return style.blank(outputs, "no training of this study was measured on these images")
    figure, axes = style.plt.subplots(1, len(PANELS), figsize=(style.WIDE, 2.3))
    numbers = sorted(table["registers"].unique())
    lines = list(table.groupby(["trained", "size", "kind"], sort=False))
    for axis, (name, label) in zip(axes, PANELS.items(), strict=True):
        for look, ((trained, size, kind), line) in zip(style.lines(), lines, strict=False):
            line = line.sort_values("registers")
            low, high = (line.get(f"{name}_{end}", line[name]) for end in ("low", "high"))
            ends = np.abs(np.array([low, high], float) - line[name].to_numpy(float))
            joined = look if len(line) > 2 else {**look, "ls": ""}  # two points are no trend
            axis.errorbar(
                line["registers"], line[name], np.nan_to_num(ends), capsize=2, elinewidth=0.8,
                label=f"{trained} {size}, {'from scratch' if kind == 'scratch' else kind}",
                **joined,
            )  # fmt: skip
        axis.set_xscale("symlog", base=2, linthresh=1)
        axis.set_xticks(numbers, labels=[f"{n:g}" for n in numbers])
        axis.set_xlim(-0.4, 1.3 * max(1, *numbers))
        axis.minorticks_off()
        axis.set(xlabel="registers", ylabel=label.format(times=times))
        _scale(axis, name, table, times)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=6)
    least, most = table["seeds"].min(), table["seeds"].max()
    seeds = f"{least}" if least == most else f"{least} to {most}"
    style.note(
        figure,
        f"Means over {seeds} trainings a point that differ in their seed alone; bars: Student's "
        "interval over seeds, cut where it is wider than the scale, none of a single training.",
    )
    style.save(figure, outputs)


def _scale(axis, name, table, times):
    """The range of the numbers themselves, not of their widest interval; what is empty is named."""
    values = table[name].dropna()
    if values.empty:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center")
    elif name == "outliers":
        top = max(LEAST, 1.2 * values.max(), min(table[f"{name}_high"].max(), 3 * values.max()))
        axis.set_ylim(-0.04 * top, top)
        if values.max() == 0:
            text = f"no token over\n{times:g} x median"
            axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center")
    elif name == "top1":
        room = max(3.0, 1.5 * (values.max() - values.min()))
        axis.set_ylim(max(0, values.min() - room), min(100, values.max() + room))
    else:
        axis.set_ylim(min(0, values.min()) - 0.04 * values.max(), max(0.1, 1.1 * values.max()))


if "snakemake" in globals():
    w = snakemake.wildcards
    with job(snakemake.log[0], f"figure of register counts {w.dataset}"):
        main(
            counts=snakemake.input.counts, dataset=w.dataset, times=snakemake.params.times,
            outputs=list(snakemake.output),
        )  # fmt: skip
