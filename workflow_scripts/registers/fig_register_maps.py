"""What registers look at: attention of CLS and of each register over gallery images.

As Figure 9 of Darcet et al., "Vision Transformers Need Registers"
(https://arxiv.org/abs/2309.16588), with how alike the maps are in numbers beside it.
"""

import numpy as np
import xarray as xr

from tokenscope.figures import style
from tokenscope.figures.sheet import sheet
from tokenscope.jobs.job import job
from tokenscope.stats.map_cosine import cosine
from tokenscope.tables import tidy
from tokenscope.tables.tidy import rows_of

IMAGES, ACROSS = 4, 9  # images; maps side by side


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
    # More than nine maps do not stand beside each other.
    wide = min(len(shown), ACROSS)
    bands = -(-len(shown) // wide)
    page = sheet(
        images * bands, wide + 1, above=([0.14] + [0.0] * (images - 1)) * bands, largest=0.8
    )
    scale = style.attention_scale(np.concatenate([m.ravel() for m in maps.values()]))
    for number, query in enumerate(shown):
        band, column = divmod(number, wide)
        for i in range(images):
            line = page.axes[band * images + i]
            if column == 0:
                style.picture(line[0], data["pixels"].values[i].astype(np.uint8))
            drawn = style.picture(
                line[column + 1], maps[query][i], norm=scale, cmap=style.cmap(style.ATTENTION)
            )
            if i == 0:
                line[column + 1].set_title(_named(query), pad=2)
    style.attention_bar(page, drawn)
    rows = tidy.read(registers).query("dataset == @dataset")
    numbers = "; ".join(said(rows_of(rows, **tidy.columns_of(name))))
    style.note(page.figure, f"{name}. {numbers[:1].upper()}{numbers[1:]}.".replace("..", "."))
    _matrix(page.figure, alike(maps), shown)
    style.save(page.figure, outputs)


def _named(query):
    return "CLS" if query == "cls" else query.replace("reg", "register ")


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
        ends = dict.fromkeys(f"{end:.2f}" for end in (own["value"].min(), own["value"].max()))
        yield f"cosine with CLS's map {' to '.join(ends)}"
    if len(between) or len(own):
        yield f"over {int(rows['n'].max()):,} images (tables/registers.csv)"


def _matrix(figure, values, names):
    """How alike any two maps of these images are, in a room added below the maps."""
    wide, high = figure.get_size_inches()
    side = min(0.26 * len(names), 2.2)
    room = side + 0.75
    for axis in figure.get_axes():
        place = axis.get_position()
        axis.set_position(
            (place.x0, (place.y0 * high + room) / (high + room), place.width,
             place.height * high / (high + room))
        )  # fmt: skip
    figure.set_size_inches(wide, high + room)
    axis = figure.add_axes(
        (0.5 - side / wide / 2, 0.45 / (high + room), side / wide, side / (high + room))
    )
    axis.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    labels = ["CLS" if name == "cls" else name.removeprefix("reg") for name in names]
    axis.set_xticks(range(len(names)), labels=labels)
    axis.set_yticks(range(len(names)), labels=labels)
    axis.tick_params(length=0)
    if len(names) <= 9:
        for (row, column), value in np.ndenumerate(values):
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=5.5,
                      color="w" if abs(value) > 0.6 else "k")  # fmt: skip
    axis.set_title("cosine of two maps, these images")


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"register maps {w.family}/{w.size}/{w.registers}"):
        main(file=i.maps, registers=i.registers, dataset=w.dataset, outputs=snakemake.output)
