"""Figures of one backbone at a glance: its maps, its norms block by block, where outliers sit."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from tokenscope.figures import style
from tokenscope.figures.gallery_maps import attention_name, relative_attention, relative_norm
from tokenscope.figures.sheet import sheet
from tokenscope.norms.outlier_rule import cutoff_of_median, share_metric
from tokenscope.stores import maps_file

ACROSS = 6  # gallery images in one line


@dataclass(frozen=True)
class BackboneFigures:
    """What the figures of a backbone are drawn from.

    ``curves`` and ``places`` are tables of rule norms, ``maps`` the gallery at native size,
    ``rows`` its tidy rows, which the overview does without.
    """

    name: str
    verdict: dict
    curves: pd.DataFrame
    places: pd.DataFrame
    maps: xr.Dataset
    rows: pd.DataFrame | None = None

    @classmethod
    def of(cls, name: str, verdict: str, curves, places, maps: str, rows=None) -> "BackboneFigures":
        """The same, with verdict and maps read from their files."""
        verdict = json.loads(Path(verdict).read_text())
        maps = maps_file.load(maps)
        return cls(name, verdict, curves, places, maps, rows)

    @property
    def depth(self) -> int:
        return int(self.curves["block"].max())


def overview(backbones: list[BackboneFigures], rules: dict):
    """A line a backbone: a photograph and its two maps, norms by block, outliers by place."""
    figure = style.plt.figure(figsize=(style.WIDE, 1.3 * len(backbones) + 0.1))
    axes = figure.subplots(
        len(backbones), 5, squeeze=False, width_ratios=[1, 1, 1, 1.5, 1.2], sharey="col"
    )
    # The same photograph in every line: the one in which the first backbone has most outliers.
    over = relative_norm(backbones[0].maps) > rules["times_median"]
    image = int(over.mean((1, 2)).argmax())
    places = [one.places.pivot(index="row", columns="column", values="judged") for one in backbones]
    top = max(1.0, *(float(grid.max(axis=None)) for grid in places))
    attention = [relative_attention(b.maps).ravel() for b in backbones if attention_name(b.maps)]
    scale = style.attention_scale(np.concatenate(attention or [np.ones(1)]))
    ends = []
    for line, backbone, grid in zip(axes, backbones, places, strict=True):
        _maps(line[:3], backbone, image, rules, scale)
        onset = backbone.verdict["evidence"]["onset"]
        norms_by_block(line[3], backbone.curves, onset, rules["times_median"])
        ends += line[3].get_ylim()
        line[3].set(xlabel="block", ylabel="norm")
        shown = _places(line[4], grid, top)
        line[0].set_ylabel(style.short(backbone.name))
    axes[0, 3].set_ylim(min(ends), max(ends))
    for axis, title in zip(
        axes[0],
        ("image", attention_name(backbones[0].maps) or "attention", "norm", "norms of all patches",
         "outlier there"), strict=True,
    ):  # fmt: skip
        axis.set_title(title)
    bar = figure.colorbar(shown, ax=list(axes[:, 4]), aspect=15, shrink=0.8, label="% of images")
    bar.outline.set_visible(False)
    return figure


def _places(axis, grid, top: float):
    """How often each place holds an outlier, on a scale up to ``top``; that there is none."""
    shown = style.picture(axis, grid.to_numpy(), cmap="magma", vmin=0, vmax=top)
    if not grid.max(axis=None) > 0:
        middle = (np.array(grid.shape) - 1) / 2
        axis.text(*middle[::-1], "none", color="white", ha="center", va="center")
    return shown


def _maps(line, backbone: BackboneFigures, image: int, rules: dict, scale) -> None:
    """Photograph, attention and norms of one gallery image."""
    style.picture(line[0], backbone.maps["pixels"].values[image].astype(np.uint8))
    if attention_name(backbone.maps):
        values = relative_attention(backbone.maps)[image]
        style.picture(line[1], values, norm=scale, cmap=style.cmap(style.ATTENTION))
    else:
        line[1].axis("off")
        line[1].text(0.5, 0.5, "no CLS token", ha="center", va="center")
    norms = relative_norm(backbone.maps)[image]
    style.picture(line[2], norms, norm=style.norm_scale(rules["times_median"]), cmap=style.cmap())


def norms_by_block(axis, curves: pd.DataFrame, onset: float, times: float):
    """Density of the norms after each block, what is over the cutoff in red; the colour mesh.

    ``onset``: where outliers begin, a dashed line; NaN where they do not. Outliers of nearly one
    norm are drawn with a least height, and there is room above them.
    """
    grid = curves.pivot_table(index="norm", columns="block", values="density", sort=True)
    medians = curves.groupby("block")["median"].first()
    cutoffs = cutoff_of_median(medians, times)
    values = np.where(grid > 0, grid, np.nan)
    over = grid.index.to_numpy()[:, None] > cutoffs.reindex(grid.columns).to_numpy()
    shown = axis.pcolormesh(
        grid.columns, grid.index, np.where(over, np.nan, values), norm=LogNorm(1e-3, 10),
        cmap="viridis", shading="nearest", rasterized=True,
    )  # fmt: skip
    norms, seen = grid.index.to_numpy(), over & np.isfinite(values)
    low, high = norms[0], norms[np.isfinite(values).any(1)].max(initial=cutoffs.max())
    least = (high / low) ** 0.03  # half of the least height
    for number, block in enumerate(grid.columns):
        for norm in norms[seen[:, number]]:
            axis.fill_between(
                [block - 0.5, block + 0.5], norm / least, norm * least, color=style.OUTLIER, lw=0
            )
    axis.plot(medians.index, cutoffs, color=style.OUTLIER, lw=1)
    if np.isfinite(onset):
        axis.axvline(onset - 0.5, color="0.5", lw=0.8, ls="--")
    axis.set(yscale="log", ylim=(low, 1.5 * high))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    style.plain_log(axis.yaxis)
    return shown


def share_by_block(backbones: list[BackboneFigures], rules: dict):
    """Share of tokens over the cutoff after each block, a line a backbone, with intervals."""
    figure, axis = style.plt.subplots(figsize=(style.NARROW, 2.0))
    metric = share_metric(rules["times_median"])
    for number, backbone in enumerate(backbones):
        rows = backbone.rows
        line = rows[(rows["metric"] == metric) & rows["group"].str.fullmatch(r"block\d+")]
        blocks = np.arange(1, len(line) + 1)
        colour = style.PALETTE[number % len(style.PALETTE)]
        axis.plot(blocks, line["value"], color=colour, marker=".", ms=4, label=backbone.name)
        axis.fill_between(blocks, line["low"], line["high"], color=colour, alpha=0.2, lw=0)
    axis.axhline(rules["min_share"], color="0.5", lw=0.6, ls=":")
    axis.set_yscale("symlog", linthresh=rules["min_share"])
    axis.set(
        ylim=(0, 100), xlabel="block", ylabel=f"tokens over {rules['times_median']:g} x median (%)"
    )
    axis.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axis.xaxis.get_major_locator().set_params(integer=True)
    if len(backbones) > 1:
        axis.legend()
    return figure


def last_block(backbones: list[BackboneFigures], rules: dict):
    """Density of the norms after the last block with its interval, and the cutoffs."""
    figure, axis = style.plt.subplots(figsize=(style.NARROW, 2.0))
    for number, backbone in enumerate(backbones):
        rows, colour = backbone.curves, style.PALETTE[number % len(style.PALETTE)]
        rows = rows[rows["block"] == backbone.depth]
        x = rows["norm"] / rows["median"].iloc[0]
        axis.fill_between(x, rows["low"], rows["high"], color=colour, alpha=0.25, lw=0, step="mid")
        axis.step(x, rows["density"], color=colour, where="mid", label=backbone.name)
    axis.axvline(rules["times_median"], color=style.OUTLIER, lw=0.8)
    axis.set(
        xscale="log", yscale="log", ylim=(1e-3, 60), xlabel="norm / median, last block",
        ylabel="density over log10 norm",
    )  # fmt: skip
    style.plain_log(axis.xaxis)
    if len(backbones) > 1:
        axis.legend(loc="upper left", fontsize=6)
    return figure


def gallery(backbone: BackboneFigures, rules: dict):
    """Every gallery image with its attention and feature map, on common scales."""
    images = backbone.maps.sizes["image"]
    columns = min(ACROSS, images)
    lines = -(-images // columns)
    kinds = ["attention", "feature"] if attention_name(backbone.maps) else ["feature"]
    high = len(kinds) + 1
    page = sheet(lines * high, columns)
    norms = relative_norm(backbone.maps)
    values = {"feature": (norms, style.norm_scale(rules["times_median"]), "viridis")}
    if len(kinds) > 1:
        attention = relative_attention(backbone.maps)
        values["attention"] = attention, style.attention_scale(attention), style.ATTENTION
    shown = {}
    for image in range(images):
        column, top = image % columns, image // columns * high
        pixels = backbone.maps["pixels"].values[image].astype(np.uint8)
        style.picture(page.axes[top, column], pixels)
        for below, kind in enumerate(kinds, start=1):
            maps, scale, colours = values[kind]
            shown[kind] = style.picture(
                page.axes[top + below, column], maps[image], norm=scale, cmap=style.cmap(colours)
            )
    if "attention" in shown:
        style.attention_bar(page, shown["attention"], attention_name(backbone.maps), 0, 2)
    style.norm_bar(page, shown["feature"], rules["times_median"], len(kinds) - 1, len(kinds))
    return page.figure
