"""The same backbone without and with registers side by side: attention, norms, patch tokens."""

import numpy as np

from tokenscope.figures import style
from tokenscope.figures.gallery_maps import attention_name, relative_attention, relative_norm
from tokenscope.figures.sheet import sheet
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file

IMAGES = 3
PARTS = ("attention", "norm", "principal components")


def main(pairs, times, outputs):
    """A row an image of each pair: photograph, and each kind of map without and with registers.

    Args:
        pairs: files of gallery maps (NetCDF), of each pair first the backbone without registers.
        times: the outlier rule's multiple of the median: patches above it are marked.
        outputs: files of the figure, one a format.
    """
    if not pairs:
        return style.blank(outputs, "no backbone of this study has a twin with registers")
    data = [[maps_file.load(file).isel(image=slice(IMAGES)) for file in pair] for pair in pairs]
    seen = [relative_attention(d).ravel() for pair in data for d in pair if attention_name(d)]
    scales = style.norm_scale(times), style.attention_scale(np.concatenate(seen or [np.ones(1)]))
    images = data[0][0].sizes["image"]
    page = sheet(
        len(data) * images, 8, blocks=4, largest=0.8,
        above=([0.42] + [0.0] * (images - 1)) * len(data),
    )  # fmt: skip
    shown = {}
    for number, (without, with_them) in enumerate(data):
        top = number * images
        names = [style.short(d.attrs["backbone"]).replace("\n", " ") for d in (without, with_them)]
        page.over(top, 0, f"{names[0]}  |  {names[1]}", 2)
        for block, part in enumerate(PARTS, start=1):
            page.over(top, 2 * block, part, 1)
            for side, name in enumerate(("without", "with")):
                page.axes[top, 2 * block + side].set_title(name, pad=2)
        for i in range(images):
            line = page.axes[top + i]
            style.picture(_wide(page, line), without["pixels"].values[i].astype(np.uint8))
            for side, maps in enumerate((without, with_them)):
                shown |= _maps(line[2 + side :: 2], maps, i, scales)
    for number, part in enumerate(shown):
        if part == "norm":
            style.norm_bar(page, shown[part], times, number, len(shown))
        else:
            style.attention_bar(page, shown[part], "attention", number, len(shown))
    style.note(
        page.figure,
        "Each backbone's own scale of norms. Principal components: the first three of all these "
        "patch tokens as red, green and blue, each backbone's own, so that colours compare within "
        "a backbone.",
    )
    style.save(page.figure, outputs)


def _wide(page, line):
    """One panel in the middle of the first two, which are left out."""
    first, second = (axis.get_position() for axis in line[:2])
    middle = (first.x0 + second.x1) / 2
    return page.figure.add_axes((middle - first.width / 2, first.y0, first.width, first.height))


def _maps(line, data, image, scales):
    """The three maps of one backbone in every other panel; by kind what was drawn on a scale."""
    norms, attention = scales
    shown = {}
    if attention_name(data):
        values = relative_attention(data)[image]
        shown["attention"] = style.picture(
            line[0], values, norm=attention, cmap=style.cmap(style.ATTENTION)
        )
    else:
        line[0].text(0.5, 0.5, "no CLS", ha="center", va="center")
    values = relative_norm(data)[image]
    shown["norm"] = style.picture(line[1], values, norm=norms, cmap=style.cmap())
    if "principal" in data:
        style.picture(line[2], data["principal"].values[image].astype(np.uint8))
    else:  # maps of an earlier version
        line[2].text(0.5, 0.5, "not kept", ha="center", va="center")
    return shown


if "snakemake" in globals():
    w, files = snakemake.wildcards, list(snakemake.input)
    with job(snakemake.log[0], f"figure of pairs {w.dataset}{w.page}"):
        main(
            pairs=[files[i : i + 2] for i in range(0, len(files), 2)],
            times=snakemake.params.times, outputs=list(snakemake.output),
        )  # fmt: skip
