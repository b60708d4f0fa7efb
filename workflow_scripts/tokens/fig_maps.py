"""Figures 1, 2 and 5: attention and feature maps of the gallery images, one figure a family."""

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


def main(files, layers, outputs, times):
    """Photographs on top, then a row of maps for each backbone and layer, on common scales.

    Args:
        files: maps of the gallery (NetCDF), one a backbone.
        layers: ``attention``, ``feature`` or both.
        outputs: files of the figure, one a format.
        times: the outlier rule's multiple of the median: patches above it are marked.
    """
    maps = [maps_file.load(file) for file in files]
    rows = [(data, layer) for data in maps for layer in layers]
    images = maps[0].sizes["image"]
    scale = {"feature": style.norm_scale(times)}
    seen = [relative_attention(data) for data in maps if attention_name(data)]
    scale["attention"] = style.attention_scale(np.concatenate([s.ravel() for s in seen] or [[1]]))
    figure, axes = style.plt.subplots(
        len(rows) + 1, images, figsize=(1.25 * images + 1.3, 1.22 * (len(rows) + 1) + 0.2),
        squeeze=False,
    )  # fmt: skip
    for axis, pixels in zip(axes[0], maps[0]["pixels"].values.astype(np.uint8), strict=True):
        style.picture(axis, pixels)
    shown = {}
    for line, (data, layer) in zip(axes[1:], rows, strict=True):
        _label(line[0], data, layer, len(layers) > 1)
        if layer == "attention" and not attention_name(data):
            for axis in line:
                axis.axis("off")
            line[0].text(0, 0.5, "no CLS token: its attention map is undefined", va="center")
            continue
        values = relative_attention(data) if layer == "attention" else relative_norm(data)
        for axis, panel in zip(line, values, strict=True):
            shown[layer] = style.picture(
                axis, panel, norm=scale[layer], cmap=style.cmap(COLOURS[layer])
            )
    half = images // 2
    for number, (layer, image) in enumerate(shown.items()):
        below = axes[:, slice(None) if len(shown) == 1 else slice(number * half, images)]
        below = below[:, :half] if len(shown) > 1 and number == 0 else below
        if layer == "feature":
            style.norm_bar(figure, image, below, times)
        else:
            names = " and ".join(dict.fromkeys(filter(None, map(attention_name, maps))))
            style.scale_bar(figure, image, below, f"{names} / uniform  (blue: over the scale)")
    style.save(figure, outputs)


COLOURS = {"attention": "magma", "feature": "viridis"}


def _label(axis, data, layer, several):
    name = layer if several else ""
    if layer == "attention" and attention_name(data) == RECEIVED:
        name = f"{RECEIVED}\n(no CLS)"
    text = style.short(data.attrs["backbone"]) + (f"\n{name}" if name else "")
    axis.text(-0.05, 0.5, text, transform=axis.transAxes, ha="right", va="center", fontsize=7)


if "snakemake" in globals():
    w = snakemake.wildcards
    with job(snakemake.log[0], f"figure {w.figure} {w.family}"):
        main(
            files=snakemake.input, layers=snakemake.params.layers, outputs=snakemake.output,
            times=snakemake.params.times,
        )  # fmt: skip
