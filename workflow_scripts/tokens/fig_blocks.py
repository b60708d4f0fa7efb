"""Figure 7: feature norm maps after every block of one backbone."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

COLUMNS, IMAGES = 12, 2


def main(file, outputs, times):
    """Two gallery images, each with one map a block, norms in medians of that block.

    Args:
        file: maps of the gallery (NetCDF).
        outputs: files of the figure, one a format.
        times: the outlier rule's multiple of the median: patches above it are marked.
    """
    data = maps_file.load(file)
    blocks, images = data.sizes["block"], min(IMAGES, data.sizes["image"])
    columns = min(COLUMNS, blocks)
    lines = -(-blocks // columns)
    figure, axes = style.plt.subplots(
        images * lines, columns + 1, figsize=(1.0 * (columns + 1) + 0.9, 1.15 * images * lines),
        squeeze=False,
    )  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    norms = data["norms"].values
    for i in range(images):
        style.picture(axes[i * lines, 0], data["pixels"].values[i].astype(np.uint8))
        for block in range(blocks):
            axis = axes[i * lines + block // columns, 1 + block % columns]
            shown = style.picture(
                axis, norms[i, block] / np.median(norms[:, block]),
                norm=style.norm_scale(times), cmap=style.cmap(),
            )  # fmt: skip
            axis.set_title(f"block {block + 1}", fontsize=7)
    style.norm_bar(figure, shown, axes, times)
    figure.suptitle(style.short(data.attrs["backbone"]).replace("\n", " "))
    style.save(figure, outputs)


if "snakemake" in globals():
    w = snakemake.wildcards
    with job(snakemake.log[0], f"figure 7 {w.family}/{w.size}/{w.registers}"):
        main(file=snakemake.input[0], outputs=snakemake.output, times=snakemake.params.times)
