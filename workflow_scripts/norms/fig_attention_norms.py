"""Attention against norm of every patch: are the patches of high norm those of high attention?"""

import numpy as np
from matplotlib.colors import LogNorm

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.tidy import by_backbone, rows_of

CELL = 2 ** (1 / 16)  # half a cell of tokenscope.norms.attention_maps.joint


def main(joint, claim1, dataset, rules, outputs):
    """A panel a backbone: a histogram over both, with the cutoff of each.

    Args:
        joint: CSV of how often patches have which norm and attention (rule norm_curves).
        claim1: table of tidy rows.
        dataset: the data set shown.
        rules: the section ``outliers`` of the config.
        outputs: files of the figure, one a format of each page.
    """
    joint = tidy.read_table(joint).query("dataset == @dataset")
    claim1 = tidy.read(claim1).query("dataset == @dataset")
    top = joint["share"].max()
    for groups, files in style.pages(outputs, list(by_backbone(joint))):
        _page(groups, claim1, rules, top, files)


def _page(groups, claim1, rules, top, outputs):
    if not groups:
        return style.blank(outputs, "no backbone of this study has maps of attention")
    figure, axes = style.panels(len(groups), height=1.5, sharex=True, sharey=True)
    shades = LogNorm(top / 1e4, top)
    for axis, (who, cells) in zip(axes, groups, strict=True):
        found = rows_of(claim1, **who, group="artifacts-last_block", metric="has_artifacts")
        own = len(found) and found["value"].iloc[0] == 1
        cutoff = rules["times_median"]
        if own:
            valley = rows_of(claim1, **who, group="artifacts-last_block", metric="cutoff")
            cutoff = valley["value"].iloc[0]
        shown = _cells(axis, cells, shades)
        high, peaked = cells["norm"] > cutoff, cells["attention"] > cells["attention_p98"]
        axis.axvline(cutoff, color=style.OUTLIER, lw=0.8, ls="-" if own else "--")
        axis.axhline(cells["attention_p98"].iloc[0], color="0.35", lw=0.8, ls=":")
        outliers, both = (cells.loc[these, "share"].sum() for these in (high, high & peaked))
        text = (
            f"{100 * both / outliers:.0f} % of outliers peak"
            if outliers
            else "none over the cutoff"
        )
        axis.set_title(f"{style.title(who)}\n{text}")
        axis.set(xscale="log", yscale="log")
        style.plain_log(axis.xaxis)
        style.plain_log(axis.yaxis)
    for axis in axes[-4:]:  # those with numbers
        axis.set_xlabel("norm / median", labelpad=1)
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(low, max(1.15 * high, 1.3 * rules["times_median"]))
    figure.supylabel("attention / uniform (log scale)")
    bar = figure.colorbar(
        shown, ax=axes, label="patches (%), log scale", location="bottom", aspect=50, shrink=0.5,
    )  # fmt: skip
    bar.outline.set_visible(False)
    style.note(
        figure,
        "Last block, log scales. Attention of CLS, without CLS the attention received. Orange-red: "
        "the valley before a mode of high norms, dashed where there is none, "
        f"{rules['times_median']:g} x median; "
        "grey: the 98th percentile of attention. Above: of the patches over the orange-red line, "
        "those over the grey one, to the cell; of patches at random 2 % would be.",
    )
    style.save(figure, outputs)


def _cells(axis, cells, shades):
    """The histogram, each cell in its place; colour: share of the patches."""
    grid = cells.pivot_table(index="attention", columns="norm", values="share", sort=True)
    x, y = (np.asarray(values, float) for values in (grid.columns, grid.index))
    edges = [np.append(values / CELL, values[-1] * CELL) for values in (_whole(x), _whole(y))]
    whole = grid.reindex(index=_whole(y), columns=_whole(x), method="nearest", tolerance=1e-3)
    return axis.pcolormesh(*edges, whole, norm=shades, cmap="viridis", rasterized=True)


def _whole(middles):
    """The middles of all cells between the first and the last."""
    count = round(np.log(middles[-1] / middles[0]) / np.log(CELL**2)) + 1
    return middles[0] * CELL ** (2 * np.arange(count))


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure attention and norms {w.dataset}"):
        main(
            joint=i.joint, claim1=i.claim1, dataset=w.dataset, rules=snakemake.params.outliers,
            outputs=list(snakemake.output),
        )  # fmt: skip
