"""Registers: what they change against their number, for all backbones of a data set."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import share_metric
from tokenscope.study import register_names
from tokenscope.tables import tidy

COLOURS = {
    "trained": style.BLUE, "scratch": style.BLUE, "finetuned": style.GREEN,
    "testtime": style.VERMILION, "random": "0.35", "zeroed": "0.6",
}  # fmt: skip
MARKS = {
    "trained": "o", "scratch": "o", "finetuned": "^", "testtime": "D", "random": "s", "zeroed": "v",
}  # fmt: skip
COLUMNS = 4
NAMES = {
    "trained": "released with registers", "scratch": "trained here", "finetuned": "fine-tuned here",
    "testtime": "added at test time", "random": "random neurons (control)",
    "zeroed": "neurons silenced, not moved (control)",
}  # fmt: skip


def main(registers, dataset, times, output):
    """A panel for each size of a family: the share of outliers, and what registers change.

    Args:
        registers: CSV of what registers change. dataset: whose rows are drawn.
        times: the outlier rule's multiple of the median norm. output: files of the figure.
    """
    table = tidy.read(registers).query("dataset == @dataset")
    share = share_metric(times)
    wanted = [
        ("last_block", share, f"tokens over\n{times:g} x median (%)"),
        ("last_block", f"{share}_minus_r0", "the same, minus\nwithout (points)"),
        ("own_head", "top1_minus_r0", "own top-1, minus\nwithout (points)"),
    ]
    table["base"] = [register_names.base(name) for name in table["registers"]]
    table["r"] = [
        int(register_names.REGISTERS.fullmatch(name)["count"]) for name in table["registers"]
    ]
    counts = table.groupby(["family", "size", "base"], sort=False)["r"].nunique()
    groups = list(counts[counts > 1].index)
    if not groups:
        return style.blank(output, "no backbone of this study has several numbers of registers")
    columns = min(COLUMNS, len(groups))
    bands = -(-len(groups) // columns)
    figure, axes = style.plt.subplots(
        3 * bands, columns, squeeze=False,
        figsize=(max(style.NARROW, min(style.WIDE, 1.9 * columns + 0.6)), 3.3 * bands + 0.45),
    )  # fmt: skip
    shown = {}
    for number, key in enumerate(groups):
        band, column = divmod(number, columns)
        backbones = table[(table[["family", "size", "base"]] == list(key)).all(axis=1)]
        for line, (group, metric, label) in enumerate(wanted):
            axis = axes[3 * band + line, column]
            rows = backbones[(backbones["group"] == group) & (backbones["metric"] == metric)]
            changes = backbones[(backbones["group"] == group)
                                & (backbones["metric"] == f"{metric}_minus_r0")]  # fmt: skip
            for kind, handle in _points(axis, rows, key[2], changes if metric == share else None):
                shown.setdefault(kind, handle)
            _dress(axis, rows, line, key)
            if column == 0:
                axis.set_ylabel(label, fontsize=6.5)
            if line == 2:
                axis.set_xlabel("registers")
    figure.align_ylabels(axes[:, 0])
    for axis in axes.ravel():
        if not axis.has_data() and not axis.texts:
            axis.axis("off")
    names = [NAMES[kind] for kind in shown]
    figure.legend(
        shown.values(), names, loc="outside lower center", fontsize=6, handletextpad=0.2,
        ncols=2 if figure.get_figwidth() < 5 else 3,
    )  # fmt: skip
    style.note(
        figure,
        "Bars: bootstrap over images, of differences on the same images. Dotted: the same backbone "
        "without registers, beside each point on the point's images (what registers added at test "
        "time do is measured on images that did not choose them).",
    )
    style.save(figure, output)


def _points(axis, rows, base, changes=None):
    """Points of each kind of registers beside each other, over the base on the same images.

    Args:
        rows: of one metric. base: registers name of the backbone without.
        changes: the same minus the base, paired; None where ``rows`` are that already.
    """
    if changes is None:
        axis.axhline(0, color="0.3", lw=0.8, ls=":")
    own = rows[(rows["registers"] != base) & (rows["r"] > 0)]
    kinds = list(dict.fromkeys(own["kind"]))
    for number, kind in enumerate(kinds):
        line = own[own["kind"] == kind].sort_values("r")
        ends = np.abs(line[["low", "high"]].to_numpy().T - line["value"].to_numpy())
        at = line["r"] * 1.08 ** (number - (len(kinds) - 1) / 2)
        if changes is not None:
            change = changes.set_index("registers")["value"].reindex(line["registers"]).to_numpy()
            axis.hlines(line["value"] - change, at / 1.038, at * 1.038, color="0.3", lw=0.8, ls=":")
        yield kind, axis.errorbar(
            at, line["value"], np.nan_to_num(ends), fmt=MARKS[kind], ms=3.5, lw=0.9,
            color=COLOURS[kind],
        )  # fmt: skip


def _dress(axis, rows, line, key):
    if not len(rows):
        what = "no own head\nfor these classes" if line == 2 else "not measured"
        axis.text(0.5, 0.5, what, ha="center", va="center", transform=axis.transAxes, color="0.4")
        axis.set(xticks=[], yticks=[])
        return
    counts = sorted({count for count in rows["r"] if count})
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, labels=[str(c) for c in counts])
    axis.set_xlim(min(counts, default=1) / 1.5, max(counts, default=1) * 1.5)
    axis.minorticks_off()
    if line == 0:
        top = max(0.1, 1.15 * rows["high"].max())
        axis.set_ylim(-0.06 * top, top)
        axis.set_title(f"{key[0]}/{key[1]}" + ("" if key[2] == "r0" else f"\n{key[2]}"))


if "snakemake" in globals():
    w = snakemake.wildcards
    with job(snakemake.log[0], f"figure of registers {w.dataset}"):
        main(
            registers=snakemake.input.registers, dataset=w.dataset, times=snakemake.params.times,
            output=snakemake.output,
        )  # fmt: skip
