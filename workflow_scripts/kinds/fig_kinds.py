"""Kinds of artifacts beside high norms: backbones against kinds, and what the answers rest on."""

import textwrap
from decimal import Decimal

import numpy as np
import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.kinds.answers import KINDS, NO, NOT_ABOUT, UNDECIDED, YES, said
from tokenscope.tables import tidy
from tokenscope.tables.formatting import unit_text, words

COLOURS = {YES: style.VERMILION, NO: style.SKY, UNDECIDED: style.YELLOW, NOT_ABOUT: "#eeeeee"}
NOTE = (
    "Bands: bootstrap over images; thin and dotted, without marks: the same where the kind is "
    "absent. {count} of {all} backbones that the kind is about, those that have it first."
)
SIGNS = {YES: " +", NO: "", UNDECIDED: " ?", NOT_ABOUT: ""}
NO_BAR = 0.005  # of the largest number of a panel: below it a bar is not seen
WIDEST = 12  # backbones that a figure of lines tells apart; of more, those that say yes come first
# Which backbone has a line in a figure of blocks, by the kind; what is drawn: quantity, label.
BLOCKS = {
    "sinks": ("sink", [("events_in_block", "sink events per image"), ]),
    "attention": ("attention-received", [("over_uniform", "attention on outliers / uniform"),
                                         ("of_cls_over_uniform", "the same of CLS")]),
    "channels": ("channel", [("top_channel_share", "largest channel, % of energy"),
                             ("participation_ratio", "participation ratio, channels"),
                             ("tokens_with_the_same_top_channel", "% of tokens whose it is")]),
    "locality": ("locality", [("cosine_*_patch", "cosine with CLS or mean patch"),
                              ("cosine_patch_patch", "cosine of patches")]),
    "qkv": ("qkv", [(f"rank_correlation_{name[0]}_output", f"rank correlation of {name} norms")
                    for name in ("query", "key", "value")]),
    "registers": ("register-norm", [("norm_of_reg*", "norm of registers / median patch")]),
}  # fmt: skip


def main(table, outputs):
    """Draw all figures of kinds.

    Args:
        table: CSV of all backbones (tables/kinds.csv).
        outputs: files by figure: ``matrix``, ``experiments``, and the keys of :data:`BLOCKS`.
    """
    rows = tidy.read(table)
    answers = said(rows)
    matrix(answers, outputs["matrix"])
    experiments(rows, answers, outputs["experiments"])
    for name, (kind, quantities) in BLOCKS.items():
        by_block(rows, answers, kind, quantities, outputs[name])


def named(rows):
    """Rows with the backbone's name, and the data set where there are several."""
    names = tidy.backbone_names(rows)
    return names + " on " + rows["dataset"] if rows["dataset"].nunique() > 1 else names


def matrix(answers, outputs):
    """One cell for each backbone and kind: colour of the answer and size; lines for families."""
    answers = answers.assign(who=named(answers))
    who, about = list(dict.fromkeys(answers["who"])), answers[answers["answer"] != NOT_ABOUT]
    kinds = [kind for kind in KINDS if kind in set(about["artifact"])] or list(KINDS)
    absent = [kind for kind in KINDS if kind in set(answers["artifact"]) - set(kinds)]
    answers = answers[answers["artifact"].isin(kinds)]
    units = about[about["unit"].fillna("") != ""].groupby("artifact")["unit"].first().to_dict()
    high = min(0.2, (style.TALL - 1.3) / max(1, len(who)))
    figure, axis = style.plt.subplots(figsize=(style.WIDE, high * len(who) + 1.2))
    for row in answers.itertuples():
        x, y = kinds.index(row.artifact), who.index(row.who)
        axis.add_patch(style.plt.Rectangle((x - 0.5, y - 0.5), 1, 1, lw=0.6, ec="white",
                                           fc=COLOURS[row.answer]))  # fmt: skip
        if row.answer == NOT_ABOUT:
            continue
        text = _number(row.value) if row.value == row.value else ""
        text = text + SIGNS[row.answer]
        axis.text(x, y, text, ha="center", va="center", fontsize=max(5, min(6, 31 * high)),
                  color="white" if row.answer == YES else "black",
                  weight="bold" if row.answer == YES else "normal")  # fmt: skip
    for y in range(1, len(who)):
        if who[y].split("/")[0] != who[y - 1].split("/")[0]:
            axis.axhline(y - 0.5, color="0.3", lw=0.5)
    labels = ["\n".join(textwrap.wrap(words(kind), 9, break_long_words=False)
                        + [f"({unit_text(unit)})" for unit in [units.get(kind)] if unit])
              for kind in kinds]  # fmt: skip
    axis.set(xlim=(-0.5, len(kinds) - 0.5), ylim=(len(who) - 0.5, -0.5))
    axis.set_xticks(range(len(kinds)), labels, fontsize=6, rotation=90)
    axis.set_yticks(range(len(who)), who, fontsize=max(5, min(6, 31 * high)))
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    handles = [style.plt.Rectangle((0, 0), 1, 1, fc=c) for c in COLOURS.values()]
    names = [f"{name} {SIGNS[name]}".strip() for name in COLOURS]
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=6)
    style.note(
        figure,
        "A column's numbers are of one quantity, which tables/kinds.csv names, with intervals."
        + (f" About none of these backbones: {'; '.join(map(words, absent))}." if absent else ""),
    )
    style.save(figure, outputs)


def _number(value):
    """A number of a small cell: two digits, below a thousandth one."""
    if value and abs(value) < 0.001:
        digit = f"{value:.1g}"
        return digit if abs(value) < 1e-6 else f"{Decimal(digit):f}"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def by_block(rows, answers, kind, quantities, outputs):
    """A panel for each quantity, a line for each backbone, dotted what its null gives."""
    about = answers[(answers["artifact"] == kind) & ~answers["answer"].isin([NOT_ABOUT])]
    about = about.sort_values("answer", ascending=False, kind="stable")
    who = list(dict.fromkeys(named(answers).loc[about.index]))[:WIDEST]
    rows = rows.assign(who=named(rows))
    rows = rows[(rows["artifact"] == kind) & (rows["block"] > 0) & rows["who"].isin(who)]
    if rows.empty:
        return style.blank(
            outputs, f"no backbone of this study has what the kind {words(kind)} is about"
        )
    seen = rows.groupby("who")["value"].apply(lambda values: values.abs().max() > 0)
    zero = [name for name in who if name in seen.index and not seen[name]]
    if len(zero) == len(seen):
        label = quantities[0][1]
        return style.blank(outputs, f"{label}: none in any block of {len(zero)} backbones")
    who = [name for name in who if name not in zero]
    beside = min(3, len(quantities))  # names in the legend, as many as panels
    lines = -(-len(who) // beside)
    figure, axes = style.panels(len(quantities), columns=3, height=1.5 + 0.125 * lines)
    for axis, (quantity, label) in zip(axes, quantities, strict=True):
        pattern = quantity.replace("*", r"(cls|mean|\d+)")
        of_quantity = rows[rows["metric"].str.fullmatch(pattern)]
        for look, name in zip(style.lines(), who, strict=False):
            for _, line in of_quantity[of_quantity["who"] == name].groupby("metric"):
                line = line.sort_values("block")
                axis.fill_between(line["block"], line["low"], line["high"], color=look["color"],
                                  alpha=0.15, lw=0)  # fmt: skip
                axis.plot(line["block"], line["value"], label=name, **look)
                if line["null"].notna().any():
                    axis.plot(line["block"], line["null"], color=look["color"], lw=0.6, ls=":")
        axis.set(xlabel="block", ylabel=textwrap.fill(label, 24))
        if quantity in ("participation_ratio", "over_uniform", "of_cls_over_uniform"):
            axis.set_yscale("log")
            style.plain_log(axis.yaxis)
        elif of_quantity["value"].min() >= 0:
            axis.set_ylim(0, None if of_quantity["high"].max() > 0 else 1)
    handles, labels = axes[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique, loc="outside lower center", ncols=beside, fontsize=6)
    none = f" Zero in every block: {', '.join(zero)}." if zero else ""
    count, all_of_them = len(who) + len(zero), answers.loc[about.index, "dataset"].size
    style.note(figure, NOTE.format(count=count, all=all_of_them) + none)
    style.save(figure, outputs)


TITLES = {"shift": "outliers of a moved image", "outlier-use": "use of outliers",
          "register-use": "use of registers"}  # fmt: skip


def experiments(rows, answers, outputs):
    """What stays, moves and changes in the shift test and when tokens are replaced."""
    panels = {
        "shift": ("outliers_with_place", "outliers_with_content", "outliers_neither"),
        "outlier-use": tuple(f"pooled_change_{way}" for way in ("mean", "shuffled", "control")),
        "register-use": tuple(f"pooled_change_{way}" for way in ("mean", "shuffled", "zeros")),
    }
    labels = {
        "shift": "% of outliers", "outlier-use": unit_text("1 - cosine"),
        "register-use": unit_text("1 - cosine"),
    }  # fmt: skip
    rows = rows.assign(who=named(rows))
    done = {kind: rows[(rows["artifact"] == kind) & rows["metric"].isin(quantities)]
            for kind, quantities in panels.items()}  # fmt: skip
    done = {kind: found for kind, found in done.items() if len(found)}
    if not done:
        return style.blank(outputs, "no backbone has outliers or registers to experiment with")
    most = max(found["who"].nunique() for found in done.values())
    figure, axes = style.panels(
        len(done), columns=3, height=min(style.TALL - 0.5, max(1.5, 0.26 * most + 0.6))
    )
    for axis, (kind, found) in zip(axes, done.items(), strict=True):
        who = list(dict.fromkeys(found["who"]))
        for i, quantity in enumerate(panels[kind]):
            line = found[found["metric"] == quantity]
            if not line["value"].notna().any():
                continue
            y = np.array([who.index(w) for w in line["who"]]) + 0.25 * (i - 1)
            value = line["value"].to_numpy()
            ends = np.abs(line[["low", "high"]].to_numpy().T - value)
            name = quantity.rpartition("_")[2]
            axis.barh(y, value, 0.22, color=style.PALETTE[i], label=name)
            axis.errorbar(value, y, xerr=ends, fmt="none", ecolor="0.2", lw=0.8)
            for least in np.flatnonzero(np.abs(value) < NO_BAR * found["value"].abs().max()):
                axis.annotate(
                    _number(value[least]), (value[least], y[least]), xytext=(2, 0), va="center",
                    textcoords="offset points", fontsize=5.5, color=style.PALETTE[i],
                )  # fmt: skip
            null = pd.to_numeric(line["null"]).to_numpy()
            axis.plot(null, y, "k|", ms=6)
        axis.set_yticks(range(len(who)), [w.replace("/", " ", 1).replace("/", "\n") for w in who],
                        fontsize=5.5)  # fmt: skip
        axis.set(xlabel=labels[kind], title=TITLES[kind])
        axis.locator_params(axis="x", nbins=3)
        axis.invert_yaxis()
        axis.legend(
            fontsize=6, loc="upper right", bbox_to_anchor=(1.0, -0.4 / (0.26 * most + 0.6)),
            ncols=3, handlelength=1,
            columnspacing=1, title="replaced by" if kind != "shift" else "moved with",
            title_fontsize=6,
        )  # fmt: skip
    style.note(figure, "Ticks: outliers drawn anew by how often each place holds one. Bars: "
               "bootstrap over images. What is too small for a bar is written.")  # fmt: skip
    style.save(figure, outputs)


if "snakemake" in globals():
    with job(snakemake.log[0], "figures of kinds"):
        main(table=snakemake.input.table, outputs=dict(snakemake.output.items()))
