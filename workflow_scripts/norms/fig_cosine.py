"""Figure 3: similarity of patches to their neighbours, for outlier and for normal tokens."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.tidy import BACKBONE_COLUMNS, by_backbone, rows_of

NOTE = (
    "Outlier: the 2 % of tokens with the highest norm, in every model, whether it has artifacts or "
    "not. Bands and brackets: bootstrap over images."
)
COLOURS = {"outlier": style.VERMILION, "normal": style.BLUE}
WIDTH = 0.08  # of a bin, in cosine: a few hundred outliers make a curve


def main(curves, claim3, dataset, paper, settings, figures):
    """Densities of the paper's backbones (Fig 3) and of all, and the ratio of shares as a curve.

    Args:
        curves: CSV of densities by cosine similarity (rule cosine_curves).
        claim3: table of tidy rows.
        dataset: the data set shown.
        paper: backbones (family/size/registers) of Figure 3.
        settings: the section ``redundancy`` of the config.
        figures: files of each figure by name: paper, density, ratio.
    """
    curves = tidy.read_table(curves).query("dataset == @dataset and pooling == 'pair'")
    curves = curves[curves["rule"] == "percentile"]
    claim3 = tidy.read(claim3).query("dataset == @dataset")
    groups = list(by_backbone(curves))
    by_key = {"/".join(who[c] for c in BACKBONE_COLUMNS): (who, rows) for who, rows in groups}
    densities([by_key[key] for key in paper if key in by_key], figures["paper"], 2)
    for some, files in style.pages(figures["density"], groups):
        densities(some, files)
    for some, files in style.pages(figures["ratio"], groups):
        ratios(some, claim3, settings, files)


def densities(groups, outputs, columns=4):
    """Share of the pairs below each similarity, and their density, with intervals."""
    figure, axes = style.panels(
        max(1, len(groups)), columns, height=1.5, width=3.0 if columns == 2 else 0, sharex=True,
        sharey=True,
    )  # fmt: skip
    for axis, (who, rows) in zip(axes, groups, strict=False):
        for group, colour in COLOURS.items():
            line = wider(rows[rows["group"] == group])
            edges = [*(line.index - WIDTH / 2), line.index[-1] + WIDTH / 2]
            low, high, density = (
                [*line[name], line[name].iloc[-1]] for name in ("low", "high", "density")
            )
            axis.fill_between(edges, low, high, color=colour, alpha=0.25, lw=0, step="post")
            axis.step(edges, density, color=colour, label=group, where="post")
        axis.set(xlim=(-1, 1), title=style.title(who))
        axis.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes[0].set_ylim(bottom=0)
    axes[0].legend(loc="upper left")
    figure.supxlabel("cosine similarity with a neighbouring patch")
    figure.supylabel("density")
    style.note(figure, f"{NOTE} Bins of {WIDTH:g}; their intervals are means of finer bins'.")
    style.save(figure, outputs)


def wider(line):
    """A curve of fine bins as one of wide bins: means, by the middle of the bin."""
    line = line.assign(bin=np.floor((line["cosine"] + 1) / WIDTH).astype(int))
    means = line.groupby("bin")[["density", "low", "high"]].mean()
    means.index = -1 + (means.index + 0.5) * WIDTH
    return means


def ratios(groups, claim3, settings, outputs):
    """How many times likelier an outlier's neighbour is more similar than t, for every t."""
    first = settings["similarities"][0]
    figure, axes = style.panels(max(1, len(groups)), height=1.5, sharex=True, sharey=True)
    for axis, (who, rows) in zip(axes, groups, strict=False):
        line = rows[(rows["group"] == "ratio") & (rows["cosine"] >= 0)]
        axis.fill_between(
            line["cosine"], line["low"], line["high"], color=style.GREEN, alpha=0.3, lw=0
        )
        axis.plot(line["cosine"], line["density"], color=style.GREEN)
        axis.axhline(1, color="0.5", lw=0.6, ls=":")
        axis.axvline(first, color="0.5", lw=0.6, ls=":")
        ratio = rows_of(claim3, **who, group="outlier/normal", metric="redundant_region_ratio")
        text = ""
        if len(ratio):
            r = ratio.iloc[0]
            text = f"\nat {first:g}: {r.value:.2f} [{r.low:.2f}, {r.high:.2f}]"
        axis.set(xlim=(0, 1), yscale="log", ylim=(0.3, 5))
        axis.set_title(style.title(who) + text)
        style.plain_log(axis.yaxis)
    figure.supxlabel("similarity t")
    figure.supylabel("share above t, outlier / normal (log scale)")
    style.note(
        figure,
        f"How many times likelier a neighbour of an outlier is more similar than t. {NOTE} Dotted: "
        f"equally likely; the similarity of claim 3, {first:g}.",
    )
    style.save(figure, outputs)


if "snakemake" in globals():
    i, out, w = snakemake.input, snakemake.output, snakemake.wildcards
    with job(snakemake.log[0], f"figure 3 {w.dataset}"):
        main(
            curves=i.curves, claim3=i.claim3, dataset=w.dataset, paper=snakemake.params.paper,
            settings=snakemake.params.redundancy,
            figures={name: out[name] for name in ("paper", "density", "ratio")},
        )  # fmt: skip
