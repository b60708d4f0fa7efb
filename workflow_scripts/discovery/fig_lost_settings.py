"""CorLoc by bias, facet and normalisation in the last block: how much the setting decides."""

from tokenscope.discovery.settings import WORDS
from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy

WHO = ["family", "size", "registers"]
COLOURS = {"k": style.BLUE, "v": style.VERMILION, "q": style.GREEN, "output": style.PINK}


def main(settings, dataset, outputs):
    """A panel a backbone; the chosen setting is marked, whatever block it is of.

    Args:
        settings: CSV of CorLoc under every setting, all backbones and data sets.
        dataset: the one to draw. outputs: paths of the figure.
    """
    table = tidy.read_table(settings).query("dataset == @dataset")
    groups = list(table.groupby(WHO, sort=False))
    for some, files in style.pages(outputs, groups):
        _page(some, dataset, files)


def _page(groups, dataset, outputs):
    if not groups:
        return style.blank(outputs, "no backbone was asked for objects")
    figure, axes = style.panels(len(groups), columns=3, height=1.75, sharey=True, sharex=True)
    for axis, (name, group) in zip(axes, groups, strict=True):
        for facet, colour in COLOURS.items():
            for normalised, dashes in ((False, ":"), (True, "-")):
                line = group.query(
                    "block == block.max() and facet == @facet and normalised == @normalised"
                ).sort_values("bias")
                label = f"{WORDS[facet]}{', normalised' if normalised else ''}"
                axis.plot(
                    line["bias"], line["corloc"], dashes, color=colour, label=label, marker=".",
                    ms=3,
                )  # fmt: skip
        best = group[group["chosen"]].iloc[0]
        axis.errorbar(
            best["bias"], best["corloc"],
            [[best["corloc"] - best["low"]], [best["high"] - best["corloc"]]],
            fmt="*", color=COLOURS[best["facet"]], ms=8, mec="black", mew=0.4, lw=0.8, zorder=3,
        )  # fmt: skip
        axis.set_xlabel("bias on the Gram matrix")
        axis.set_title(f"{style.title(dict(zip(WHO, name, strict=True)))}\nblock {best['block']}")
    axes[0].set_ylim(bottom=0)
    figure.supylabel("CorLoc (%)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2 if len(groups) < 3 else 4, fontsize=6
    )
    style.note(
        figure,
        f"LOST on {dataset}, evaluation images, last block. Star: the setting chosen on held-out "
        "images, from any of the last blocks (its block above), with its interval.",
    )
    style.save(figure, outputs)


if "snakemake" in globals():
    with job(snakemake.log[0], f"figure sensitivity {snakemake.wildcards.dataset}"):
        dataset = snakemake.wildcards.dataset
        main(settings=snakemake.input[0], dataset=dataset, outputs=snakemake.output)
