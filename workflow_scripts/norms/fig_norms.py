"""Figure 4 and its kin: distributions of feature norms, by backbone, block and place."""

import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm

from tokenscope.figures import style
from tokenscope.figures.backbone import norms_by_block
from tokenscope.figures.outlier_shares import by_depth, by_size
from tokenscope.figures.sheet import sheet
from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import cutoff_of_median, share_metric
from tokenscope.study.register_names import base as register_base
from tokenscope.study.register_names import register_count
from tokenscope.tables import tidy
from tokenscope.tables.formatting import interval_text
from tokenscope.tables.tidy import BACKBONE_COLUMNS, by_backbone, rows_of


def main(curves, places, claim1, claim2, backbones, dataset, paper, rules, outputs):
    """Seven figures of one data set.

    Args:
        curves, places: CSV of densities by block, and of outliers by place (rule norm_curves).
        claim1, claim2: tables of tidy rows.
        backbones: CSV with the number of parameters of each backbone.
        dataset: the data set shown.
        paper: backbones (family/size/registers) of Figure 4.
        rules: the section ``outliers`` of the config.
        outputs: files of each figure by name: paper, last, blocks, two, depth, size, places.
    """
    tables = [
        tidy.read_table(curves),
        tidy.read_table(places),
        tidy.read(claim1),
        tidy.read(claim2),
    ]
    curves, places, claim1, claim2 = (t[t["dataset"] == dataset] for t in tables)
    by_key = {_key(who): (who, rows) for who, rows in by_backbone(curves)}
    several, everyone = [by_key[key] for key in paper], list(by_key.values())
    remarks = [*apart(claim2, paper)]
    last_block(several, claim1, rules, outputs["paper"], remarks, columns=2, twins=by_key)
    for groups, files in style.pages(outputs["last"], everyone):
        last_block(groups, claim1, rules, files, twins=by_key)
    for groups, files in style.pages(outputs["blocks"], everyone):
        by_block(groups, claim1, rules, files)
    for groups, files in style.pages(outputs["two"], everyone):
        two_lines(groups, rules, files)
    by_depth(claim2, rules, outputs["depth"])
    by_size(claim2, tidy.read_table(backbones), rules, outputs["size"])
    by_place(places, claim1, rules, outputs["places"])


def _of(table, who, group, metric):
    rows = rows_of(table, **who, group=group, metric=metric)
    return rows.iloc[0] if len(rows) else None


def _key(who):
    return "/".join(who[column] for column in BACKBONE_COLUMNS)


def apart(claim2, paper):
    """How far the first backbone's share of outliers is from each of the others', in words."""
    for other in paper[1:]:
        for group in (f"judged, other: {other}", f"last_block, other: {other}"):
            rows = claim2[
                (claim2["group"] == group) & claim2["metric"].str.endswith("_minus_other")
            ]
            if len(rows):
                row = rows.iloc[0]
                yield (
                    f"Share of outliers, {paper[0]} less {other}: {row.value:+.2f} points "
                    f"[{row.low:+.2f}, {row.high:+.2f}], on the same images."
                )
                break


def last_block(groups, claim1, rules, outputs, remarks=(), columns=4, twins=None):
    """Density of last-block norms with its interval, on one scale; the outlier rules' cutoffs.

    Args:
        groups: who and its rows of the curves, one a panel.
        remarks: sentences that stand first in the caption.
        twins: the same of all backbones, by name: one with registers is drawn over its twin
            without.
    """
    times, percentile = rules["times_median"], rules["percentile"]
    figure, axes = style.panels(
        max(1, len(groups)), columns, height=1.5, width=3.0 if columns == 2 else 0, sharey=True,
        sharex=True,
    )  # fmt: skip
    for axis, (who, rows) in zip(axes, groups, strict=False):
        base = {**who, "registers": register_base(who["registers"])}
        twin = (twins or {}).get(_key(base)) if register_count(who["registers"]) else None
        if twin:
            before, edges, _ = _last(twin[1])
            axis.stairs(before["density"], edges, baseline=None, color="0.6", lw=0.8)
        rows, edges, median = _last(rows)
        axis.stairs(
            rows["high"], edges, baseline=rows["low"], fill=True, color=style.SKY, alpha=0.6
        )
        axis.stairs(rows["density"], edges, baseline=None, color=style.BLUE, lw=0.8)
        found = {
            name: _of(claim1, who, "artifacts-last_block", name)
            for name in ("has_artifacts", "share", "cutoff")
        }
        share, verdict = found["share"], found["has_artifacts"]["value"]
        words = {0.0: "none", 1.0: "artifacts"}.get(verdict, "undecided")
        own = verdict == 1
        if words == "undecided":  # by the decision there is neither a share nor none
            share = _of(claim1, who, "last_block", share_metric(times))
        cutoff = cutoff_of_median(median, found["cutoff"]["value"] if own else times) / median
        over = np.where(edges[:-1] > cutoff, rows["density"], 0)
        if over.any():  # a mode of one bin is a line: it is made visible by its colour
            axis.stairs(over, edges, fill=True, color=style.OUTLIER, lw=1.5, ec=style.OUTLIER)
        axis.axvline(cutoff, color=style.OUTLIER, lw=0.8, ls="-" if own else "--")
        top = _of(claim1, who, "last_block", f"norm_p{percentile:g}")
        if top is not None:
            axis.axvline(top["value"] / median, color="0.5", lw=0.8, ls=":")
        axis.set(xscale="log", yscale="log", ylim=(1e-3, 60))
        interval = interval_text(share.low, share.high, share.unit)
        axis.set_title(f"{style.title(who)}\n{words}: {share.value:.2f} % {interval}")
        style.plain_log(axis.xaxis)
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(low, 1.3 * high)  # room beyond the highest norms
    figure.supxlabel("norm of patch tokens / median, last block (log scale)")
    figure.supylabel("density over log10 norm")
    style.note(
        figure,
        " ".join([*remarks, ""])
        + "Above each panel: share of outliers by the decision, with its interval over images, as "
        "in the tables; where it is undecided, of tokens over the line. Orange-red line: the "
        f"valley before a mode of their own; dashed, where there is none, {times:g} x median. "
        f"Grey, dotted: the {percentile:g}th percentile, which claims 3 and 4 use. Grey, whole: "
        "the same backbone without registers. Bands: over images.",
    )
    style.save(figure, outputs)


def _last(rows):
    """Rows of the last block, edges of its bins in medians, and the median."""
    rows = rows[rows["block"] == rows["block"].max()]
    median = rows["median"].iloc[0]
    half = np.sqrt(rows["norm"].iloc[1] / rows["norm"].iloc[0])
    return rows, np.append(rows["norm"] / half, rows["norm"].iloc[-1] * half) / median, median


def by_block(groups, claim1, rules, outputs):
    """Density of norms as a picture over blocks, with the block where artifacts start."""
    times = rules["times_median"]
    figure, axes = style.panels(max(1, len(groups)), height=1.5)
    for axis, (who, rows) in zip(axes, groups, strict=False):
        onset = _of(claim1, who, "artifacts", "onset_block")["value"]
        shown = norms_by_block(axis, rows, onset, times)
        start = f"artifacts from block {onset:.0f}" if np.isfinite(onset) else "no artifacts"
        axis.set_title(f"{style.title(who)}\n{start}")
        axis.set_xlabel("block", labelpad=1)
    figure.supylabel("norm of patch tokens (log scale)")
    bar = figure.colorbar(
        shown, ax=axes, label="density over log10 norm", extend="both", location="bottom",
        aspect=50, shrink=0.5,
    )  # fmt: skip
    bar.outline.set_visible(False)
    style.note(
        figure,
        f"Line: {times:g} x median; what is over it is orange-red, drawn with a least height. "
        "Dashed: the block from which on there are artifacts.",
    )
    style.save(figure, outputs)


def two_lines(groups, rules, outputs):
    """Norm against depth of the tokens over the cutoff and of the others: median and middle 90 %.

    Args:
        groups: who and its rows of the curves, one a panel; those without such a token are named.
    """
    times = rules["times_median"]
    measured = [(who, *_of_groups(rows, times)) for who, rows in groups]
    drawn = [one for one in measured if one[2]["middle"].notna().any()]
    if not drawn:
        return style.blank(outputs, f"none of these backbones has a token over {times:g} x median")
    figure, axes = style.panels(len(drawn), height=1.4, sharey=True)
    for axis, (who, *parts) in zip(axes, drawn, strict=True):
        for part, colour, label in zip(
            parts, (style.BLUE, style.OUTLIER), ("normal", "outlier"), strict=True
        ):
            axis.fill_between(part.index, part["low"], part["high"], color=colour, alpha=0.25, lw=0)
            axis.plot(part.index, part["middle"], color=colour, marker="o", ms=2.5, label=label)
        axis.set(yscale="log", title=style.title(who))
        axis.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        style.plain_log(axis.yaxis)
    axes[0].legend(loc="upper left")
    figure.supxlabel("block")
    figure.supylabel("norm of patch tokens (log scale)")
    without = len(measured) - len(drawn)
    style.note(
        figure,
        f"Outlier: over {times:g} x median of the block. Lines: median; bands: the middle 90 % of "
        f"the tokens. Backbones without such a token: {without} of {len(measured)}.",
    )
    style.save(figure, outputs)


def _of_groups(rows, times):
    """Median and middle 90 % of the norms below and above the cutoff, by block (two tables)."""
    quantiles = {"low": 0.05, "middle": 0.5, "high": 0.95}
    found = []
    for above in (False, True):
        table = {}
        for block, curve in rows.groupby("block"):
            own = curve[(curve["norm"] > times * curve["median"]) == above]
            mass = own["density"].cumsum().to_numpy()  # bins are of one width over log10 norm
            there = len(mass) and mass[-1] > 0
            table[block] = {
                name: own["norm"].iloc[np.searchsorted(mass, q * mass[-1])] if there else np.nan
                for name, q in quantiles.items()
            }
        found.append(pd.DataFrame(table).T)
    return found


def by_place(places, claim1, rules, outputs):
    """How often each place of the patch grid holds an outlier; backbones without any are named."""
    groups = [(who, rows) for who, rows in by_backbone(places) if rows["judged"].max() > 0]
    none = [_key(who) for who, rows in by_backbone(places) if not rows["judged"].max() > 0]
    if not groups:
        return style.blank(outputs, "no backbone has an outlier in any place")
    columns, above = 6, 0.46
    page = sheet(-(-len(groups) // columns), min(columns, len(groups)), above=above, largest=1.2)
    top = max(rows["judged"].max() for _, rows in groups)
    for axis, (who, rows) in zip(page.axes.flat, groups, strict=False):
        grid = rows.pivot(index="row", columns="column", values="judged").values
        shown = style.picture(axis, grid, cmap="magma", norm=PowerNorm(0.5, 0, top))
        entropy = _of(claim1, who, "outlier", "position_entropy")["value"]
        text = f"{who['family']}\n{who['size']} {who['registers']}"
        if np.isfinite(entropy):
            text += f"\nentropy {entropy:.2f}"
        axis.set_title(text, fontsize=5.5, pad=2)
    page.bar(shown, "images with an outlier there (%), square-root scale", extend="neither")
    times = rules["times_median"]
    style.note(
        page.figure,
        f"Without artifacts: tokens over {times:g} x median. Entropy: 1 anywhere, 0 in one place. "
        + (f"None anywhere: {', '.join(none)}." if none else ""),
    )
    style.save(page.figure, outputs)


if "snakemake" in globals():
    i, out, w = snakemake.input, snakemake.output, snakemake.wildcards
    with job(snakemake.log[0], f"figure 4 {w.dataset}"):
        names = ("paper", "last", "blocks", "two", "depth", "size", "places")
        files = {name: out[name] for name in names}
        main(
            curves=i.curves, places=i.places, claim1=i.claim1, claim2=i.claim2,
            backbones=i.backbones, dataset=w.dataset, paper=snakemake.params.paper,
            rules=snakemake.params.outliers, outputs=files,
        )  # fmt: skip
