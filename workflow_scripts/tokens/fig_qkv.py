"""Figure 6: norms of queries, keys, values and output of the last block, one figure a family."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

FACETS = {"q_norm": "query", "k_norm": "key", "v_norm": "value", "norms": "output"}
IMAGES = 2


def main(files, outputs, times):
    """A row a backbone: photograph and four maps, for two gallery images, on one scale.

    Args:
        files: maps of the gallery (NetCDF), one a backbone.
        outputs: files of the figure, one a format.
        times: the outlier rule's multiple of the median: patches above it are marked.
    """
    maps = [maps_file.load(file) for file in files]
    images = min(IMAGES, maps[0].sizes["image"])
    wide = len(FACETS) + 1
    figure, axes = style.plt.subplots(
        len(maps), images * wide, figsize=(1.0 * images * wide + 1.6, 1.05 * len(maps) + 0.5),
        squeeze=False,
    )  # fmt: skip
    shown = None
    for line, data in zip(axes, maps, strict=True):
        line[0].set_ylabel(
            style.short(data.attrs["backbone"]), rotation=0, ha="right", va="center", fontsize=7
        )
        for i in range(images):
            style.picture(line[i * wide], data["pixels"].values[i].astype(np.uint8))
            for n, (name, label) in enumerate(FACETS.items(), start=1):
                values = data[name].values
                values = values[:, -1] if name == "norms" else values
                axis = line[i * wide + n]
                shown = style.picture(
                    axis, values[i] / np.median(values), norm=style.norm_scale(times),
                    cmap=style.cmap(),
                )  # fmt: skip
                if data is maps[0]:
                    axis.set_title(label)
    style.norm_bar(figure, shown, axes, times)
    style.save(figure, outputs)


if "snakemake" in globals():
    with job(snakemake.log[0], f"figure 6 {snakemake.wildcards.family}"):
        main(files=snakemake.input, outputs=snakemake.output, times=snakemake.params.times)
