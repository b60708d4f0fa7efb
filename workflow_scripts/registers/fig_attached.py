"""One backbone before and after registers at test time: its neurons, norms and maps."""

import numpy as np

from tokenscope.figures import style
from tokenscope.figures.sheet import sheet
from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import outlier_mask
from tokenscope.stores import maps_file
from tokenscope.tables import tidy

IMAGES = 3
ERRORS = 2
ASIDE = 1.08  # of marks that would lie on others
TRIES = {
    "leading": "the leading neurons", "changed": "one change more", "testtime": "chosen",
    "random": "as many random neurons", "zeroed": "chosen, silenced and not moved",
    "published": "published search, default number",
}  # fmt: skip


def main(scores, trials, curves, registers, maps, names, dataset, times, outputs):
    """Four figures of one family and size.

    Args:
        scores: CSV of the leading neurons of each block, of the backbone without registers.
        trials: CSV of the tries of the search, image by image.
        curves, registers: CSV of all backbones: densities of the norm, what registers change.
        maps: of the gallery (NetCDF), a file for each backbone.
        names: registers names in the order of ``maps``; the first is without registers.
        dataset: whose rows of ``curves`` and ``registers`` are drawn.
        times: the outlier rule's multiple of the median norm.
        outputs: files by figure: ``neurons``, ``number``, ``norms``, ``maps``.
    """
    data = [maps_file.load(file) for file in maps]
    family, size, _ = data[0].attrs["backbone"].split("/")
    neurons(tidy.read_table(scores), f"{family}/{size}/{names[0]}", outputs["neurons"])
    number(tidy.read_table(trials), f"{family}/{size}/{names[0]}", outputs["number"])
    of_size = "family == @family and size == @size and dataset == @dataset"
    of_registers = tidy.read(registers).query(f"{of_size} and metric == 'norm_mean'")
    norms(tidy.read_table(curves).query(of_size), of_registers, names, outputs["norms"])
    pictures(data, names, times, outputs["maps"])


def neurons(table, name, outputs):
    """Each neuron's activation at outliers against elsewhere, and what it writes, by block."""
    if table.empty:
        return style.blank(outputs, f"{name}: no outliers, nothing is attached")
    figure, (left, right) = style.plt.subplots(1, 2, figsize=(style.WIDE, 2.4))
    rest, moved = table[~table["chosen"]], table[table["chosen"]]
    most = float(table[["normal", "outlier"]].to_numpy().max())
    least = max(1e-4, float(np.quantile(table[["normal", "outlier"]].to_numpy(), 0.02)))
    for rows, colour, size in ((rest, "0.6", 4), (moved, style.OUTLIER, 22)):
        dots = {"color": colour, "s": size, "lw": 0, "clip_on": False, "rasterized": True}
        left.scatter(rows["normal"], rows["outlier"], **dots)
        jitter = (rows["neuron"] % 13 - 6) / 26
        right.scatter(rows["block"] + jitter, rows["contribution"], **dots)
    ends = [0, 2 * most]
    left.plot(ends, ends, color="0.5", lw=0.6, ls=":")
    lane = {"value": "symlog", "linthresh": least, "linscale": 0.4}  # below the decades: zero
    left.set_xscale(**lane)
    left.set_yscale(**lane)
    left.set(xlim=(-0.15 * least, 2 * most), ylim=(-0.15 * least, 2 * most))
    for axis in (left.xaxis, left.yaxis):
        powers = 10.0 ** np.arange(np.ceil(np.log10(least)), np.log10(2 * most))
        axis.set_ticks([0, *powers], labels=["0", *(f"{p:g}" for p in powers)])
        axis.set_minor_locator(style.NullLocator())
    left.set(xlabel="mean |activation| elsewhere", ylabel="mean |activation| at outliers")
    right.set(xlabel="block", ylabel="norm written at outliers\nbeyond elsewhere")
    right.set_xticks(sorted(table["block"].unique()))
    right.locator_params(axis="y", nbins=5)
    for row in moved.nlargest(3, "contribution").itertuples():
        for axis, where in (
            (left, (row.normal, row.outlier)),
            (right, (row.block, row.contribution)),
        ):
            axis.annotate(f"neuron {row.neuron}", where, xytext=(4, -2), textcoords="offset points",
                          fontsize=6)  # fmt: skip
    most = int(table.groupby("block").size().max())
    style.note(figure, f"{name}: the {most} leading neurons of each block up to where outliers are "
               f"most; orange-red: {len(moved)} moved to the register.")  # fmt: skip
    style.save(figure, outputs)


def number(table, name, outputs):
    """Outliers left and function kept by the number of neurons moved, and the controls."""
    if table.empty:
        return style.blank(outputs, f"{name}: nothing is attached, so no number was tried")
    figure, axes = style.plt.subplots(1, 2, figsize=(style.WIDE, 2.3))
    before = {images: rows["over"].mean()
              for images, rows in table[table["how"] == "before"].groupby("images")}  # fmt: skip
    labels = "patches over the cutoff (%)", "kept (1: nothing changed)"
    for axis, column, label in zip(axes, ("over", "kept"), labels, strict=True):
        for images, how, colour, marker in (
            ("search", "leading", style.BLUE, "o-"), ("search", "changed", style.SKY, "x"),
            ("unseen", "testtime", style.VERMILION, "D"), ("unseen", "random", "0.6", "s"),
            ("unseen", "zeroed", style.ORANGE, "v"), ("unseen", "published", style.GREEN, "^"),
            ("transfer", "testtime", style.PINK, "P"),
        ):  # fmt: skip
            rows = table[(table["images"] == images) & (table["how"] == how)]
            if rows.empty:
                continue
            tries = rows.groupby("try", sort=False)
            mean, count = tries[column].mean(), tries["neurons"].first()
            error = ERRORS * tries[column].std().fillna(0) / np.sqrt(tries.size())
            what = TRIES[how]
            if images == "transfer":
                what, count = f"{what}, at {rows['pixels'].iloc[0]:.0f} pixels", count * ASIDE
            axis.errorbar(count, mean, error, fmt=marker, color=colour, ms=4, lw=1, capsize=2,
                          label=what)  # fmt: skip
        axis.set(xscale="log", xlabel="neurons moved", ylabel=label)
        for images, share in before.items():
            axis.axhline(1 if column == "kept" else share, color="0.7", lw=0.6,
                         ls="--" if images == "transfer" else ":")  # fmt: skip
        style.plain_log(axis.xaxis)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    dashed = "; dashed: before, at the other size" if "transfer" in before else ""
    style.note(
        figure,
        f"{name}. Bars: two standard errors over images; lines and crosses: images that chose; "
        f"other marks: images that chose nothing; dotted: before{dashed}.",
    )
    style.save(figure, outputs)


def norms(curves, registers, names, outputs):
    """Density of the last block's patch norms before and after, and the registers' mean norms."""
    figure, axes = style.panels(
        max(1, len(names) - 1), columns=3, height=1.6, sharey=True, sharex=True
    )
    last = curves[curves["block"] == curves["block"].max()]
    for axis, name in zip(axes, names[1:], strict=True):
        for who, colour in ((names[0], "0.55"), (name, style.BLUE)):
            rows = last[last["registers"] == who]
            axis.fill_between(rows["norm"], rows["low"].clip(1e-4), rows["high"].clip(1e-4),
                              color=colour, alpha=0.3, lw=0, step="mid")  # fmt: skip
            axis.step(rows["norm"], rows["density"].clip(1e-4), color=colour, where="mid", lw=1,
                      label="before" if who == names[0] else "after")  # fmt: skip
        own = registers[registers["registers"].eq(name) & registers["group"].str.match("reg")]
        for value in own["value"]:
            axis.axvline(value, color=style.GREEN, lw=0.8)
        axis.set(xscale="log", yscale="log", ylim=(1e-3, 60), title=name)
        style.plain_log(axis.xaxis)
    axes[0].legend(loc="upper left", fontsize=6)
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(low, 1.3 * high)  # room beyond the highest norms
    figure.supxlabel("norm of patch tokens, last block (log scale)")
    figure.supylabel("density over log10 norm")
    style.note(
        figure,
        "Grey: without registers; green: mean norm of a register. Bands: bootstrap over images.",
    )
    style.save(figure, outputs)


def pictures(data, names, times, outputs):
    """Photographs, then a row for each backbone: norms, attention of CLS, of its first register."""
    images = min(IMAGES, data[0].sizes["image"])
    with_cls = "cls" in data[0].attrs["queries"].split(",")
    kinds = {"norm": "norm", **({"cls": "CLS attention"} if with_cls else {}), "reg0": "register 0"}
    norms = data[0]["norms"].values[:, -1]
    median = np.median(norms)
    over = outlier_mask(norms.reshape(len(norms), -1), times)
    # The images with most outliers show most of what registers change.
    shown = np.argsort(-over.sum(1), kind="stable")[:images]
    attention = [_row(d, query) for d in data for query in ("cls", "reg0")]
    scales = {"norm": style.norm_scale(times), "attention": style.attention_scale(
        np.concatenate([a.ravel() for a in attention if a is not None] or [[1]]))}  # fmt: skip
    page = sheet(
        1 + len(names), images * len(kinds), left=style.margin([_lines(n) for n in names]),
        blocks=len(kinds), above=[0.14] + [0.0] * len(names),
    )  # fmt: skip
    seen = {}
    for block, (kind, title) in enumerate(kinds.items()):
        page.over(0, block * images, title)
        for i, image in enumerate(shown):
            pixels = data[0]["pixels"].values[image].astype(np.uint8)
            style.picture(page.axes[0, block * images + i], pixels)
        for row, maps in enumerate(data, start=1):
            axes = page.axes[row, block * images : (block + 1) * images]
            if kind == "norm":
                values, scale, colours = maps["norms"].values[:, -1] / median, "norm", "viridis"
            else:
                values, scale, colours = _row(maps, kind), "attention", style.ATTENTION
            if values is None:  # without registers, or no neuron was found and none attached
                axes[0].text(0.05, 0.5, "none", va="center", color="0.4")
                continue
            for axis, image in zip(axes, shown, strict=True):
                seen[scale] = style.picture(
                    axis, values[image], norm=scales[scale], cmap=style.cmap(colours)
                )
    for row, name in enumerate(names, start=1):
        page.beside(row, _lines(name))
    style.norm_bar(page, seen["norm"], times, 0, len(seen), "of the first row")
    if "attention" in seen:
        style.attention_bar(page, seen["attention"], "attention", 1, 2)
    style.note(page.figure, "The gallery images with most outliers, in medians of the first row.")
    style.save(page.figure, outputs)


def _lines(name):
    """A name of registers on two lines where it is long."""
    head, _, tail = name.rpartition("-")
    return f"{head}\n{tail}" if len(name) > 12 and head else name


def _row(data, query):
    """Attention of a query over patches (image, row, column), in multiples of uniform."""
    queries = data.attrs["queries"].split(",")
    if query not in queries:
        return None
    rows = data["attention"].values[:, queries.index(query)]
    return rows * rows.shape[1] * rows.shape[2]


if "snakemake" in globals():
    i, w, p = snakemake.input, snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"figures of registers {w.family}/{w.size}"):
        files = dict(snakemake.output.items())
        main(
            scores=i.scores, trials=i.trials, curves=i.curves, registers=i.registers, maps=i.maps,
            names=p.names, dataset=w.dataset, times=p.times, outputs=files,
        )  # fmt: skip
