"""Where on the patch grid the position and pixel probes of claim 4 err."""

import numpy as np

from tokenscope.figures import style
from tokenscope.figures.sheet import sheet
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.tidy import by_backbone, rows_of

SHOWN = {
    "position_distance": ("position", "distance (patches)"),
    "pixel_l2_squared": ("pixels", "squared L2 per patch"),
}
GROUPS = ("normal", "outlier")
FEW = 3  # tokens at a place: below, its mean is one of chance and drawn pale
NOTE = (
    "Mean error of the test tokens at each place of the patch grid, mean over seeds; the scale is "
    "that of all backbones, cut at the 98th percentile. Pale: fewer than {few} tokens there; grey: "
    "none, or too few to train a probe. Crowded: the group sits in so few places that its position "
    "can be guessed without looking."
)


def main(places, claim4, dataset, outputs):
    """One row of maps per backbone: both errors, for normal and for outlier tokens.

    Args:
        places: CSV with the mean error of each group at each place of the grid (rule probe_curves).
        claim4: table of tidy rows.
        dataset: the data set shown.
        outputs: files of the figure, one a format of each page.
    """
    places = tidy.read_table(places).query("dataset == @dataset")
    claim4 = tidy.read(claim4).query("dataset == @dataset")
    tops = {
        metric: float(np.nanpercentile(found, 98)) if len(found) else 1.0
        for metric in SHOWN
        for found in [places.loc[places["metric"] == metric, "value"].dropna()]
    }
    for groups, files in style.pages(outputs, list(by_backbone(claim4))):
        _page(groups, places, tops, files)


def _page(groups, places, tops, outputs):
    if not groups:
        return style.blank(outputs, "no backbone was probed")
    names = [style.short("/".join((w["family"], w["size"], w["registers"]))) for w, _ in groups]
    above = [0.28, *[0.15] * (len(groups) - 1)]
    page = sheet(
        len(groups), 4, left=style.margin(names), above=above, blocks=2, largest=1.05
    )  # fmt: skip
    shown = {}
    for number, (who, rows) in enumerate(groups):
        page.beside(number, names[number])
        for pair, (metric, (title, _)) in enumerate(SHOWN.items()):
            table = rows_of(places, **who, metric=metric)
            if number == 0:
                page.over(0, 2 * pair, title, 1)
            for axis, group in zip(page.axes[number, 2 * pair :], GROUPS, strict=False):
                crowded = pair == 0 and _confounded(rows, group)
                drawn = _map(axis, table[table["group"] == group], group, tops[metric], crowded)
                shown |= {metric: drawn} if drawn else {}
    for number, metric in enumerate(shown):
        page.bar(shown[metric], SHOWN[metric][1], number, len(shown))
    style.note(page.figure, NOTE.format(few=FEW))
    style.save(page.figure, outputs)


def _confounded(rows, group):
    """Whether a group's places could be guessed without looking."""
    rows = rows_of(rows, group=group, metric="position_confounded")
    return bool(len(rows) and rows["value"].iloc[0] == 1)


def _map(axis, rows, group, top, crowded):
    """The map of one group; None where none of its tokens was measured."""
    tokens = int(rows["tokens"].sum()) if len(rows) else 0
    axis.set_title(f"{group}, {tokens:,}{', crowded' * crowded}", fontsize=6, pad=2)
    if not tokens:
        style.picture(axis, np.full((1, 1), np.nan), cmap=style.cmap())
        return None
    grid, count = (
        rows.pivot_table(index="row", columns="column", values=name, dropna=False).to_numpy()
        for name in ("value", "tokens")
    )
    style.picture(axis, np.full_like(grid, np.nan), cmap=style.cmap())
    sure = np.where(np.nan_to_num(count) < FEW, 0.45, 1.0)
    return style.picture(axis, grid, cmap=style.cmap(), vmin=0, vmax=top, alpha=sure)


if "snakemake" in globals():
    i, w = snakemake.input, snakemake.wildcards
    with job(snakemake.log[0], f"figure error maps {w.dataset}"):
        main(places=i.places, claim4=i.claim4, dataset=w.dataset, outputs=list(snakemake.output))
