"""One backbone before and after registers at test time: its neurons, norms and maps."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import outlier_mask
from tokenscope.stores import maps_file
from tokenscope.tables import tidy

IMAGES = 4
ERRORS = 2
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
    figure, (left, right) = style.plt.subplots(1, 2, figsize=(6.4, 2.6))
    rest, moved = table[~table["chosen"]], table[table["chosen"]]
    floor = max(1e-4, float(table[["normal", "outlier"]].to_numpy().max()) / 1e5)
    for rows, colour, size in ((rest, "0.6", 5), (moved, style.OUTLIER, 22)):
        dots = {"color": colour, "s": size}
        left.scatter(rows["normal"].clip(floor), rows["outlier"].clip(floor), lw=0, **dots)
        jitter = (rows["neuron"] % 13 - 6) / 26
        right.scatter(rows["block"] + jitter, rows["contribution"], lw=0, **dots)
    ends = [floor, 2 * float(table[["normal", "outlier"]].to_numpy().max())]
    left.plot(ends, ends, color="0.5", lw=0.6, ls=":")
    left.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    left.set(xlabel="mean |activation| elsewhere", ylabel="mean |activation| at outliers")
    right.set(xlabel="block", ylabel="norm written at outliers\nbeyond elsewhere")
    right.set_xticks(sorted(table["block"].unique()))
    for row in moved.nlargest(3, "contribution").itertuples():
        right.annotate(f"#{row.neuron}", (row.block, row.contribution), xytext=(5, -2),
                       textcoords="offset points", fontsize=7)  # fmt: skip
    most = int(table.groupby("block").size().max())
    style.note(figure, f"{name}: the {most} leading neurons of each block up to where outliers are "
               f"most; red: {len(moved)} moved to the register")  # fmt: skip
    style.save(figure, outputs)


def number(table, name, outputs):
    """Outliers left and function kept by the number of neurons moved, and the controls."""
    if table.empty:
        return style.blank(outputs, f"{name}: nothing is attached, so no number was tried")
    figure, axes = style.plt.subplots(1, 2, figsize=(6.4, 2.6))
    before = table.loc[table["how"] == "before", "over"].mean()
    labels = "patches over the cutoff (%)", "kept (1: nothing changed)"
    for axis, column, label in zip(axes, ("over", "kept"), labels, strict=True):
        for images, how, colour, marker in (
            ("search", "leading", style.BLUE, "o-"), ("search", "changed", style.SKY, "x"),
            ("unseen", "testtime", style.VERMILION, "D"), ("unseen", "random", "0.6", "s"),
            ("unseen", "zeroed", style.ORANGE, "v"), ("unseen", "published", style.GREEN, "^"),
        ):  # fmt: skip
            rows = table[(table["images"] == images) & (table["how"] == how)]
            if rows.empty:
                continue
            tries = rows.groupby("try", sort=False)
            mean, count = tries[column].mean(), tries["neurons"].first()
            error = ERRORS * tries[column].std().fillna(0) / np.sqrt(tries.size())
            axis.errorbar(count, mean, error, fmt=marker, color=colour, ms=4, lw=1, capsize=2,
                          label=TRIES[how])  # fmt: skip
        axis.set(xscale="log", xlabel="neurons moved", ylabel=label)
        axis.axhline(1 if column == "kept" else before, color="0.7", lw=0.6, ls=":")
        style.plain_log(axis.xaxis)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    style.note(figure, f"{name}: bars, two standard errors over images; lines and crosses: images "
               "that chose; other marks: images that chose nothing; dotted: before")  # fmt: skip
    style.save(figure, outputs)


def norms(curves, registers, names, outputs):
    """Density of the last block's patch norms before and after, and the registers' mean norms."""
    figure, axes = style.panels(len(names) - 1, columns=3, width=2.4, height=1.9, sharey=True)
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
    axes[0].legend(loc="upper left")
    figure.supxlabel("feature norm of patch tokens, last block (log scale)", fontsize=8)
    figure.supylabel("density over log10 norm", fontsize=8)
    style.note(
        figure,
        "grey: without registers; green: mean norm of a register; bands: bootstrap over images",
    )
    style.save(figure, outputs)


def pictures(data, names, times, outputs):
    """Photographs, then norms and CLS attention of each backbone, then where registers look."""
    images = min(IMAGES, data[0].sizes["image"])
    with_cls = "cls" in data[0].attrs["queries"].split(",")
    kinds = ["norm", *(["CLS attention"] if with_cls else []), "register's attention"]
    figure, axes = style.plt.subplots(
        images, 1 + len(kinds) * len(names) - 1,
        figsize=(0.95 * (len(kinds) * len(names)) + 0.4, 0.95 * images + 1.1), squeeze=False,
    )  # fmt: skip
    norms = data[0]["norms"].values[:, -1]
    median = np.median(norms)
    over = outlier_mask(norms.reshape(len(norms), -1), times)
    # The images with most outliers show most of what registers change.
    shown = np.argsort(-over.sum(1), kind="stable")[:images]
    attention = [_row(d, "cls") for d in data] + [_row(d, "reg0") for d in data[1:]]
    scales = {"norm": style.norm_scale(times), "attention": style.attention_scale(
        np.concatenate([a.ravel() for a in attention if a is not None] or [[1]]))}  # fmt: skip
    seen = {}
    for line, i in zip(axes, shown, strict=True):
        style.picture(line[0], data[0]["pixels"].values[i].astype(np.uint8))
        column = 1
        for kind in kinds:
            for name, maps in zip(names, data, strict=True):
                if kind == kinds[-1] and name == names[0]:
                    continue
                if kind == "norm":
                    values, scale, colours = maps["norms"].values[i, -1] / median, "norm", "viridis"
                else:
                    rows = _row(maps, "cls" if kind == "CLS attention" else "reg0")
                    if rows is None:  # no neuron was found, so no register was attached
                        line[column].set_axis_off()
                        column += 1
                        continue
                    values, scale, colours = rows[i], "attention", "magma"
                seen[scale] = style.picture(
                    line[column], values, norm=scales[scale], cmap=style.cmap(colours)
                )
                if i == shown[0]:
                    line[column].set_title(f"{kind}\n{name}", fontsize=6)
                column += 1
    style.norm_bar(figure, seen["norm"], axes[:, : 1 + len(names)], times)
    if "attention" in seen:
        style.scale_bar(figure, seen["attention"], axes[:, 1 + len(names) :], "attention / uniform")
    style.save(figure, outputs)


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
