"""What the instrument sees: share of draws with the answer yes, over ratio, share and spread."""

from tokenscope.calibration.summary import read
from tokenscope.figures import style
from tokenscope.jobs.job import job


def main(table, outputs):
    """A panel for each number of images and spread of the bulk, by the longest form there is.

    Args:
        table: CSV of the counts (rule calibration).
        outputs: files of the figure.
    """
    counts = read(table)
    if not len(counts):
        return style.save(_nothing(), outputs)
    form = "long" if (counts["form"] == "long").any() else counts["form"].iloc[0]
    modes = counts[(counts["form"] == form) & (counts["kind"] == "mode")]
    modes = modes[(modes["family"] == "narrow") & (modes["every"] == 1)]
    panels = list(modes.groupby(["images", "patches", "spread"]))
    figure, axes = style.panels(len(panels), columns=6, height=1.05, sharex=True, sharey=True)
    for axis, ((images, patches, spread), part) in zip(axes, panels, strict=True):
        grid, refused = (
            part.assign(rate=100 * part[answer] / part["draws"])
            .pivot(index="share", columns="ratio", values="rate")
            .sort_index()
            for answer in ("yes", "no")
        )
        shown = axis.imshow(grid, vmin=0, vmax=100, cmap="cividis", origin="lower", aspect="auto")
        axis.set_xticks(range(len(grid.columns)), [f"{v:g}" for v in grid.columns])
        axis.set_yticks(range(len(grid.index)), [f"{v:g}" for v in grid.index])
        for y, share in enumerate(grid.index):
            for x, ratio in enumerate(grid.columns):
                rate, no = grid.loc[share, ratio], refused.loc[share, ratio]
                if 0 < rate < 100 or no > 0:  # all and none are said by the colour
                    text = f"{rate:.0f}" + (f"\n/{no:.0f}" if no >= 1 else "")
                    axis.text(
                        x, y, text, ha="center", va="center", fontsize=5.5, linespacing=0.85,
                        color="w" if rate < 60 else "k",
                    )  # fmt: skip
        axis.set_title(f"{images:,} x {patches:,}\nspread {spread:g}", fontsize=6)
        axis.tick_params(labelsize=5.5, length=1.5)
    figure.supxlabel("ratio of the mode to the median")
    figure.supylabel("share of tokens in the mode (%)")
    bar = figure.colorbar(
        shown, ax=axes, label='draws with the answer "yes" (%)', location="top", aspect=50,
        shrink=0.5,
    )  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6, pad=1)
    style.note(
        figure,
        "Narrow modes that are in every image. Panels: images x patches, spread of the bulk. "
        f"{form.capitalize()} form, "
        f"{modes['draws'].min()} draws a cell. Numbers where it is not all or none; "
        'after a stroke: draws with "no" (%).',
    )
    style.save(figure, outputs)


def _nothing():
    """A figure that says that there are no counts."""
    figure, (axis,) = style.panels(1, width=3.0, height=0.4)
    axis.axis("off")
    axis.text(0.5, 0.5, "nothing was counted: make calibrate", ha="center", va="center")
    return figure


if "snakemake" in globals():
    with job(snakemake.log[0], "figure calibration"):
        main(table=snakemake.input[0], outputs=list(snakemake.output))
