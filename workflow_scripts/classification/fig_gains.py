"""Tables 4 and 5 as figures: what registers gain, by backbone and head, with intervals."""

import pandas as pd

from tokenscope.figures import style
from tokenscope.jobs.job import job
from tokenscope.stats.top_k import sign_of_interval
from tokenscope.tables import tidy
from tokenscope.tables.formatting import words
from tokenscope.tables.names import gain_over
from tokenscope.tables.register_gains import BASE, published_gains
from tokenscope.tables.tidy import BACKBONE_COLUMNS, rows_of

QUESTIONS = {
    gain_over("r0"): "Backbone with registers minus the one without, same head",
    gain_over(BASE): "Same backbone: these features minus [CLS; patch mean]",
}
COLOURS = {1.0: style.GREEN, 0.0: style.VERMILION}  # surely a gain, surely a loss; else grey
NOTE = (
    "Bars: bootstrap over {images:,} test images of {dataset}, and over seeds; green: wholly above "
    "zero, orange-red: below; crosses: published, without intervals."
)


def main(claim5, published, dataset, outputs):
    """One figure per question, one line per head, on one scale.

    Args:
        claim5: table of tidy rows.
        published: ``config/published.csv``.
        dataset: the test set shown.
        outputs: for each of :data:`QUESTIONS` the files of its figure, one a format of each page.
    """
    rows = tidy.read(claim5).query("dataset == @dataset")
    theirs = published_gains(pd.read_csv(published))
    every = rows[rows["metric"].isin(QUESTIONS)]
    ends = min(0, every["low"].min()), max(0, every["high"].max())
    room = 0.05 * (ends[1] - ends[0]) or 1
    for (metric, title), files in zip(QUESTIONS.items(), outputs, strict=True):
        gains = rows[rows["metric"] == metric]
        groups = list(gains.groupby(BACKBONE_COLUMNS, sort=False))
        for some, page in style.pages(files, groups):
            if not some:
                style.blank(page, f"{title}: no such pair" + " more" * bool(groups))
                continue
            lines = sum(len(own) + 1.2 for _, own in some)
            figure, axis = style.plt.subplots(figsize=(4.6, 0.5 + 0.135 * max(4, lines)))
            draw(axis, some, theirs[theirs["metric"] == metric])
            axis.set_xlabel("difference of top-1 (points)")
            axis.set_xlim(ends[0] - room, ends[1] + room)
            note = NOTE.format(images=int(gains["n"].max()), dataset=dataset)
            style.note(figure, f"{title}. {note}")
            style.save(figure, page)


def draw(axis, groups, published):
    """Lines from top to bottom, a heading for each backbone."""
    y, ticks, labels, headings = 0.0, [], [], set()
    for who, rows in groups:
        backbone = dict(zip(BACKBONE_COLUMNS, who, strict=True))
        headings.add(len(labels))
        ticks.append(y)
        labels.append("/".join(who))
        y += 1
        for row in rows.itertuples():
            colour = COLOURS.get(sign_of_interval(row.low, row.high), "0.45")
            axis.plot([row.low, row.high], [y, y], color=colour, lw=1.6, solid_capstyle="butt")
            axis.plot(row.value, y, "o", color=colour, ms=3.5)
            same = rows_of(published, **backbone, group=row.group)
            axis.plot(same["value"], [y] * len(same), "x", color=style.BLACK, ms=4.5, mew=0.9)
            ticks.append(y)
            labels.append(words(row.group))
            y += 1
        y += 0.2
    axis.axvline(0, color="0.5", lw=0.6)
    axis.set_yticks(ticks, labels, fontsize=6.5)
    for number, label in enumerate(axis.get_yticklabels()):
        label.set_fontweight("bold" if number in headings else "normal")
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(y - 0.5, -0.7)


if "snakemake" in globals():
    i, w, out = snakemake.input, snakemake.wildcards, snakemake.output
    with job(snakemake.log[0], f"figure gains {w.dataset}"):
        main(
            claim5=i.claim5, published=i.published, dataset=w.dataset,
            outputs=[out.table4, out.table5],
        )  # fmt: skip
