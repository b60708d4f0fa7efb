"""Figure 3: similarity of patches to their neighbours, for outlier and for normal tokens."""

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.tidy import BACKBONE_COLUMNS, by_backbone, rows_of

NOTE = (
    "outlier: the 2 % of tokens with the highest norm, in every model, whether it has artifacts or "
    "not; bands and brackets: bootstrap over images"
)
COLOURS = {"outlier": style.VERMILION, "normal": style.BLUE}


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
    densities([by_key[key] for key in paper if key in by_key], figures["paper"])
    densities(groups, figures["density"])
    ratios(groups, claim3, settings, figures["ratio"])


def densities(groups, outputs):
    """Density of the cosine similarity, with intervals."""
    figure, axes = style.panels(max(1, len(groups)))
    for axis, (who, rows) in zip(axes, groups, strict=False):
        for group, colour in COLOURS.items():
            line = rows[rows["group"] == group]
            axis.fill_between(
                line["cosine"], line["low"], line["high"], color=colour, alpha=0.3, lw=0
            )
            axis.plot(line["cosine"], line["density"], color=colour, label=group)
        axis.set(xlim=(-1, 1), yscale="log", title=style.title(who))
        axis.set_ylim(0.01, 60)
    axes[0].legend(loc="upper left")
    figure.supxlabel("cosine similarity with a neighbouring patch", fontsize=8)
    figure.supylabel("density (log scale)", fontsize=8)
    style.note(figure, NOTE)
    style.save(figure, outputs)


def ratios(groups, claim3, settings, outputs):
    """How many times likelier an outlier's neighbour is more similar than t, for every t."""
    first = settings["similarities"][0]
    figure, axes = style.panels(max(1, len(groups)))
    for axis, (who, rows) in zip(axes, groups, strict=False):
        line = rows[rows["group"] == "ratio"]
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
        axis.set(xlim=(-1, 1), yscale="log")
        axis.set_title(style.title(who) + text)
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, 0.4), max(high, 3))
        style.plain_log(axis.yaxis)
    figure.supxlabel("similarity t", fontsize=8)
    figure.supylabel("share above t, outlier / normal", fontsize=8)
    style.note(figure, NOTE)
    style.save(figure, outputs)


if "snakemake" in globals():
    i, out, w = snakemake.input, snakemake.output, snakemake.wildcards
    with job(snakemake.log[0], f"figure 3 {w.dataset}"):
        main(
            curves=i.curves, claim3=i.claim3, dataset=w.dataset, paper=snakemake.params.paper,
            settings=snakemake.params.redundancy,
            figures={name: out[name] for name in ("paper", "density", "ratio")},
        )  # fmt: skip
