"""Figure 6, and its kin by family: norms of query, key, value and output of the last block."""

import numpy as np

from tokenscope.figures import style
from tokenscope.figures.sheet import EDGE, sheet
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

FACETS = {"q_norm": "query", "k_norm": "key", "v_norm": "value", "norms": "output"}


def main(files, images, outputs, times):
    """A row an image, and side by side for each backbone its four maps, on one scale.

    Backbones stand two beside each other, more under them; photographs stand once in a row.

    Args:
        files: maps of the gallery (NetCDF), one a backbone.
        images: how many of the gallery are shown.
        outputs: files of the figure, one a format.
        times: the outlier rule's multiple of the median: patches above it are marked.
    """
    maps = [maps_file.load(file) for file in files]
    images, beside = min(images, maps[0].sizes["image"]), min(2, len(maps))
    parts = -(-len(maps) // beside)
    photo = 0.7
    page = sheet(
        parts * images, beside * len(FACETS), left=photo + 3 * EDGE, blocks=beside,
        above=([0.28] + [0.0] * (images - 1)) * parts, largest=0.72,
    )  # fmt: skip
    wide, high = page.figure.get_size_inches()
    for number, data in enumerate(maps):
        top, left = number // beside * images, number % beside * len(FACETS)
        for i in range(images):
            line = page.axes[top + i]
            if left == 0:
                place = line[0].get_position()
                side = place.height * high / wide
                where = (place.x0 - side - 2 * EDGE / wide, place.y0, side, place.height)
                style.picture(page.figure.add_axes(where), data["pixels"].values[i].astype("u1"))
            for axis, name in zip(line[left:], FACETS, strict=False):
                values = data[name].values
                values = values[:, -1] if name == "norms" else values
                shown = style.picture(
                    axis, values[i] / np.median(values), norm=style.norm_scale(times),
                    cmap=style.cmap(),
                )  # fmt: skip
        for axis, label in zip(page.axes[top, left:], FACETS.values(), strict=False):
            axis.set_title(label, pad=2)
        page.over(top, left, style.short(data.attrs["backbone"]).replace("\n", " "), 1)
    style.norm_bar(page, shown, times)
    style.save(page.figure, outputs)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"figure {w.figure}"):
        main(files=snakemake.input, images=p.images, outputs=snakemake.output, times=p.times)
