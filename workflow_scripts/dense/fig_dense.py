"""True and predicted maps of a few test images, backbones side by side."""

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from tokenscope.dense.map_datasets import IGNORE
from tokenscope.figures import style
from tokenscope.jobs.job import job

OTHERS = "#4d4d4d"
COLOURS = [c for c in matplotlib.colormaps["tab20"].colors if len(set(c)) > 1]  # no greys


def main(files, depth, names, outputs):
    """A row an image: photograph, true map, and the prediction of each backbone.

    Args:
        files: maps of rule dense_head (npz), one a backbone, all of the same images.
        depth: whether maps are depth in metres, else classes.
        names: of classes, by number; without them the numbers are shown.
        outputs: paths of the figure.
    """
    backbones = [np.load(file) for file in files]
    count = len(backbones[0]["image_ids"])
    columns = 2 + len(backbones)
    figure, axes = style.plt.subplots(
        count, columns, figsize=(1.5 * columns, 1.25 * count + 0.9), squeeze=False
    )
    predicted = [[maps[f"found{i}"] for maps in backbones] for i in range(count)]
    titles = ["image", "truth", *(style.short(str(maps["backbone"])) for maps in backbones)]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7)
    truth = [backbones[0][f"target{i}"] for i in range(count)]
    if depth:
        seen = np.concatenate([t[t > 0] for t in truth])
        shades = {"vmin": seen.min(), "vmax": seen.max(), "cmap": style.cmap("magma")}
    else:
        classes = present(truth, sum(predicted, []))
        colour_of = np.full(IGNORE + 1, len(COLOURS))
        colour_of[classes[: len(COLOURS)]] = np.arange(min(len(classes), len(COLOURS)))
        shades = {"cmap": ListedColormap([*COLOURS, OTHERS]), "vmin": 0, "vmax": len(COLOURS)}
        legend(figure, classes, names)
    for i, line in enumerate(axes):
        style.picture(line[0], backbones[0][f"image{i}"])
        for axis, values in zip(line[1:], [truth[i], *predicted[i]], strict=True):
            empty = values == (0 if depth else IGNORE)
            values = values if depth else colour_of[values]
            shown = style.picture(axis, np.ma.masked_where(empty, values), **shades)
    if depth:
        style.scale_bar(figure, shown, axes, "depth (m)  (blue: over the scale)")
    empty = "Grey" if depth else "White"
    style.note(figure, f"Linear heads on frozen tokens, test images. {empty}: does not count.")
    style.save(figure, outputs)


def present(truth, predicted):
    """Classes in the maps, by true pixels: what is there has one colour in all families."""
    counts = [
        np.bincount(np.concatenate([m.ravel() for m in maps]), minlength=IGNORE + 1)[:IGNORE]
        for maps in (truth, predicted)
    ]
    order = np.lexsort([-counts[1], -counts[0]])
    return order[sum(counts)[order] > 0].tolist()


def legend(figure, classes, names):
    """Name the colours; classes that are too many to be told apart share one."""
    shown = [
        Patch(color=colour, label=names[number] if names else f"class {number}")
        for number, colour in zip(classes, COLOURS)  # noqa: B905
    ]
    if others := len(classes) - len(shown):
        shown.append(Patch(color=OTHERS, label=f"{others} others"))
    figure.legend(
        handles=shown, loc="outside lower center", ncols=round(1.2 * figure.get_figwidth()),
        handlelength=1, handleheight=1,
    )  # fmt: skip


if "snakemake" in globals():
    w = snakemake.wildcards
    with job(snakemake.log[0], f"figure dense {w.dataset} {w.family}"):
        main(
            files=snakemake.input,
            depth=snakemake.params.depth,
            names=snakemake.params.names,
            outputs=snakemake.output,
        )
