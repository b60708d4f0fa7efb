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
    figure = style.plt.figure(figsize=(7.4, 2.05 * len(backbones)))
    parts = figure.subfigures(len(backbones), 1, squeeze=False)[:, 0]
    # The same photograph in every line: the one in which the first backbone has most outliers.
    over = relative_norm(backbones[0].maps) > rules["times_median"]
    image = int(over.mean((1, 2)).argmax())
    for part, backbone in zip(parts, backbones, strict=True):
        line = part.subplots(1, 5, width_ratios=[1, 1, 1, 1.55, 1.2])
        _maps(line[:3], backbone, image, rules)
        onset = backbone.verdict["evidence"]["onset"]
        norms_by_block(line[3], backbone.curves, onset, rules["times_median"])
        line[3].set(xlabel="block", ylabel="norm", title="norms of all patches")
        line[3].margins(y=0.06)
        outlier_places(part, line[4], backbone, rules)
        part.suptitle(f"{backbone.name}\n{backbone.verdict['sentence']}", fontsize=8, weight="bold")
    return figure


def _maps(line, backbone: BackboneFigures, image: int, rules: dict) -> None:
    """Photograph, attention and norms of one gallery image."""
    style.picture(line[0], backbone.maps["pixels"].values[image].astype(np.uint8))
    line[0].set_title("image")
    _attention(line[1], backbone, image)
    line[1].set_title(attention_name(backbone.maps) or "attention")
    scale = style.norm_scale(rules["times_median"])
    style.picture(line[2], relative_norm(backbone.maps)[image], norm=scale, cmap=style.cmap())
    line[2].set_title("feature norm")


def _attention(axis, backbone: BackboneFigures, image: int) -> None:
    if not attention_name(backbone.maps):
        axis.axis("off")
        axis.text(0.5, 0.5, "no CLS token", ha="center", va="center", fontsize=7)
        return
    values = relative_attention(backbone.maps)
    style.picture(axis, values[image], norm=style.attention_scale(values), cmap=style.cmap("magma"))


def norms_by_block(axis, curves: pd.DataFrame, onset: float, times: float):
    """Density of the norms after each block, a multiple of the median in red; the colour mesh.

    ``onset``: where outliers begin, a dashed line; NaN where they do not.
    """
    grid = curves.pivot_table(index="norm", columns="block", values="density", sort=True)
    shown = axis.pcolormesh(
        grid.columns, grid.index, np.where(grid > 0, grid, np.nan), norm=LogNorm(1e-3, 10),
        cmap="viridis", shading="nearest", rasterized=True,
    )  # fmt: skip
    medians = curves.groupby("block")["median"].first()
    axis.plot(medians.index, cutoff_of_median(medians, times), color=style.OUTLIER, lw=1)
    if np.isfinite(onset):
        axis.axvline(onset - 0.5, color="0.5", lw=0.8, ls="--")
    axis.set(yscale="log")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    style.plain_log(axis.yaxis)
    return shown


def outlier_places(figure, axis, backbone: BackboneFigures, rules: dict) -> None:
    """How often each place of the patch grid holds an outlier, in percent of the images."""
    grid = backbone.places.pivot(index="row", columns="column", values="judged").values
    shown = style.picture(axis, grid, cmap="magma", vmin=0, vmax=max(1.0, float(grid.max())))
    axis.set_title("outlier here")
    bar = figure.colorbar(shown, ax=axis, aspect=15, shrink=0.8, label="% of images")
    bar.outline.set_visible(False)


def share_by_block(backbones: list[BackboneFigures], rules: dict):
    """Share of tokens over the cutoff after each block, a line a backbone, with intervals."""
    figure, axis = style.plt.subplots(figsize=(3.6, 2.2))
    metric = share_metric(rules["times_median"])
    for number, backbone in enumerate(backbones):
        rows = backbone.rows
        line = rows[(rows["metric"] == metric) & rows["group"].str.fullmatch(r"block\d+")]
        blocks = np.arange(1, len(line) + 1)
        colour = style.PALETTE[number]
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
    figure, axis = style.plt.subplots(figsize=(3.6, 2.2))
    for number, backbone in enumerate(backbones):
        rows, colour = backbone.curves, style.PALETTE[number]
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
        axis.legend()
    return figure


def gallery(backbone: BackboneFigures, rules: dict):
    """Every gallery image with its attention and feature map, on common scales."""
    images = backbone.maps.sizes["image"]
    columns = min(ACROSS, images)
    lines = -(-images // columns)
    kinds = ["attention", "feature"] if attention_name(backbone.maps) else ["feature"]
    figure, axes = style.plt.subplots(
        lines * (len(kinds) + 1), columns, squeeze=False,
        figsize=(max(5.0, 1.2 * columns + 0.4), 1.2 * lines * (len(kinds) + 1) + 0.5),
    )  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    norms, shown = relative_norm(backbone.maps), {}
    for image in range(images):
        column, top = image % columns, image // columns * (len(kinds) + 1)
        style.picture(axes[top, column], backbone.maps["pixels"].values[image].astype(np.uint8))
        for below, kind in enumerate(kinds, start=1):
            axis = axes[top + below, column]
            axis.axis("on")
            values = relative_attention(backbone.maps) if kind == "attention" else norms
            scale = (
                style.attention_scale(values) if kind == "attention"
                else style.norm_scale(rules["times_median"])
            )  # fmt: skip
            colours = style.cmap("magma" if kind == "attention" else "viridis")
            shown[kind] = style.picture(axis, values[image], norm=scale, cmap=colours)
    left = max(1, columns // 2)
    if "attention" in shown:
        style.scale_bar(
            figure, shown["attention"], axes[:, :left],
            f"{attention_name(backbone.maps)} / uniform  (blue: over the scale)",
        )  # fmt: skip
    style.norm_bar(
        figure, shown["feature"], axes[:, left if len(kinds) > 1 and columns > 1 else 0 :],
        rules["times_median"],
    )  # fmt: skip
    return figure
