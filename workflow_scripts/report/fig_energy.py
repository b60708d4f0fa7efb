"""Where the energy of the study went, and how well its forecast was."""

import numpy as np
import pandas as pd

from tokenscope.cost.accounting import DONE
from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.tables.tidy import backbone_names

WORK = {"new": style.BLUE, "reused": style.SKY, "spent": style.ORANGE}
PARTS = {"gpu_kwh": ("GPU", style.VERMILION), "cpu_kwh": ("CPU", style.SKY)}
PART_NAMES = {
    **{f"claim{n}": f"claim {n}" for n in range(1, 6)}, "dense": "dense tasks",
    "discovery": "object discovery", "kinds": "kinds of artifacts",
    "testtime": "test-time registers", "shared": "for several of them", "training": "training",
}  # fmt: skip
MOST = 40  # backbones with bars; the rest is one bar
SECONDS = 60  # of extractions: below, start-up is most of what they took


def main(jobs, site, energy, forecast, images):
    """Three figures from ``tables/accounting.csv``.

    Args:
        jobs: that table, one row an attempt of a job.
        site: the fields of a :class:`tokenscope.cost.carbon.Site`.
        energy, forecast, images: paths of each figure, one a format: energy in kWh by claim and by
            backbone, measured against forecast seconds, g CO2 per 1,000 images by backbone.
    """
    texts = ["family", "size", "registers", "gpu_method", "cpu_method"]
    rows = pd.read_csv(jobs, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(texts, str))
    rows[texts] = rows[texts].fillna("")
    rows["backbone"] = backbone_names(rows).where(rows["registers"] != "", "no backbone")
    energies(rows, energy)
    forecasts(rows, forecast)
    by_backbone(rows, site, images)


def scale(values):
    """A unit in which the largest value is at least one: (factor, name)."""
    return (1e3, "Wh") if values.max() < 1 else (1.0, "kWh")


def how(rows):
    """In a few words: which share of the energy was measured."""
    kwh = rows["kwh"].sum()
    measured = sum(
        rows.loc[~rows[f"{p}_method"].str.startswith("formula"), f"{p}_kwh"].sum()
        for p in ("gpu", "cpu")
    )
    if not measured:
        return "energy is power x time: no counter could be read"
    return f"{measured / kwh:.0%} of the energy by counters, the rest power x time"


def energies(rows, outputs):
    """Energy by claim, new and reused work apart, and by backbone, GPU and CPU apart."""
    rows = rows.assign(claim=[PART_NAMES.get(claim, claim) for claim in rows["claim"]])
    claims = rows.pivot_table(
        index="claim", columns="work", values="kwh", aggfunc="sum", fill_value=0
    )
    backbones = rows.groupby("backbone")[list(PARTS)].sum()
    backbones = backbones.loc[backbones.sum(axis=1).sort_values(ascending=False).index]
    if len(backbones) > MOST:
        rest = backbones.iloc[MOST:]
        backbones = backbones.iloc[:MOST]
        backbones.loc[f"{len(rest)} others"] = rest.sum()
    room = max(len(backbones), len(claims), 4)
    tall = 0.17 * room + 1.5
    figure, (left, right) = style.plt.subplots(
        1, 2, figsize=(style.WIDE, min(style.TALL, tall)), width_ratios=[1, 1.3]
    )
    factor, unit = scale(claims.sum(axis=1))
    stacked(
        left, claims * factor, {w: (w, c) for w, c in WORK.items()}, rows.claim.value_counts(), room
    )
    left.set(xlabel=f"energy ({unit})", title="by part of the study")
    factor, unit = scale(backbones.sum(axis=1))
    stacked(right, backbones * factor, PARTS, rows.backbone.value_counts(), room)
    right.set(xlabel=f"energy ({unit})", title="by backbone")
    parts = [f"all is {name}" for name in (_only(claims, WORK), _only(backbones, PARTS)) if name]
    style.note(
        figure,
        "All attempts, number of them in brackets; with backbones that others are made of; "
        f"{'; '.join([*parts, how(rows)])}.",
    )
    style.save(figure, outputs)


def _only(table, parts):
    """The one part that all of a table is of; empty where there are several."""
    seen = [name for name in table if table[name].any()]
    label = parts[seen[0]] if len(seen) == 1 else ""
    return label[0] if isinstance(label, tuple) else seen[0] * bool(label)


def stacked(axis, table, parts, counts, lines):
    """Horizontal bars, one a row, cut into parts, on an axis with room for ``lines`` of them."""
    places, start = np.arange(len(table))[::-1], np.zeros(len(table))
    for column, (label, colour) in parts.items():
        if column in table and table[column].any():
            axis.barh(places, table[column], left=start, color=colour, label=label, height=0.75)
            start += table[column].to_numpy()
    labels = [f"{name} ({counts[name]})" if name in counts else name for name in table.index]
    axis.set_yticks(places, labels, fontsize=6.5)
    axis.set_ylim(len(table) - lines - 0.6, len(table) - 0.4)
    if len(axis.get_legend_handles_labels()[1]) > 1:
        axis.legend(loc="lower right", ncols=1)


def forecasts(rows, outputs):
    """Measured against forecast seconds of each finished job, with the forecast's interval."""
    known = rows[rows["state"].isin(DONE) & rows["forecast_seconds"].notna()]
    figure, axis = style.plt.subplots(figsize=(4.4, 3.6))
    if len(known):
        last = known["run"].eq(known["run"].max())
        for i, (rule, group) in enumerate(
            sorted(known.groupby("rule"), key=lambda item: -item[1]["seconds"].sum())
        ):
            shown = i < len(style.PALETTE) - 1
            colour = style.PALETTE[i] if shown else "0.6"
            axis.scatter(
                group["forecast_seconds"], group["seconds"], s=12, zorder=3, linewidths=0.7,
                marker="o" if shown else "D", edgecolors=colour,
                facecolors=[colour if new else "white" for new in last[group.index]],
            )  # fmt: skip
            axis.errorbar(
                group["forecast_seconds"], group["seconds"],
                xerr=[group["forecast_seconds"] - group["forecast_low"],
                      group["forecast_high"] - group["forecast_seconds"]],
                fmt="none", elinewidth=0.3, alpha=0.6, ecolor=colour, zorder=2,
            )  # fmt: skip
            axis.scatter(
                [], [], s=12, color=colour, marker="o" if shown else "D",
                label=rule.replace("_", " ") if shown
                else "other rules" if i == len(style.PALETTE) - 1 else None,
            )  # fmt: skip
        ends = np.array([known[["forecast_seconds", "seconds"]].min().min() / 2,
                         known[["forecast_seconds", "seconds"]].max().max() * 2])  # fmt: skip
        axis.plot(ends, ends, color="0.3", lw=0.8)
        for factor in (1.5, 1 / 1.5):
            axis.plot(ends, ends * factor, color="0.3", lw=0.5, ls=":")
        axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        axis.legend(loc="upper left", fontsize=6)
        new = known[last]
        ratio = new["seconds"].sum() / new["forecast_seconds"].sum()
        style.note(
            figure, f"{len(known)} jobs, those of earlier runs hollow. Bars: 90 % interval of the "
            "forecast; dotted: factor 1.5. Last run: measured / forecast in sum "
            f"{ratio:.2f} ({len(new)} jobs).",
        )  # fmt: skip
        for direction in (axis.xaxis, axis.yaxis):
            style.plain_log(direction)
    else:
        axis.text(0.5, 0.5, "no job has a forecast", ha="center", transform=axis.transAxes)
    axis.set(
        xlabel="forecast before the run (seconds, log scale)",
        ylabel="measured (seconds, log scale)",
    )
    style.save(figure, outputs)


def by_backbone(rows, site, outputs):
    """CO2 of a thousand images through each backbone: all attempts of its extractions."""
    extractions = rows[(rows["rule"] == "extract") & (rows["work"] != "spent")]
    took = extractions.groupby("backbone")["seconds"].sum()
    short = set(took[took < SECONDS].index)
    extractions = extractions[~extractions["backbone"].isin(short)]
    sums = extractions.groupby(["family", "backbone"], sort=False)[["co2_kg", "images"]].sum()
    sums = sums[sums["images"] > 0]
    grams = (1e6 * sums["co2_kg"] / sums["images"]).sort_values(ascending=False)
    if not len(grams):
        return style.blank(outputs, f"no extraction took {SECONDS} s: start-up is most of it")
    figure, axis = style.plt.subplots(
        figsize=(4.4, min(style.TALL, 0.14 * max(len(grams), 4) + 0.6))
    )
    families = list(dict.fromkeys(extractions["family"]))
    for place, ((family, _), value) in enumerate(reversed(list(grams.items()))):
        colour = style.PALETTE[families.index(family) % len(style.PALETTE)]
        axis.barh(place, value, color=colour, height=0.75)
        axis.text(value, place, f" {value:.3g}", va="center", fontsize=6)
    names = [name for _, name in reversed(grams.index.tolist())]
    axis.set_yticks(range(len(grams)), names, fontsize=6.5)
    axis.set_ylim(-0.6, len(grams) - 0.4)
    axis.set(xlabel="g CO2 per 1,000 images", xlim=(0, 1.15 * grams.max()))
    text = f"{len(short)} backbones below {SECONDS} s left out; " * bool(short)
    text += f"extraction, start-up included; {site['intensity']:g} kg/kWh, PUE {site['pue']:g}; "
    style.note(
        figure,
        text[:1].upper()
        + text[1:]
        + (how(extractions) if len(extractions) else "" if short else "no extraction yet"),
    )
    style.save(figure, outputs)


if "snakemake" in globals():
    out = snakemake.output
    with job(snakemake.log[0], "figures of energy"):
        main(
            jobs=snakemake.input[0],
            site=snakemake.params.site,
            energy=out.energy,
            forecast=out.forecast,
            images=out.images,
        )
