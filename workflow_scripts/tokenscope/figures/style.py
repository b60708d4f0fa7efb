"""The look of all figures: colours, scales, names, files."""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tokenscope.jobs.software import of_job
from tokenscope.study.register_names import is_control

# Okabe and Ito's palette: told apart by every kind of colour vision, and in grey print.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
)  # fmt: skip
PALETTE = [BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, BLACK, YELLOW]
OUTLIER = VERMILION

plt.rcParams.update({
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.6, "lines.linewidth": 1.2,
    "figure.dpi": 100, "savefig.dpi": 200, "pdf.fonttype": 42, "svg.fonttype": "none",
    "svg.hashsalt": "tokenscope",
    "legend.frameon": False, "figure.constrained_layout.use": True,
})  # fmt: skip


def cmap(name: str = "viridis"):
    """A perceptually uniform map; values over its limit take a colour that is not in it."""
    over = SKY if name == "magma" else OUTLIER
    return matplotlib.colormaps[name].with_extremes(over=over, bad="#dddddd")


def norm_scale(limit: float) -> LogNorm:
    """Norms as multiples of the median: what is over the outlier rule's limit is clipped."""
    return LogNorm(1 / limit, limit)


def attention_scale(values: np.ndarray) -> PowerNorm:
    """Attention as multiples of uniform, up to the 99.5th percentile of what is compared."""
    return PowerNorm(0.5, 0, max(2.0, float(np.nanpercentile(values, 99.5))))


def title(row: dict) -> str:
    """Name of a backbone for a panel; a control is always called one."""
    name = f"{row['family']}/{row['size']}/{row['registers']}"
    named = row["family"] == "control" or not is_control(row["kind"])
    if len(name) > 26:  # wider than a panel
        name = f"{row['family']}/{row['size']}/\n{row['registers']}"
    return name if named else f"{name} (control)"


def short(name: str) -> str:
    """``family/size/registers`` on two lines, for the margin of a row of maps."""
    family, size, registers = name.split("/")
    control = "" if family == "control" or not is_control(registers) else "\ncontrol"
    return f"{family}\n{size} {registers}{control}"


def norm_bar(figure, shown, axes, limit: float) -> None:
    """The bar of maps drawn on :func:`norm_scale`, below them."""
    bar = scale_bar(
        figure, shown, axes, f"norm / median of these images  (orange-red: over {limit:g})"
    )
    bar.set_ticks([1 / limit, 1, limit], labels=[f"1/{limit:g}", "1", f"{limit:g}"])
    bar.minorticks_off()


def scale_bar(figure, shown, axes, label: str, extend: str = "max"):
    """A thin bar below the axes."""
    bar = figure.colorbar(
        shown, ax=axes, extend=extend, label=label, location="bottom", aspect=60, shrink=0.6,
        pad=0.02,
    )  # fmt: skip
    bar.outline.set_visible(False)
    if isinstance(shown.norm, PowerNorm):  # ticks are close together at its end
        bar.locator = MaxNLocator(4)
        bar.update_ticks()
    return bar


def plain_log(axis) -> None:
    """A log axis of few, plain numbers: 10, 20, 50, 100."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def note(figure, text: str) -> None:
    """What a reader must know, above the panels, broken to the width of the figure."""
    width = int(14 * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.wrap(text, width)), fontsize=8)


def panels(count: int, columns: int = 4, width: float = 1.9, height: float = 1.6, **kwargs):
    """A grid of ``count`` axes, the unused ones removed; returns figure and list of axes."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(4.4, columns * width), rows * height + 0.9), squeeze=False,
        **kwargs,
    )  # fmt: skip
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def picture(axis, values, **kwargs):
    """An image or map without ticks and frame; maps keep their patches visible."""
    shown = axis.imshow(values, interpolation="nearest", **kwargs)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    return shown


def blank(outputs, text: str) -> None:
    """A figure that says why there is none."""
    figure, axis = plt.subplots(figsize=(4.4, 1.2))
    axis.axis("off")
    axis.text(0.5, 0.5, text, ha="center", va="center")
    save(figure, outputs)


def describe() -> str:
    """What a figure rests on, for its file."""
    code = of_job()
    commit = f"commit {code['commit']}" if code["commit"] else f"version {code['version']}"
    config = f", config {code['config']}" if code["config"] else ""
    weights = "weights, and by what they were measured: tables/backbones.csv of the study"
    return f"tokenscope, drawn by {commit}{config}; {weights}"


def save(figure, outputs) -> None:
    """Write every format; fixed metadata, so that equal figures are equal files.

    A file says by which commit and config it was drawn, and where it is said what was measured.
    """
    rests = describe()
    for output in outputs:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        kind = Path(output).suffix
        metadata = {
            ".pdf": {"CreationDate": None, "Subject": rests},
            ".png": {"Software": None, "Description": rests},
            ".svg": {"Date": None, "Description": rests},
        }.get(kind)
        figure.savefig(output, metadata=metadata)
    plt.close(figure)
