"""Seed, expansion and box of LOST over a few images, backbones side by side."""

import numpy as np
from matplotlib.patches import Rectangle

from tokenscope.discovery.box_iou import iou
from tokenscope.figures import style
from tokenscope.figures.sheet import sheet
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file


def main(files, outputs):
    """A column with the true boxes, then degree and object for each backbone.

    Args:
        files: NetCDF of rule discovery_maps, one a backbone, all of the same images.
        outputs: paths of the figure.
    """
    maps = [maps_file.load(file) for file in files]
    names = maps[0].attrs["image_ids"].split("\n")
    ratios = [float(h) / float(w) for h, w in zip(maps[0]["height"], maps[0]["width"], strict=True)]
    page = sheet(
        len(names), 1 + 2 * len(maps), above=[0.52] + [0.0] * (len(names) - 1), heights=ratios,
        left=0.1, right=0.1, largest=1.2,
    )  # fmt: skip
    page.axes[0, 0].set_title("true boxes", pad=2)
    for i, line in enumerate(page.axes):
        true = maps[0]["true_box"].values[maps[0]["true_image"].values == i].astype(float)
        frames(plots_picture(line[0], maps[0], i), true, "white")
        for number, data in enumerate(maps):
            shown = panel(line[1 + 2 * number : 3 + 2 * number], data, i, true)
    for number, data in enumerate(maps):
        page.over(0, 1 + 2 * number, style.short(data.attrs["backbone"]))
        setting = data.attrs["setting"].replace(", ", "\n")
        page.axes[0, 2 + 2 * number].set_title(setting, fontsize=6, pad=2)
    page.bar(shown, "degree / patches", extend="neither")
    style.note(
        page.figure,
        "LOST. Star: seed, the patch of lowest degree. Dots: candidates that agree with it. "
        "Tinted: object. Box: green and whole if IoU with a true box is at least 0.5, else "
        "orange-red and dashed. Setting above each column, chosen on held-out images.",
    )
    style.save(page.figure, outputs)


def plots_picture(axis, data, i):
    """The photograph without its padding."""
    height, width = int(data["height"][i]), int(data["width"][i])
    style.picture(axis, data["pixels"].values[i, :height, :width].astype(np.uint8))
    return axis


def frames(axis, boxes, colour, width=0.8, dashes="-"):
    for left, top, right, bottom in boxes:
        axis.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=colour,
                linewidth=width, linestyle=dashes,
            )
        )  # fmt: skip


def panel(axes, data, i, true):
    """Degree map, and the object over the photograph."""
    patch = data.attrs["patch"]
    height, width = int(data["height"][i]), int(data["width"][i])
    rows, columns = -(-height // patch), -(-width // patch)
    degree = data["degree"].values[i, :rows, :columns] / (rows * columns - 1)
    extent = (-0.5, columns * patch - 0.5, rows * patch - 0.5, -0.5)
    shown = style.picture(axes[0], degree, cmap=style.cmap(), vmin=0, vmax=1, extent=extent)
    y, x = np.divmod(int(data["seed"][i]), columns)
    plots_picture(axes[1], data, i)
    tint = np.zeros((rows, columns, 4))
    tint[data["object"].values[i, :rows, :columns] == 1] = (0.34, 0.71, 0.91, 0.45)
    axes[1].imshow(tint, extent=extent, interpolation="nearest")
    similar = np.argwhere(data["similar"].values[i, :rows, :columns] == 1)
    middle = (similar + 0.5) * patch
    axes[1].scatter(middle[:, 1], middle[:, 0], s=1.2, c="white", linewidths=0)
    for axis, colour in zip(axes, (style.OUTLIER, style.PINK), strict=True):
        axis.plot(
            (x + 0.5) * patch, (y + 0.5) * patch, "*", ms=6, color=colour, mec="black", mew=0.3
        )
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    box = data["box"].values[i].astype(float)
    good = iou(box[None], true).max() >= 0.5
    look = (style.GREEN, 1.5, "-") if good else (style.OUTLIER, 1.5, "--")
    frames(axes[1], box[None], *look)
    return shown


if "snakemake" in globals():
    w = snakemake.wildcards
    with job(snakemake.log[0], f"figure discovery {w.dataset} {w.family} {w.size}"):
        main(files=snakemake.input, outputs=snakemake.output)
