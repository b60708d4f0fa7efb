"""Figures of training: norms before and after, accuracy and outliers against R, curves."""

import numpy as np
import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import cutoff_of_median, share_metric
from tokenscope.study.recipes import stem
from tokenscope.study.register_names import register_count
from tokenscope.tables import tidy
from tokenscope.tables.names import AFTER, of_training, over_seeds, without_training
from tokenscope.tables.tidy import BACKBONE_COLUMNS, backbone_names


def main(training, curves, histories, emergence, bases, dataset, times, outputs):
    """Five figures of one data set.

    Args:
        training: the table of trainings (CSV).
        curves: densities of the norm by backbone (trained and base).
        histories: learning curves, with the columns that name the backbone.
        emergence: rows of rule emergence.
        bases: base by trained backbone.
        dataset: the one to draw.
        times: outliers have a norm over so many medians.
        outputs: files by figure: ``norms``, ``against``, ``curves``, ``registers``, ``emergence``.
    """
    training = tidy.read(training)
    training = training[training["dataset"].isin([dataset, ""])]
    curves = tidy.read_table(curves)
    images = training.loc[training["group"].eq(of_training(AFTER, "last_block")), "n"].max()
    sample = f"{images:,.0f} images"
    curves = curves[curves["dataset"] == dataset]
    before_after(curves, bases, times, sample, outputs["norms"])
    against_registers(training, times, sample, outputs["against"])
    learning(tidy.read_table(histories), outputs["curves"])
    register_norms(training, outputs["registers"])
    emergence = tidy.read_table(emergence).query("dataset == @dataset")
    over_steps(emergence, times, sample, outputs["emergence"])


def before_after(curves, bases, times, sample, outputs):
    """Density of last-block norms, grey before, blue after; both cutoffs."""
    curves = curves.assign(key=backbone_names(curves))
    curves = curves[curves["block"] == curves.groupby("key")["block"].transform("max")]
    figure, axes = style.panels(len(bases), sharey=True)
    for axis, (key, base) in zip(axes, bases.items(), strict=True):
        for name, colour, label in ((base, "0.55", "before"), (key, style.BLUE, "after")):
            rows = curves[curves["key"] == name]
            if not len(rows):
                continue
            axis.fill_between(rows["norm"], rows["low"].clip(1e-4), rows["high"].clip(1e-4),
                              color=colour, alpha=0.3, lw=0, step="mid")  # fmt: skip
            axis.step(rows["norm"], rows["density"].clip(1e-4), color=colour, where="mid",
                      label=label, lw=1)  # fmt: skip
            cutoff = cutoff_of_median(rows["median"].iloc[0], times)
            axis.axvline(cutoff, color=colour, lw=0.8, ls="--")
        axis.set(xscale="log", yscale="log", ylim=(1e-3, 60))
        family, size, registers = key.split("/")
        axis.set_title(f"{family}\n{size} {registers}", fontsize=6.5)
        style.plain_log(axis.xaxis)
    axes[0].legend(loc="upper left")
    figure.supxlabel("feature norm of patch tokens, last block (log scale)", fontsize=8)
    figure.supylabel("density over log10 norm", fontsize=8)
    scratch = "" if all(bases.values()) else "; from scratch there is no before"
    style.note(
        figure, f"{sample}; dashed: {times:g} x median, before and after{scratch}; bands: "
        "bootstrap over images",
    )  # fmt: skip
    style.save(figure, outputs)


def against_registers(training, times, sample, outputs):
    """Top-1 and outlier share against the number of registers, a line a setting."""
    wanted = [(of_training(AFTER, "own_head"), "top1", "top-1 (%)"),
              (of_training(AFTER, "last_block"), share_metric(times),
               f"tokens over {times:g} x median (%)")]  # fmt: skip
    figure, axes = style.plt.subplots(1, 2, figsize=(6.4, 2.6))
    notes = set()
    for axis, (group, metric, label) in zip(axes, wanted, strict=True):
        rows = training[training["metric"].eq(metric)]
        rows = rows.assign(
            stem=rows["family"].map(stem), count=rows["registers"].map(register_count).astype(int)
        )
        seeds = rows[rows["group"].eq(over_seeds(group))]
        single = rows[rows["group"].eq(group) & ~rows["stem"].isin(seeds["family"])]
        notes |= {"over seeds" for _ in seeds.index} | {
            f"over {sample} (one seed)" for _ in single.index
        }
        both = pd.concat([seeds, single])
        for number, ((name, size), line) in enumerate(both.groupby(["stem", "size"], sort=False)):
            line = line.sort_values("count")
            ends = [line["value"] - line["low"], line["high"] - line["value"]]
            axis.errorbar(line["count"], line["value"], np.nan_to_num(ends), marker="o", ms=3.5,
                          capsize=2, lw=1, color=style.PALETTE[number % len(style.PALETTE)],
                          label=f"{name} {size}")  # fmt: skip
        counts = sorted(both["count"].unique())
        axis.set_xscale("symlog", base=2, linthresh=1)
        axis.set_xticks(counts, labels=[f"{c:g}" for c in counts])
        axis.set(xlabel="registers", ylabel=label)
        if not len(both):
            axis.text(
                0.5, 0.5, "not defined on these images", transform=axis.transAxes, ha="center"
            )
        elif both["high"].max() == 0:
            _none(axis, times)
    axes[1].set_ylim(bottom=0)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=6)
    style.note(figure, "intervals: " + " and ".join(sorted(notes)))
    style.save(figure, outputs)


def _none(axis, times):
    """Say that an empty panel is a finding; the scale is one on which outliers would be seen."""
    axis.set_ylim(0, 1)
    axis.text(0.5, 0.5, f"no token over\n{times:g} x median", transform=axis.transAxes, ha="center")


def learning(histories, outputs):
    """Loss and held-out top-1 against updates."""
    figure, axes = style.plt.subplots(1, 3, figsize=(7.2, 2.4))
    styles = ["-", "--", "-.", ":"]
    for number, (name, rows) in enumerate(histories.groupby(backbone_names(histories), sort=False)):
        colour = style.PALETTE[number % len(style.PALETTE)]
        line = styles[number // len(style.PALETTE) % len(styles)]
        for axis, column in zip(axes, ("loss", "top1", "patch_norm"), strict=True):
            axis.plot(rows["step"], rows[column], color=colour, ls=line, marker=".", ms=4,
                      label=name)  # fmt: skip
    labels = ("class loss, mean of the epoch", "held-out top-1 (%)", "mean patch norm, last block")
    for axis, label in zip(axes, labels, strict=True):
        axis.set(xlabel="updates", ylabel=label)
    axes[2].set_ylim(bottom=0)
    axes[2].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=6)
    style.note(figure, "a line is one training, without interval; measured while it ran, so on "
               "augmented images, top-1 on a few held out of training")  # fmt: skip
    style.save(figure, outputs)


def register_norms(training, outputs):
    """Norms of CLS and registers beside the median and 98th percentile of patches."""
    after = training[training["group"].str.startswith(of_training(AFTER))]
    after = after[~after["group"].str.endswith(over_seeds(""))]
    names = [
        n
        for n, rows in after.groupby(BACKBONE_COLUMNS, sort=False)
        if rows["group"].str.match(of_training(AFTER, "reg")).any()
    ]
    if not names:
        return style.blank(outputs, "no backbone trained here has registers")
    figure, axes = style.panels(len(names), columns=4, height=1.5)
    for axis, name in zip(axes, names, strict=True):
        rows = after[(after[BACKBONE_COLUMNS] == list(name)).all(axis=1)].set_index(
            ["group", "metric"]
        )
        tokens = rows[rows.index.get_level_values(1) == "norm_mean"]
        labels = [without_training(g) for g in tokens.index.get_level_values(0)]
        ends = [tokens["value"] - tokens["low"], tokens["high"] - tokens["value"]]
        axis.errorbar(range(len(tokens)), tokens["value"], ends, fmt="o", ms=4, capsize=2,
                      color=style.BLUE)  # fmt: skip
        last_block = of_training(AFTER, "last_block")
        for metric, dashes in (("norm_median", "-"), ("norm_p98", ":")):
            axis.axhline(rows.loc[(last_block, metric), "value"], color="0.5", ls=dashes,
                         lw=0.8)  # fmt: skip
        axis.set_xticks(range(len(tokens)), labels=labels)
        axis.set_ylim(bottom=0)
        axis.set_title(f"{name[0]}\n{name[1]} {name[2]}", fontsize=6.5)
    figure.supylabel("norm, last block", fontsize=8)
    style.note(figure, "mean norm of CLS and registers; grey: median (line) and 98th percentile "
               "(dotted) of patches; bars: bootstrap over images")  # fmt: skip
    style.save(figure, outputs)


def over_steps(emergence, times, sample, outputs):
    """Outlier share by block, and quantiles of the last block's norm, against updates."""
    names = list(dict.fromkeys(backbone_names(emergence)))
    if not names:
        return style.blank(outputs, "no training of this study keeps snapshots")
    figure, axes = style.plt.subplots(
        2, len(names), figsize=(max(4.4, 2.1 * len(names) + 0.6), 4.0), squeeze=False, sharex=True,
        sharey="row",
    )  # fmt: skip
    share, blocks = share_metric(times), emergence["block"].max()
    colours = style.plt.get_cmap("viridis", blocks)
    for column, name in enumerate(names):
        rows = emergence[backbone_names(emergence) == name]
        upper, lower = axes[0, column], axes[1, column]
        for block, line in rows[rows["metric"] == share].groupby("block"):
            upper.plot(line["step"], line["value"], color=colours(block - 1), marker=".", ms=3)
            upper.fill_between(line["step"], line["low"], line["high"], color=colours(block - 1),
                               alpha=0.2, lw=0)  # fmt: skip
        last = rows[rows["block"] == rows["block"].max()]
        marks = {"norm_median": style.BLUE, "norm_p98": style.ORANGE, "norm_p999": style.VERMILION}
        for metric, colour in marks.items():
            line = last[last["metric"] == metric]
            label = {"norm_median": "median", "norm_p98": "98 %", "norm_p999": "99.9 %"}[metric]
            lower.plot(line["step"], line["value"], color=colour, marker=".", ms=3, label=label)
            lower.fill_between(
                line["step"], line["low"], line["high"], color=colour, alpha=0.2, lw=0
            )
        upper.set_title(name.replace("/", "\n", 1).replace("/", " "), fontsize=6.5)
        if rows.loc[rows["metric"] == share, "high"].max() == 0:
            _none(upper, times)
        upper.set_yscale("symlog", linthresh=0.1)
        upper.set_ylim(0, max(1.0, 2 * emergence.loc[emergence["metric"] == share, "high"].max()))
    axes[0, 0].set_ylabel(f"tokens over {times:g} x median (%)")
    axes[1, 0].set_ylabel("norm of patches, last block")
    axes[1, 0].legend()
    figure.supxlabel("updates", fontsize=8)
    scale = style.plt.cm.ScalarMappable(style.plt.Normalize(0.5, blocks + 0.5), colours)
    bar = figure.colorbar(
        scale, ax=axes[0], label="block", ticks=range(1, blocks + 1, max(1, blocks // 6))
    )
    bar.outline.set_visible(False)
    style.note(figure, f"patch tokens of {sample}; bands: bootstrap over images")
    style.save(figure, outputs)


if "snakemake" in globals():
    i, p, out = snakemake.input, snakemake.params, snakemake.output
    with job(snakemake.log[0], f"figures of training {snakemake.wildcards.dataset}"):
        main(
            training=i.training,
            curves=i.curves,
            histories=i.histories,
            emergence=i.emergence,
            bases=p.bases,
            dataset=snakemake.wildcards.dataset,
            times=p.times,
            outputs=dict(out.items()),
        )
