"""Published against ours: every number of the sources that this study measures, one point each."""

import numpy as np
import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables import tidy
from tokenscope.tables.beside import beside

MOST = 6  # units with a panel of their own: those with most figures
FAR = 3  # points of a panel that are named: those furthest from the line


def main(tables, published, outputs):
    """A panel a unit: published across, ours up with its interval, equality as a line.

    Args:
        tables: tables of tidy rows (CSV). published: ``config/published.csv``.
        outputs: files of the figure, one a format.
    """
    read = {str(number): tidy.read(file) for number, file in enumerate(tables)}
    compared = beside(pd.read_csv(published), read)
    compared["here"] = pd.to_numeric(compared["here"])
    known = compared[compared["here"].notna()]
    if not len(known):
        return style.blank(
            outputs, f"none of {len(compared)} published numbers is measured in this study: its "
            "backbones are others",
        )  # fmt: skip
    units = known["unit"].value_counts().index[:MOST]
    figure, axes = style.panels(len(units), columns=3, height=2.1)
    looks = dict(zip(dict.fromkeys(known["source"]), style.lines(), strict=False))
    for axis, unit in zip(axes, units, strict=True):
        rows = compared[compared["unit"] == unit]
        _panel(axis, rows[rows["here"].notna()], rows[rows["here"].isna()], looks)
        axis.set(title=unit or "without unit", xlabel="published", ylabel="this study")
    handles = [
        style.plt.Line2D([], [], ls="", color=look["color"], marker=look["marker"], ms=4)
        for look in looks.values()
    ]
    figure.legend(handles, looks, loc="outside lower center", ncols=4, fontsize=6)
    style.note(
        figure,
        f"{len(known)} of {len(compared)} published numbers are measured here; ticks on the lower "
        "edge: the others. Filled: on the same images; hollow: on other images, or a bound. Bars: "
        "intervals of this study. Line: equal. Named: the furthest from it.",
    )
    style.save(figure, outputs)


def _panel(axis, rows, absent, looks):
    rows = rows.assign(published=rows["published"].astype(float))
    for source, own in rows.groupby("source", sort=False):
        look = looks[source]
        ends = np.abs(own[["low", "high"]].to_numpy(float).T - own["here"].to_numpy())
        same = own["difference"].notna()
        for part, face in ((same, look["color"]), (~same, "white")):
            axis.errorbar(
                own.loc[part, "published"], own.loc[part, "here"],
                np.nan_to_num(ends)[:, part.to_numpy()], fmt=look["marker"], ms=3, lw=0.7,
                color=look["color"], mfc=face,
            )  # fmt: skip
    both = rows[["published", "here"]].to_numpy()
    room = 0.06 * (both.max() - both.min() or 1)
    ends = both.min() - room, both.max() + room
    axis.plot(ends, ends, color="0.5", lw=0.6, zorder=0)
    axis.set(xlim=ends, ylim=ends)
    others = absent["published"].astype(float)
    axis.plot(others, np.zeros(len(others)), "|", color="0.5", ms=5, mew=0.5,
              transform=axis.get_xaxis_transform())  # fmt: skip
    off = rows["difference"].abs().sort_values(ascending=False, kind="stable").head(FAR)
    for row in rows.loc[off.dropna().index].itertuples():
        left = row.published > np.mean(ends)
        axis.annotate(
            f"{row.family} {row.size} {row.registers}", (row.published, row.here),
            xytext=(-4 if left else 4, -2), textcoords="offset points", fontsize=5.5,
            ha="right" if left else "left",
        )  # fmt: skip


if "snakemake" in globals():
    with job(snakemake.log[0], "figure of published figures"):
        main(
            tables=snakemake.input.tables, published=snakemake.input.published,
            outputs=list(snakemake.output),
        )  # fmt: skip
