"""Registers: what they change against their number, for all backbones of a data set."""

import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import share_metric
from tokenscope.study import register_names
from tokenscope.tables import tidy

COLOURS = {
    "trained": style.BLUE, "scratch": style.BLUE, "finetuned": style.GREEN,
    "testtime": style.VERMILION, "random": "0.6",
    "zeroed": "0.8",
}  # fmt: skip
NAMES = {
    "trained": "released with registers", "scratch": "trained here", "finetuned": "fine-tuned here",
    "testtime": "added at test time", "random": "random neurons (control)",
    "zeroed": "neurons silenced, not moved (control)",
}  # fmt: skip


def main(registers, dataset, times, output):
    """A column for each size of a family, outlier share above, top-1 of the own head below.

    Args:
        registers: CSV of what registers change. dataset: whose rows are drawn.
        times: the outlier rule's multiple of the median norm. output: files of the figure.
    """
    table = tidy.read(registers).query("dataset == @dataset")
    share = share_metric(times)
    wanted = [
        ("last_block", share, f"tokens over\n{times:g} x median (%)"),
        ("own_head", "top1", "top-1, own head (%)"),
    ]
    table["base"] = [register_names.base(name) for name in table["registers"]]
    table["r"] = [
        int(register_names.REGISTERS.fullmatch(name)["count"]) for name in table["registers"]
    ]
    counts = table.groupby(["family", "size", "base"], sort=False)["r"].nunique()
    groups = list(counts[counts > 1].index)
    if not groups:
        return style.blank(output, "no backbone of this study has several numbers of registers")
    columns = min(6, len(groups))
    bands = -(-len(groups) // columns)
    figure, axes = style.plt.subplots(
        2 * bands, columns, figsize=(max(4.4, 1.75 * columns + 0.6), 2.9 * bands + 0.8),
        squeeze=False,
    )  # fmt: skip
    shown = {}
    for number, key in enumerate(groups):
        band, column = divmod(number, columns)
        backbones = table[(table[["family", "size", "base"]] == list(key)).all(axis=1)]
        for line, (group, metric, label) in enumerate(wanted):
            axis = axes[2 * band + line, column]
            rows = backbones[(backbones["group"] == group) & (backbones["metric"] == metric)]
            for kind, handle in _lines(axis, rows, key[2]):
                shown.setdefault(kind, handle)
            _dress(axis, rows, line, key)
            if column == 0:
                axis.set_ylabel(label)
    for axis in axes.ravel():
        if not axis.has_data() and not axis.texts:
            axis.axis("off")
    for axis in axes[-1]:
        axis.set_xlabel("number of registers")
    names = [NAMES[kind] for kind in shown]
    figure.legend(shown.values(), names, loc="outside lower center", ncols=min(3, len(names)))
    style.note(figure, "bars: bootstrap over images; dotted: the same backbone without registers")
    style.save(figure, output)


def _lines(axis, rows, base):
    """A line for each kind of registers, all beginning at the backbone without them."""
    start = rows[rows["registers"] == base]
    if len(start):
        axis.axhline(start["value"].iloc[0], color="0.3", lw=0.8, ls=":")
    own = rows[(rows["registers"] != base) & (rows["r"] > 0)]
    for kind, line in own.groupby("kind", sort=False):
        line = pd.concat([start, line]).sort_values("r")
        ends = [line["value"] - line["low"], line["high"] - line["value"]]
        yield kind, axis.errorbar(
            line["r"], line["value"], ends, marker="o", ms=3.5, capsize=2, lw=1,
            color=COLOURS[kind], alpha=0.9,
        )  # fmt: skip


def _dress(axis, rows, line, key):
    if not len(rows):
        axis.text(0.5, 0.5, "no own head\nfor these classes", ha="center", va="center",
                  transform=axis.transAxes, fontsize=7, color="0.4")  # fmt: skip
        axis.set(xticks=[], yticks=[])
        return
    axis.set_xscale("symlog", base=2, linthresh=1)
    counts = sorted(rows["r"].unique())
    axis.set_xticks(counts, labels=[str(c) for c in counts])
    axis.set_xlim(-0.15, max(counts) * 1.25 + 0.1)
    axis.minorticks_off()
    if line == 0:
        top = max(0.1, 1.15 * rows["high"].max())
        axis.set_ylim(-0.04 * top, top)
        axis.set_title(f"{key[0]}/{key[1]}" + ("" if key[2] == "r0" else f"\n{key[2]}"))


if "snakemake" in globals():
    w = snakemake.wildcards
    with job(snakemake.log[0], f"figure of registers {w.dataset}"):
        main(
            registers=snakemake.input.registers, dataset=w.dataset, times=snakemake.params.times,
            output=snakemake.output,
        )  # fmt: skip
