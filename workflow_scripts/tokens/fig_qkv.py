"""Figure 6, and its kin by family: norms of query, key, value and output of the last block."""

import numpy as np

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

FACETS = {"q_norm": "query", "k_norm": "key", "v_norm": "value", "norms": "output"}
PANEL = 0.68


def main(files, images, outputs, times):
    """A row an image, and side by side for each backbone its four maps, on one scale.

    Backbones stand two beside each other, more under them.

    Args:
        files: maps of the gallery (NetCDF), one a backbone.
        images: how many of the gallery are shown.
        outputs: files of the figure, one a format.
        times: the outlier rule's multiple of the median: patches above it are marked.
    """
    maps = [maps_file.load(file) for file in files]
    images, beside = min(images, maps[0].sizes["image"]), min(2, len(maps))
    parts = -(-len(maps) // beside)
    wide = beside * len(FACETS) + 1
    figure, axes = style.plt.subplots(
        parts * images, wide, squeeze=False,
        figsize=(PANEL * wide + 0.3, 1.05 * PANEL * images * parts + 0.35 * parts + 0.5),
    )  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    for number, data in enumerate(maps):
        top, left = number // beside * images, 1 + number % beside * len(FACETS)
        for i in range(images):
            line = axes[top + i]
            if left == 1:
                style.picture(line[0], data["pixels"].values[i].astype(np.uint8))
            for axis, name in zip(line[left:], FACETS, strict=False):
                values = data[name].values
                values = values[:, -1] if name == "norms" else values
                shown = style.picture(
                    axis, values[i] / np.median(values), norm=style.norm_scale(times),
                    cmap=style.cmap(),
                )  # fmt: skip
        for axis, label in zip(axes[top, left:], FACETS.values(), strict=False):
            axis.set_title(f"\n{label}", fontsize=7)  # above it a line for the name
        named = style.short(data.attrs["backbone"]).replace("\n", " ")
        axes[top, left].annotate(  # it spans columns and must not widen its own
            named, (0, 1), (0, 13), xycoords="axes fraction", textcoords="offset points",
            fontsize=7, in_layout=False,
        )  # fmt: skip
    style.norm_bar(figure, shown, axes, times)
    style.save(figure, outputs)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"figure {w.figure}"):
        main(files=snakemake.input, images=p.images, outputs=snakemake.output, times=p.times)
