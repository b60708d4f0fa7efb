"""True and predicted maps of a few test images, backbones side by side, and where they err."""

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.patches import Patch

from tokenscope.dense.map_datasets import IGNORE
from tokenscope.figures import style
from tokenscope.figures.sheet import sheet
from tokenscope.jobs.job import job

OTHERS, WRONG = "#4d4d4d", style.OUTLIER
COLOURS = [c for c in matplotlib.colormaps["tab20"].colors if len(set(c)) > 1]  # no greys
OFF = 2.0  # times too near or too far: the ends of the scale of errors


def main(files, depth, names, outputs):
    """A row an image: photograph, true map, and prediction and error of each backbone.

    Args:
        files: maps of rule dense_head (npz), one a backbone, all of the same images.
        depth: whether maps are depth in metres, else classes.
        names: of classes, by number; without them the numbers are shown.
        outputs: paths of the figure.
    """
    backbones = [np.load(file) for file in files]
    count = len(backbones[0]["image_ids"])
    truth = [backbones[0][f"target{i}"] for i in range(count)]
    predicted = [[maps[f"found{i}"] for maps in backbones] for i in range(count)]
    page = sheet(
        count, 2 + 2 * len(backbones), above=[0.4] + [0.0] * (count - 1), largest=1.0, left=0.1,
        heights=[values.shape[0] / values.shape[1] for values in truth], right=0.1,
    )  # fmt: skip
    for axis, title in zip(page.axes[0], ("image", "truth"), strict=False):
        axis.set_title(title, pad=2)
    for number, maps in enumerate(backbones):
        page.over(0, 2 + 2 * number, style.short(str(maps["backbone"])), 1)
        for axis, title in zip(page.axes[0, 2 + 2 * number :], ("found", "error"), strict=False):
            axis.set_title(title, pad=2)
    for i, line in enumerate(page.axes):
        style.picture(line[0], backbones[0][f"image{i}"])
    if depth:
        _depths(page, truth, predicted)
        what = "depth; errors on a scale of depth found over true depth"
    else:
        _classes(page, truth, predicted, names)
        what = "classes; orange-red: wrong"
    style.note(
        page.figure, f"Linear heads on frozen tokens, test images: {what}. Grey: excluded from the "
        "score.",
    )  # fmt: skip
    style.save(page.figure, outputs)


def _depths(page, truth, predicted):
    """Depth on a log scale, and how many times too far or too near."""
    seen = np.concatenate([t[t > 0] for t in truth])
    norm = LogNorm(float(seen.min()), float(seen.max()))
    for line, true, found in zip(page.axes, truth, predicted, strict=True):
        there = true > 0
        shown = _map(line[1], true, there, norm=norm, cmap=style.cmap("magma"))
        for number, values in enumerate(found):
            _map(line[2 + 2 * number], values, values > 0, norm=norm, cmap=style.cmap("magma"))
            off = np.clip(values / np.where(there, true, 1), 1 / OFF, OFF)
            errors = _map(
                line[3 + 2 * number], off, there, norm=LogNorm(1 / OFF, OFF), cmap="PuOr_r"
            )
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100) if norm.vmin <= t <= norm.vmax]
    bar = page.bar(shown, "depth (m), log scale", 0, 2)
    bar.set_ticks(ticks, labels=[f"{t}" for t in ticks])
    bar.minorticks_off()
    bar = page.bar(errors, "found / true depth, log scale", 1, 2, "both")
    bar.set_ticks([1 / OFF, 1, OFF], labels=[f"1/{OFF:g}", "1", f"{OFF:g}"])
    bar.minorticks_off()


def _classes(page, truth, predicted, names):
    """Classes in colours that are the same in all families, and the pixels that are wrong."""
    classes = present(truth, sum(predicted, []))
    colour_of = np.full(IGNORE + 1, len(COLOURS))
    colour_of[classes[: len(COLOURS)]] = np.arange(min(len(classes), len(COLOURS)))
    shades = {"cmap": ListedColormap([*COLOURS, OTHERS]), "vmin": 0, "vmax": len(COLOURS)}
    for line, true, found in zip(page.axes, truth, predicted, strict=True):
        there = true != IGNORE
        _map(line[1], colour_of[true], there, **shades)
        for number, values in enumerate(found):
            _map(line[2 + 2 * number], colour_of[values], values != IGNORE, **shades)
            wrong = (values != true).astype(float)
            both = ListedColormap(["white", WRONG])
            _map(line[3 + 2 * number], wrong, there, cmap=both, vmin=0, vmax=1)
    legend(page.figure, classes, names)


def _map(axis, values, there, **kwargs):
    """A map with grey where nothing counts."""
    cmap = kwargs.pop("cmap")
    cmap = (matplotlib.colormaps[cmap] if isinstance(cmap, str) else cmap).with_extremes(
        bad="#dddddd"
    )
    return style.picture(axis, np.where(there, values, np.nan), cmap=cmap, **kwargs)


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
        handles=shown, loc="lower center", ncols=max(1, round(1.1 * figure.get_figwidth())),
        handlelength=1, handleheight=1, fontsize=6, columnspacing=1,
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
