"""Figure 7, and the same of every backbone: feature norm maps after each block."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

COLUMNS = 12


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
    rows = images * sum(lines)
    figure, axes = style.plt.subplots(
        rows, columns + 1, figsize=(1.0 * (columns + 1) + 0.9, 1.15 * rows), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    top = 0
    for data, own in zip(maps, lines, strict=True):
        norms = data["norms"].values
        for i in range(images):
            style.picture(axes[top, 0], data["pixels"].values[i].astype(np.uint8))
            for block in range(norms.shape[1]):
                axis = axes[top + block // columns, 1 + block % columns]
                shown = style.picture(
                    axis, norms[i, block] / np.median(norms[:, block]),
                    norm=style.norm_scale(times), cmap=style.cmap(),
                )  # fmt: skip
                axis.set_title(f"block {block + 1}", fontsize=7)
            if i == 0:
                named = style.short(data.attrs["backbone"]).replace("\n", " ")
                axes[top, 0].set_title(named, fontsize=7, loc="left")
            top += own
    style.norm_bar(figure, shown, axes, times)
    style.save(figure, outputs)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"figure {w.figure}"):
        main(files=snakemake.input, images=p.images, outputs=snakemake.output, times=p.times)
