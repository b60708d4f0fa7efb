"""Figure 7, and the same of every backbone: feature norm maps after each block."""

import numpy as np

from tokenscope.figures import style
from tokenscope.figures.sheet import sheet
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

COLUMNS = 8


def main(files, images, outputs, times):
    """Gallery images, each with one map a block, norms in medians of that block.

    Args:
        files: maps of the gallery (NetCDF), one a backbone; of several, one below the other.
        images: how many of the gallery are shown.
        outputs: files of the figure, one a format.
        times: the outlier rule's multiple of the median: patches above it are marked.
    """
    maps = [maps_file.load(file) for file in files]
    images = min(images, maps[0].sizes["image"])
    columns = min(COLUMNS, max(data.sizes["block"] for data in maps))
    lines = [-(-data.sizes["block"] // columns) for data in maps]
    above = [
        0.28 * (i == 0 and line == 0) or 0.13 * (i == 0 or own > 1)
        for own in lines
        for i in range(images)
        for line in range(own)
    ]
    page = sheet(len(above), columns + 1, above=above, largest=0.9)
    top = 0
    for data, own in zip(maps, lines, strict=True):
        norms = data["norms"].values
        page.over(top, 0, style.short(data.attrs["backbone"]).replace("\n", " "), 1)
        for i in range(images):
            style.picture(page.axes[top, 0], data["pixels"].values[i].astype(np.uint8))
            for block in range(norms.shape[1]):
                axis = page.axes[top + block // columns, 1 + block % columns]
                shown = style.picture(
                    axis, norms[i, block] / np.median(norms[:, block]),
                    norm=style.norm_scale(times), cmap=style.cmap(),
                )  # fmt: skip
                if i == 0 or own > 1:
                    first = i == 0 and block == 0
                    axis.set_title(f"block {block + 1}" if first else f"{block + 1}", pad=2)
            top += own
    style.norm_bar(page, shown, times, whose="of these images after the block")
    style.save(page.figure, outputs)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"figure {w.figure}"):
        main(files=snakemake.input, images=p.images, outputs=snakemake.output, times=p.times)
