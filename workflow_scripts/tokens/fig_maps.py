"""Figures 1, 2 and 5, and their kin by family: attention and feature maps of gallery images."""

import numpy as np

from tokenscope.figures import style
from tokenscope.figures.gallery_maps import (
    RECEIVED,
    attention_name,
    relative_attention,
    relative_norm,
)
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

LINES = 9  # of maps under each other; more stand in columns side by side


def main(files, layers, images, outputs, times):
    """Photographs on top, then a row of maps for each backbone and layer, on common scales.

    Args:
        files: maps of the gallery (NetCDF), one a backbone.
        layers: ``attention``, ``feature`` or both.
        images: how many of the gallery are shown.
        outputs: files of the figure, one a format.
        times: the outlier rule's multiple of the median: patches above it are marked.
    """
    maps = [maps_file.load(file).isel(image=slice(images)) for file in files]
    rows = [(data, layer) for data in maps for layer in layers]
    columns = -(-len(rows) // LINES)
    lines, images = -(-len(rows) // columns), maps[0].sizes["image"]
    scale = {"feature": style.norm_scale(times)}
    seen = [relative_attention(data) for data in maps if attention_name(data)]
    scale["attention"] = style.attention_scale(np.concatenate([s.ravel() for s in seen] or [[1]]))
    panel = 1.25 if columns == 1 else 0.85
    figure, axes = style.plt.subplots(
        lines + 1, columns * images, squeeze=False,
        figsize=(columns * (panel * images + 1) + 0.3, 0.98 * panel * (lines + 1) + 0.2),
    )  # fmt: skip
    shown = {}
    for number in range(columns):
        column = axes[:, number * images : (number + 1) * images]
        for axis, pixels in zip(column[0], maps[0]["pixels"].values.astype(np.uint8), strict=True):
            style.picture(axis, pixels)
        own = rows[number * lines : (number + 1) * lines]
        for line in column[1 + len(own) :]:
            for axis in line:
                axis.remove()
        for line, (data, layer) in zip(column[1:], own, strict=False):
            drawn = _line(line, data, layer, scale[layer], len(layers) > 1)
            shown |= {layer: drawn} if drawn else {}
    _bars(figure, axes, shown, maps, times)
    style.save(figure, outputs)


COLOURS = {"attention": "magma", "feature": "viridis"}


def _line(line, data, layer, scale, several):
    """Maps of one backbone; what was drawn last, None where there is no map."""
    _label(line[0], data, layer, several)
    if layer == "attention" and not attention_name(data):
        for axis in line:
            axis.axis("off")
        line[0].text(0, 0.5, "no CLS token: its attention map is undefined", va="center")
        return None
    values = relative_attention(data) if layer == "attention" else relative_norm(data)
    for axis, panel in zip(line, values, strict=True):
        drawn = style.picture(axis, panel, norm=scale, cmap=style.cmap(COLOURS[layer]))
    return drawn


def _bars(figure, axes, shown, maps, times):
    """A bar for each layer below the maps, side by side where there is room for two."""
    half = axes.shape[1] // 2 if axes.shape[1] > 3 else 0
    for number, (layer, image) in enumerate(shown.items()):
        sides = [axes[:, :half], axes[:, half:]] if half and len(shown) > 1 else [axes, axes]
        below = [axis for axis in sides[number].flat if axis.figure]
        if layer == "feature":
            style.norm_bar(figure, image, below, times)
        else:
            names = " and ".join(dict.fromkeys(filter(None, map(attention_name, maps))))
            style.scale_bar(figure, image, below, f"{names} / uniform  (blue: over the scale)")


def _label(axis, data, layer, several):
    name = layer if several else ""
    if layer == "attention" and attention_name(data) == RECEIVED:
        name = f"{RECEIVED}\n(no CLS)"
    text = style.short(data.attrs["backbone"]) + (f"\n{name}" if name else "")
    axis.text(-0.05, 0.5, text, transform=axis.transAxes, ha="right", va="center", fontsize=7)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"figure {w.figure}"):
        main(
            files=snakemake.input, layers=p.layers, images=p.images, outputs=snakemake.output,
            times=p.times,
        )  # fmt: skip
