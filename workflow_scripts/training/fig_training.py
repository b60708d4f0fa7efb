"""Figures of training: norms before and after, learning curves, when outliers emerge."""

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import cutoff_of_median, share_metric
from tokenscope.tables import tidy
from tokenscope.tables.names import AFTER, of_training, over_seeds, without_training
from tokenscope.tables.tidy import BACKBONE_COLUMNS, backbone_names


def main(training, curves, histories, emergence, bases, dataset, times, outputs):
    """Four figures of one data set.

    Args:
        training: the table of trainings (CSV).
        curves: densities of the norm by backbone (trained and base).
        histories: learning curves, with the columns that name the backbone.
        emergence: rows of rule emergence.
        bases: base by trained backbone.
        dataset: the one to draw.
        times: outliers have a norm over so many medians.
        outputs: files by figure: ``norms``, ``curves``, ``registers``, ``emergence``;
            one a format of each page.
    """
    training = tidy.read(training)
    training = training[training["dataset"].isin([dataset, ""])]
    curves = tidy.read_table(curves)
    images = training.loc[training["group"].eq(of_training(AFTER, "last_block")), "n"].max()
    sample = f"{images:,.0f} images"
    curves = curves[curves["dataset"] == dataset]
    for some, files in style.pages(outputs["norms"], list(bases.items())):
        before_after(curves, dict(some), times, sample, files)
    learning(tidy.read_table(histories), outputs["curves"])
    register_norms(training, outputs["registers"])
    emergence = tidy.read_table(emergence).query("dataset == @dataset")
    trained = list(dict.fromkeys(backbone_names(emergence)))
    for some, files in style.pages(outputs["emergence"], trained):
        over_steps(emergence, some, times, sample, files)


def before_after(curves, bases, times, sample, outputs):
    """Density of last-block norms, grey before, blue after; both cutoffs."""
    curves = curves.assign(key=backbone_names(curves))
    curves = curves[curves["block"] == curves.groupby("key")["block"].transform("max")]
    if not bases:
        return style.blank(outputs, "no backbone was trained here")
    figure, axes = style.panels(len(bases), sharey=True, sharex=True)
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
        axis.set_title(f"{family}\n{size} {registers}")
        style.plain_log(axis.xaxis)
    axes[0].legend(loc="upper left", fontsize=6)
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(low, 1.15 * high)
    figure.supxlabel("norm of patch tokens, last block (log scale)")
    figure.supylabel("density over log10 norm")
    scratch = "" if all(bases.values()) else "; from scratch there is no before"
    style.note(
        figure, f"{sample}. Dashed: {times:g} x median, before and after{scratch}. Bands: "
        "bootstrap over images.",
    )  # fmt: skip
    style.save(figure, outputs)


def _none(axis, times):
    """Say that an empty panel is a finding; the scale is one on which outliers would be seen."""
    axis.set_ylim(0, 1)
    axis.text(0.5, 0.5, f"no token over\n{times:g} x median", transform=axis.transAxes, ha="center")


def learning(histories, outputs):
    """Loss and held-out top-1 against updates."""
    groups = list(histories.groupby(backbone_names(histories), sort=False))
    rows = -(-len(groups) // 3)
    figure, axes = style.plt.subplots(1, 3, figsize=(style.WIDE, 2.0 + 0.11 * rows))
    for look, (name, own) in zip(style.lines(), groups, strict=False):
        for axis, column in zip(axes, ("loss", "top1", "patch_norm"), strict=True):
            axis.plot(own["step"], own[column], label=name, **look)
    labels = ("class loss, mean of the epoch", "held-out top-1 (%)", "mean norm, last block")
    for axis, label in zip(axes, labels, strict=True):
        axis.set(xlabel="updates", ylabel=label)
    axes[2].set_ylim(0, 1.05 * axes[2].get_ylim()[1])
    handles, names = axes[0].get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=6)
    style.note(figure, "One training run per line (no interval). Loss is on augmented training "
               "images, accuracy on a small held-out split.")  # fmt: skip
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
    for some, files in style.pages(outputs, names):
        _register_norms(after, some, files)


def _register_norms(after, names, outputs):
    if not names:
        return style.blank(outputs, "no backbone trained here has registers")
    figure, axes = style.panels(len(names), height=1.45)
    for axis, name in zip(axes, names, strict=True):
        rows = after[(after[BACKBONE_COLUMNS] == list(name)).all(axis=1)].set_index(
            ["group", "metric"]
        )
        tokens = rows[rows.index.get_level_values(1) == "norm_mean"]
        labels = [without_training(g).removeprefix("reg") for g in tokens.index.get_level_values(0)]
        ends = [tokens["value"] - tokens["low"], tokens["high"] - tokens["value"]]
        axis.errorbar(range(len(tokens)), tokens["value"], ends, fmt="o", ms=3.5, color=style.BLUE)
        last_block = of_training(AFTER, "last_block")
        for metric, dashes, text in (
            ("norm_median", "-", "median patch"), ("norm_p98", ":", "98th percentile"),
        ):  # fmt: skip
            value = rows.loc[(last_block, metric), "value"]
            axis.axhline(value, color="0.5", ls=dashes, lw=0.8, label=text)
        labels = ["CLS" if label == "cls" else label for label in labels]
        axis.set_xticks(range(len(tokens)), labels=labels)
        axis.set_ylim(0, 1.15 * axis.get_ylim()[1])
        axis.set_xlim(-0.5, len(tokens) - 0.5)
        axis.set_title(f"{name[0]}\n{name[1]} {name[2]}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=6)
    figure.supxlabel("CLS and registers, by their number")
    figure.supylabel("norm, last block")
    style.note(figure, "Mean norm of each token; grey: of patches. Bars: bootstrap over images.")
    style.save(figure, outputs)


def over_steps(emergence, names, times, sample, outputs):
    """Outlier share by block, and quantiles of the last block's norm, against updates.

    The shares are left out where no token is over the cutoff at any update.
    """
    if not names:
        return style.blank(outputs, "no training of this study keeps snapshots")
    share, blocks = share_metric(times), int(emergence["block"].max())
    highest = emergence.loc[emergence["metric"] == share, "value"].max()
    parts = ["share", "norm"] if highest > 0 else ["norm"]
    columns = min(4, len(names))
    bands = -(-len(names) // columns)
    figure, axes = style.plt.subplots(
        len(parts) * bands, columns, squeeze=False, sharex=True,
        figsize=(max(style.NARROW, style.WIDE / 4 * columns + 0.3),
                 1.35 * len(parts) * bands + 0.4),
    )  # fmt: skip
    colours = style.plt.get_cmap("viridis", blocks)
    for number in range(bands * columns):
        band, column = divmod(number, columns)
        both = axes[len(parts) * band : len(parts) * (band + 1), column]
        if number >= len(names):
            for axis in both:
                axis.remove()
            continue
        rows = emergence[backbone_names(emergence) == names[number]]
        if "share" in parts:
            _shares(both[0], rows[rows["metric"] == share], colours, times)
            both[0].set_ylim(0, max(1.0, 2 * highest))
        _quantiles(both[-1], rows[rows["block"] == rows["block"].max()])
        both[0].set_title(names[number].replace("/", "\n", 1).replace("/", " "))
        both[-1].set_xlabel("updates")
        both[-1].tick_params(labelbottom=True)
        if column == 0:
            both[-1].set_ylabel("norm of patches,\nlast block")
            if "share" in parts:
                both[0].set_ylabel(f"tokens over\n{times:g} x median (%)")
    axes[len(parts) - 1, 0].legend(fontsize=6)
    if "share" in parts:
        scale = style.plt.cm.ScalarMappable(style.plt.Normalize(0.5, blocks + 0.5), colours)
        bar = figure.colorbar(
            scale, ax=[axis for axis in axes[0] if axis.figure], label="block", aspect=12,
            ticks=range(1, blocks + 1, max(1, blocks // 6)),
        )  # fmt: skip
        bar.outline.set_visible(False)
    none = "" if highest > 0 else f" No token is over {times:g} x median at any update."
    style.note(figure, f"Patch tokens of {sample}. Bands: bootstrap over images.{none}")
    style.save(figure, outputs)


def _shares(axis, rows, colours, times):
    for block, line in rows.groupby("block"):
        axis.plot(line["step"], line["value"], color=colours(block - 1), marker=".", ms=3)
        axis.fill_between(
            line["step"], line["low"], line["high"], color=colours(block - 1), alpha=0.2, lw=0
        )
    if rows["value"].max() == 0:
        _none(axis, times)
    axis.set_yscale("symlog", linthresh=0.1)
    axis.yaxis.set_major_formatter(lambda y, _: f"{y:g}")


def _quantiles(axis, last):
    marks = {
        "norm_median": (style.BLUE, "median"), "norm_p98": (style.ORANGE, "98 %"),
        "norm_p999": (style.VERMILION, "99.9 %"),
    }  # fmt: skip
    for metric, (colour, label) in marks.items():
        line = last[last["metric"] == metric]
        axis.plot(line["step"], line["value"], color=colour, marker=".", ms=3, label=label)
        axis.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
    axis.set_ylim(bottom=0)


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
