"""Figure 4 and its kin: distributions of feature norms, by backbone, block and place."""

import numpy as np

from tokenscope.figures import style
from tokenscope.figures.backbone import norms_by_block
from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import cutoff_of_median, share_metric
from tokenscope.study.register_names import register_count
from tokenscope.tables import tidy
from tokenscope.tables.tidy import BACKBONE_COLUMNS, KIND_COLUMNS, by_backbone, rows_of


def main(curves, places, claim1, claim2, backbones, dataset, paper, rules, outputs):
    """Six figures of one data set.

    Args:
        curves, places: CSV of densities by block, and of outliers by place (rule norm_curves).
        claim1, claim2: tables of tidy rows.
        backbones: CSV with the number of parameters of each backbone.
        dataset: the data set shown.
        paper: backbones (family/size/registers) of Figure 4.
        rules: the section ``outliers`` of the config.
        outputs: files of each figure by name: paper, last, blocks, depth, size, places.
    """
    tables = [
        tidy.read_table(curves),
        tidy.read_table(places),
        tidy.read(claim1),
        tidy.read(claim2),
    ]
    curves, places, claim1, claim2 = (t[t["dataset"] == dataset] for t in tables)
    by_key = {_key(who): (who, rows) for who, rows in by_backbone(curves)}
    several = [by_key[key] for key in paper]
    last_block(several, claim1, rules, outputs["paper"], [*apart(claim2, paper)], sharex=True)
    last_block(list(by_key.values()), claim1, rules, outputs["last"])
    by_block(curves, claim1, rules, outputs["blocks"])
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


def last_block(groups, claim1, rules, outputs, remarks=(), **shared):
    """Density of last-block norms with its interval; the outlier rule's cutoff in red."""
    times = rules["times_median"]
    figure, axes = style.panels(len(groups), width=2.3, sharey=True, **shared)
    for axis, (who, rows) in zip(axes, groups, strict=True):
        rows = rows[rows["block"] == rows["block"].max()]
        median = rows["median"].iloc[0]
        half = np.sqrt(rows["norm"].iloc[1] / rows["norm"].iloc[0])
        edges = np.append(rows["norm"] / half, rows["norm"].iloc[-1] * half)
        axis.stairs(
            rows["high"], edges, baseline=rows["low"], fill=True, color=style.SKY, alpha=0.6
        )
        axis.stairs(rows["density"], edges, baseline=None, color=style.BLUE)
        axis.axvline(median, color="0.5", lw=0.8, ls=":")
        found = {
            name: _of(claim1, who, "artifacts-last_block", name)
            for name in ("has_artifacts", "share", "cutoff")
        }
        share, verdict = found["share"], found["has_artifacts"]["value"]
        words = {0.0: "no artifacts", 1.0: "artifacts"}.get(verdict, "undecided")
        own = verdict == 1
        if not own:
            share = _of(claim1, who, "last_block", share_metric(times))
        axis.axvline(
            cutoff_of_median(median, found["cutoff"]["value"] if own else times),
            color=style.OUTLIER, lw=0.8, ls="-" if own else "--",
        )  # fmt: skip
        axis.set(xscale="log", yscale="log", ylim=(1e-3, 60))
        axis.set_title(
            f"{style.title(who)}\n{words}: {share.value:.2f} % [{share.low:.2f}, {share.high:.2f}]"
        )
        style.plain_log(axis.xaxis)
    figure.supxlabel("feature norm of patch tokens, last block (log scale)", fontsize=8)
    figure.supylabel("density over log10 norm", fontsize=8)
    style.note(
        figure,
        " ".join([*remarks, ""])
        + "Share of tokens over the red line, the valley before a mode of their own; dashed, where "
        f"there is none: {times:g} x median (grey: median). Bands and brackets: over images",
    )
    style.save(figure, outputs)


def by_block(curves, claim1, rules, outputs):
    """Density of norms as a picture over blocks, with the block where artifacts start."""
    groups = list(by_backbone(curves))
    figure, axes = style.panels(len(groups), height=1.7)
    for axis, (who, rows) in zip(axes, groups, strict=True):
        onset = _of(claim1, who, "artifacts", "onset_block")["value"]
        shown = norms_by_block(axis, rows, onset, rules["times_median"])
        start = f"artifacts from block {onset:.0f}" if np.isfinite(onset) else "none found"
        axis.set_title(f"{style.title(who)}\n{start}")
    figure.supxlabel("block", fontsize=8)
    times = rules["times_median"]
    figure.supylabel(f"feature norm (log scale; red: {times:g} x median)", fontsize=8)
    bar = figure.colorbar(shown, ax=axes, label="density over log10 norm", extend="both")
    bar.outline.set_visible(False)
    style.save(figure, outputs)


def by_depth(claim2, rules, outputs):
    """Share of outlier tokens against depth, a panel a family, a line a backbone."""
    metric = share_metric(rules["times_median"])
    table = claim2[claim2["metric"] == metric]
    families = list(table.groupby("family", sort=False))
    figure, axes = style.panels(len(families), columns=3, width=2.6, height=2.0, sharey=True)
    for axis, (family, rows) in zip(axes, families, strict=True):
        groups = rows.groupby(["size", "registers"], sort=False)
        for number, ((size, registers), line) in enumerate(groups):
            depth = np.arange(1, len(line) + 1) / len(line)
            colour = style.PALETTE[number % len(style.PALETTE)]
            axis.plot(
                depth, line["value"], color=colour, label=f"{size} {registers}",
                ls="--" if register_count(registers) else "-", marker=".", ms=3,
            )  # fmt: skip
            axis.fill_between(depth, line["low"], line["high"], color=colour, alpha=0.2, lw=0)
        axis.axhline(rules["min_share"], color="0.5", lw=0.6, ls=":")
        axis.set(title=family, yscale="symlog", ylim=(0, 100))
        axis.set_yscale("symlog", linthresh=rules["min_share"])
        axis.legend()
    figure.supxlabel("depth (block / all blocks)", fontsize=8)
    figure.supylabel(f"tokens over {rules['times_median']:g} x median (%)", fontsize=8)
    style.save(figure, outputs)


def by_size(claim2, backbones, rules, outputs):
    """Share of outlier tokens at the block with most of them, against the number of parameters."""
    metric = share_metric(rules["times_median"])
    table = claim2[claim2["metric"] == metric].merge(
        backbones[[*BACKBONE_COLUMNS, "dataset", "params"]]
    )
    peak = table.loc[table.groupby(KIND_COLUMNS)["value"].idxmax()]
    figure, axis = style.plt.subplots(figsize=(4.4, 3.0))
    for number, (family, rows) in enumerate(peak.groupby("family", sort=False)):
        for without, points in rows.groupby(rows["registers"].map(register_count).eq(0)):
            axis.errorbar(
                points["params"] / 1e6, points["value"],
                [points["value"] - points["low"], points["high"] - points["value"]],
                fmt="o" if without else "s", ms=4, lw=0.8, capsize=2,
                mfc=None if without else "w", color=style.PALETTE[number % len(style.PALETTE)],
                label=f"{family}, {'without' if without else 'with'} registers",
            )  # fmt: skip
    ends = peak["params"].min() / 1e6 / 2, peak["params"].max() / 1e6 * 2
    axis.set(xscale="log", xlim=ends, ylim=(0, 100), xlabel="parameters (millions)")
    style.plain_log(axis.xaxis)
    axis.set_yscale("symlog", linthresh=rules["min_share"])
    axis.set_ylabel(f"tokens over {rules['times_median']:g} x median (%), at the peak block")
    axis.axhline(rules["min_share"], color="0.5", lw=0.6, ls=":")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    style.save(figure, outputs)


def by_place(places, claim1, rules, outputs):
    """How often each place of the patch grid holds an outlier."""
    groups = list(by_backbone(places))
    figure, axes = style.panels(len(groups), columns=5, width=1.7, height=1.8)
    top = max(1.0, places["judged"].max())
    for axis, (who, rows) in zip(axes, groups, strict=True):
        grid = rows.pivot(index="row", columns="column", values="judged").values
        shown = style.picture(axis, grid, cmap="magma", vmin=0, vmax=top)
        entropy = _of(claim1, who, "outlier", "position_entropy")["value"]
        text = f"entropy {entropy:.2f}" if np.isfinite(entropy) else "no outliers"
        axis.set_xlabel(text, fontsize=6.5)
        axis.set_title(style.title(who), fontsize=6.5)
    times = rules["times_median"]
    bar = figure.colorbar(shown, ax=axes, shrink=0.7, aspect=30)
    bar.outline.set_visible(False)
    style.note(
        figure,
        f"images (%) with an outlier at each place (without artifacts: over {times:g} x median); "
        "entropy: 1 anywhere, 0 in one place",
    )
    style.save(figure, outputs)


if "snakemake" in globals():
    i, out, w = snakemake.input, snakemake.output, snakemake.wildcards
    with job(snakemake.log[0], f"figure 4 {w.dataset}"):
        names = ("paper", "last", "blocks", "depth", "size", "places")
        files = {name: out[name] for name in names}
        main(
            curves=i.curves, places=i.places, claim1=i.claim1, claim2=i.claim2,
            backbones=i.backbones, dataset=w.dataset, paper=snakemake.params.paper,
            rules=snakemake.params.outliers, outputs=files,
        )  # fmt: skip
