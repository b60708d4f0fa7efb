"""Figures 1, 2 and 5, and their kin by family: attention and feature maps of gallery images."""

import numpy as np

from tokenscope.figures import style
from tokenscope.figures.gallery_maps import (
    RECEIVED,
    attention_name,
    relative_attention,
    relative_norm,
)
from tokenscope.figures.sheet import EDGE, sheet
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

COLOURS = {"attention": style.ATTENTION, "feature": "viridis"}
HEADS = {"attention": "attention", "feature": "norm"}
FEW = 3  # images of which maps of three backbones stand beside each other


def main(files, layers, images, outputs, times):
    """Photographs on top, then maps of each backbone, on common scales.

    Of two layers the maps stand beside each other; of few images, three backbones do.

    Args:
        files: maps of the gallery (NetCDF), one a backbone.
        layers: ``attention``, ``feature`` or both.
        images: how many of the gallery are shown.
        outputs: files of the figure, one a format.
        times: the outlier rule's multiple of the median: patches above it are marked.
    """
    maps = [maps_file.load(file).isel(image=slice(images)) for file in files]
    images = maps[0].sizes["image"]
    seen = [relative_attention(data) for data in maps if attention_name(data)]
    scales = {
        "feature": style.norm_scale(times),
        "attention": style.attention_scale(np.concatenate([s.ravel() for s in seen] or [[1]])),
    }
    beside = min(3, len(maps)) if len(layers) == 1 and images <= FEW else 1
    cells = [[(data, layer) for layer in layers] for data in maps]
    if beside > 1:
        cells = [sum(cells[i : i + beside], []) for i in range(0, len(cells), beside)]
    blocks, names = max(map(len, cells)), [style.short(data.attrs["backbone"]) for data in maps]
    page = sheet(
        len(cells) + 1, blocks * images, blocks=blocks,
        left=EDGE if beside > 1 else style.margin(names),
        above=[0.14 * (len(layers) > 1)] + [0.14 * (beside > 1)] * len(cells),
    )  # fmt: skip
    for block in range(blocks):
        for i, pixels in enumerate(maps[0]["pixels"].values.astype(np.uint8)):
            style.picture(page.axes[0, block * images + i], pixels)
        if len(layers) > 1:
            page.over(0, block * images, HEADS[layers[block]])
    shown = {}
    for row, line in enumerate(cells, start=1):
        for block, (data, layer) in enumerate(line):
            axes = page.axes[row, block * images : (block + 1) * images]
            if drawn := _maps(axes, data, layer, scales[layer]):
                shown[layer] = drawn
            name = style.short(data.attrs["backbone"])
            if beside > 1:
                page.over(row, block * images, name.replace("\n", " "))
            elif block == 0:
                page.beside(row, name)
    for number, (layer, image) in enumerate(shown.items()):
        if layer == "feature":
            style.norm_bar(page, image, times, number, len(shown))
        else:
            read = " or ".join(dict.fromkeys(filter(None, map(attention_name, maps))))
            style.attention_bar(page, image, read, number, len(shown))
    style.save(page.figure, outputs)


def _maps(axes, data, layer, scale):
    """Maps of one backbone; what was drawn last, None where there is no map."""
    if layer == "attention" and not attention_name(data):
        axes[0].text(0, 0.5, "no CLS token: its attention map is undefined", va="center")
        return None
    values = relative_attention(data) if layer == "attention" else relative_norm(data)
    for axis, panel in zip(axes, values, strict=True):
        drawn = style.picture(axis, panel, norm=scale, cmap=style.cmap(COLOURS[layer]))
    if layer == "attention" and attention_name(data) == RECEIVED:
        axes[0].text(0.03, 0.97, "received (no CLS)", transform=axes[0].transAxes, va="top")
    return drawn


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"figure {w.figure}"):
        main(
            files=snakemake.input, layers=p.layers, images=p.images, outputs=snakemake.output,
            times=p.times,
        )  # fmt: skip
