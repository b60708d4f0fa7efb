"""What registers look at: attention of CLS and of each register over gallery images.

As Figure 9 of Darcet et al., "Vision Transformers Need Registers"
(https://arxiv.org/abs/2309.16588), with how alike the maps are in numbers beside it.
"""

import numpy as np
import xarray as xr

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.stats.map_cosine import cosine
from tokenscope.tables import tidy
from tokenscope.tables.tidy import rows_of

IMAGES, PANEL = 4, 0.85


def main(file, registers, dataset, outputs):
    """Photographs, maps of CLS and each register, and below them how alike any two maps are.

    Args:
        file: maps of the gallery (NetCDF).
        registers: table of tidy rows: the same similarities over the whole sample.
        dataset: whose rows are cited.
        outputs: files of the figure, one a format.
    """
    data = xr.open_dataset(file, engine="scipy").load()
    name = data.attrs["backbone"]
    queries = [q for q in data.attrs.get("queries", "").split(",") if q]
    shown = [q for q in queries if q == "cls" or q.startswith("reg")]
    if not any(q.startswith("reg") for q in shown):
        return style.blank(outputs, f"{name}: no register was attached")
    maps = {q: data["attention"].values[:, queries.index(q)] for q in shown}
    maps = {q: values * values[0].size for q, values in maps.items()}  # multiples of uniform
    images = min(IMAGES, data.sizes["image"])
    wide = len(shown) + 1
    figure = style.plt.figure(figsize=(max(4.4, PANEL * wide + 0.6), PANEL * images + 2.9))
    upper, lower = figure.subfigures(2, 1, height_ratios=[PANEL * images + 0.7, 1.9])
    axes = upper.subplots(images, wide, squeeze=False)
    scale = style.attention_scale(np.concatenate([m.ravel() for m in maps.values()]))
    for i, line in enumerate(axes):
        style.picture(line[0], data["pixels"].values[i].astype(np.uint8))
        for axis, query in zip(line[1:], shown, strict=True):
            drawn = style.picture(axis, maps[query][i], norm=scale, cmap=style.cmap("magma"))
            if i == 0:
                axis.set_title("CLS" if query == "cls" else query, fontsize=7)
    style.scale_bar(upper, drawn, axes, "attention / uniform  (blue: over the scale)")
    _matrix(lower, alike(maps), shown)
    rows = tidy.read(registers).query("dataset == @dataset")
    text = [style.short(name).replace("\n", " "), *said(rows_of(rows, **tidy.columns_of(name)))]
    style.note(figure, "; ".join(text))
    style.save(figure, outputs)


def alike(maps):
    """Mean cosine of any two maps over the images, their means removed: (query, query)."""
    flat = [values.reshape(len(values), -1) for values in maps.values()]
    return np.array([[cosine(a, b).mean() for b in flat] for a in flat])


def said(rows):
    """The same over the sample, as the table has it: between registers, and with CLS."""
    between = rows[rows["metric"] == "map_cosine_between"]
    if len(between):
        row = between.iloc[0]
        yield f"cosine between registers' maps {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
    own = rows[rows["metric"] == "map_cosine_with_cls"]
    if len(own):
        yield f"with CLS's {own['value'].min():.2f} to {own['value'].max():.2f}"
    if len(between) or len(own):
        yield f"over {int(rows['n'].max()):,} images (tables/registers.csv)"


def _matrix(part, values, names):
    axis = part.subplots(1, 1)
    axis.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    labels = ["CLS" if name == "cls" else name for name in names]
    axis.set_xticks(range(len(names)), labels=labels, rotation=90 if len(names) > 6 else 0)
    axis.set_yticks(range(len(names)), labels=labels)
    if len(names) <= 9:
        for (row, column), value in np.ndenumerate(values):
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=5.5,
                      color="w" if abs(value) > 0.6 else "k")  # fmt: skip
    axis.set_title("cosine of two maps, these images", fontsize=7)


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"register maps {w.family}/{w.size}/{w.registers}"):
        main(file=i.maps, registers=i.registers, dataset=w.dataset, outputs=snakemake.output)
