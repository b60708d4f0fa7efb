"""Claim 2 in two figures: the share of outlier tokens against depth and against size."""

import textwrap

import numpy as np

from tokenscope.figures import style
from tokenscope.norms.outlier_rule import share_metric
from tokenscope.study.register_names import register_count
from tokenscope.tables.tidy import BACKBONE_COLUMNS, KIND_COLUMNS


def by_depth(claim2, rules, outputs):
    """Share of outlier tokens against depth, a panel a family; what is zero throughout is named.

    Args:
        claim2: tidy rows. rules: the section ``outliers`` of the config.
        outputs: files of the figure, one a format.
    """
    metric, least = share_metric(rules["times_median"]), rules["min_share"]
    table = claim2[claim2["metric"] == metric]
    highest = table.groupby(["family", "size", "registers"], sort=False)["value"].max()
    none = {
        family: [" ".join(key[1:]) for key, value in rows.items() if not value > 0]
        for family, rows in highest.groupby("family", sort=False)
    }
    have = [family for family, rows in highest.groupby("family", sort=False) if rows.max() > 0]
    what = f"tokens over {rules['times_median']:g} x median"
    if not have:
        return style.blank(outputs, f"no backbone has {what} in any block")
    figure, axes = style.panels(len(have), columns=3, height=1.8, sharey=True)
    for axis, family in zip(axes, have, strict=True):
        axis.set(ylim=(0, 100), xlim=(0, 1.02))
        axis.set_title(_with_none(family, none.pop(family)), fontsize=6)
        axis.set_yscale("symlog", linthresh=least)
        axis.axhline(least, color="0.5", lw=0.6, ls=":")
        looks = style.lines()
        own = table[table["family"] == family]
        for (size, registers), line in own.groupby(["size", "registers"], sort=False):
            if not line["value"].max() > 0:
                continue
            look = next(looks)
            depth = np.arange(1, len(line) + 1) / len(line)
            axis.fill_between(
                depth, line["low"], line["high"], where=line["value"] > 0, color=look["color"],
                alpha=0.12, lw=0,
            )  # fmt: skip
            axis.plot(depth, line["value"], label=f"{size} {registers}", **look)
        count = len(axis.get_legend_handles_labels()[1])
        axis.legend(
            fontsize=6 if count <= 6 else 5, loc="upper left", handlelength=2.2,
            ncols=1 if count <= 6 else 2, borderaxespad=0.1, labelspacing=0.2,
        )  # fmt: skip
        axis.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    figure.supxlabel("depth (block / all blocks)")
    figure.supylabel(f"{what} (%)")
    others = "; ".join(f"{family}: {', '.join(names)}" for family, names in none.items())
    style.note(
        figure,
        f"Dotted: {least:g} %, the least share that counts; below it the scale is linear. Bands: "
        "over images, where there is such a token. Backbones without one in any block are named, "
        "not drawn." + f" Families without any: {others}." * bool(others),
    )
    style.save(figure, outputs)


def _with_none(family, names):
    """The head of a panel: its family, and which backbones of it have no outlier anywhere."""
    if not names:
        return family
    joined = ", ".join(name.replace(" ", "\N{NO-BREAK SPACE}") for name in names)
    text = textwrap.wrap(f"none in any block: {joined}", 44, break_on_hyphens=False)
    text = [*text[:4], f"{text[4]} ..."] if len(text) > 5 else text
    return "\n".join([family, *text])


def by_size(claim2, backbones, rules, outputs):
    """Share of outlier tokens at the block with most of them, against the number of parameters.

    Args:
        claim2: tidy rows. backbones: table with the number of parameters of each.
        rules, outputs: as of :func:`by_depth`.
    """
    metric, least = share_metric(rules["times_median"]), rules["min_share"]
    table = claim2[claim2["metric"] == metric].merge(
        backbones[[*BACKBONE_COLUMNS, "dataset", "params"]]
    )
    peak = table.loc[table.groupby(KIND_COLUMNS, sort=False)["value"].idxmax()]
    peak = peak.sort_values("params", kind="stable")
    figure, axis = style.plt.subplots(figsize=(5.0, 2.8))
    peak = peak.assign(x=spread(peak["params"].to_numpy(float) / 1e6))
    families = peak.groupby("family", sort=False)
    for look, (family, rows) in zip(style.lines(), families, strict=False):
        without = rows["registers"].map(register_count).eq(0)
        plain = rows[without].groupby("params")["value"].max()  # a line joins a family's sizes
        axis.plot(plain.index / 1e6, plain, color=look["color"], lw=0.7, ls=look["ls"])
        for own, face in ((rows[without], look["color"]), (rows[~without], "white")):
            axis.errorbar(
                own["x"], own["value"],
                [own["value"] - own["low"], own["high"] - own["value"]], fmt=look["marker"],
                ms=3.5, lw=0.7, mfc=face, color=look["color"],
            )  # fmt: skip
        axis.plot([], [], look["ls"], marker=look["marker"], ms=3.5, lw=0.7, color=look["color"],
                  label="phantoms" if family == "control" else family)  # fmt: skip
    ends = peak["x"].min() / 1.5, peak["x"].max() * 1.5
    axis.set(xscale="log", xlim=ends, xlabel="parameters (millions, log scale)")
    axis.set_xticks(ticks := sizes(peak["params"].to_numpy() / 1e6), [f"{v:.3g}" for v in ticks])
    axis.minorticks_off()
    axis.set_yscale("symlog", linthresh=least)
    axis.set_ylim(-0.15 * least, 100)
    axis.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axis.set_ylabel(f"tokens over {rules['times_median']:g} x median (%)")
    axis.axhline(least, color="0.5", lw=0.6, ls=":")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=6)
    style.note(
        figure,
        "At the block with most of them. Filled: without registers, joined by size; hollow: with "
        "registers. Backbones of about as many parameters stand beside each other. Dotted: "
        f"{least:g} %, below it the scale is linear. Bars: over images.",
    )
    style.save(figure, outputs)


def sizes(values, apart=1.3):
    """Of sorted values those to be named on a log axis: each so many times the one before."""
    named = []
    for value in values:
        if not named or value >= apart * named[-1]:
            named.append(value)
    return named


def spread(values, ratio=1.035):
    """Sorted values moved as little as can be, so that each is so many times the one before.

    On a log scale the values less their due distances must not fall: pooling adjacent violators.
    """
    step, pools = np.log(ratio), []
    for place, value in enumerate(np.log(values)):
        pools.append((value - step * place, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (first, n), (second, m) = pools[-2:]
            pools[-2:] = [((first * n + second * m) / (n + m), n + m)]
    means = np.concatenate([np.full(n, mean) for mean, n in pools])
    return np.exp(means + step * np.arange(len(means)))
