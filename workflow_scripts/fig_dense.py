"""True and predicted maps of a few test images, backbones side by side."""

import matplotlib
import numpy as np

from tokenscope import plots
from tokenscope.jobs import job
from tokenscope.targets import IGNORE


def main(files, depth, outputs):
    """A row an image: photograph, true map, and the prediction of each backbone."""
    found = [np.load(file) for file in files]
    count = len(found[0]["image_ids"])
    figure, axes = plots.plt.subplots(
        count, 2 + len(found), figsize=(1.5 * (2 + len(found)), 1.25 * count + 0.9), squeeze=False
    )
    for axis, title in zip(
        axes[0], ["image", "truth", *(plots.short(str(f["backbone"])) for f in found)], strict=True
    ):
        axis.set_title(title, fontsize=7)
    truth = [found[0][f"target{i}"] for i in range(count)]
    if depth:
        seen = np.concatenate([t[t > 0] for t in truth])
        style = {"vmin": seen.min(), "vmax": seen.max(), "cmap": plots.cmap("magma")}
    else:
        colours = matplotlib.colormaps["tab20"](np.arange(20))
        style = {"cmap": matplotlib.colors.ListedColormap(colours), "vmin": 0, "vmax": 19}
    for i, line in enumerate(axes):
        plots.picture(line[0], found[0][f"image{i}"])
        for axis, values in zip(
            line[1:], [truth[i], *(f[f"found{i}"] for f in found)], strict=True
        ):
            empty = values == (0 if depth else IGNORE)
            values = values if depth else values % 20
            shown = plots.picture(axis, np.ma.masked_where(empty, values), **style)
    if depth:
        plots.scale_bar(figure, shown, axes, "depth (m)  (blue: over the scale)")
    empty = "Grey" if depth else "White"
    plots.note(figure, f"Linear heads on frozen tokens, test images. {empty}: does not count.")
    plots.save(figure, outputs)


if "snakemake" in globals():
    w = snakemake.wildcards
    with job(snakemake.log[0], f"figure dense {w.dataset} {w.family}"):
        main(snakemake.input, snakemake.params.depth, snakemake.output)
