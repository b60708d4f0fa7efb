"""The look of all figures: sizes as in print, colours, scales, names, files.

Figures are drawn at the width at which a paper prints them, with letters of 7 points; what a reader
must know of one is its caption (:func:`note`), which its files carry as their title.
"""

import itertools
import re
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from tokenscope.figures.pages import NOTHING, shared_out
from tokenscope.jobs.software import of_job
from tokenscope.study.register_names import is_control

# Okabe and Ito's palette: told apart by every kind of colour vision, and in grey print.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
)  # fmt: skip
PALETTE = [BLUE, VERMILION, GREEN, PINK, BLACK, ORANGE, SKY]  # no yellow: a thin line vanishes
OUTLIER = VERMILION

# Tables that say what figures rest on, where it is not that of the claims' backbones, by path.
RESTS_ON = {
    "accounting": r"figures/carbon/", "calibration": r"figures/calibration/",
    "bank": r"figures/[^/]+/probe_", "backbones_discovery": r"figures/[^/]+/discovery",
    "backbones_dense": r"figures/[^/]+/dense",
}  # fmt: skip

# Inches: the width of a page's text and of a column of two, and what a page is high.
WIDE, NARROW, TALL = 6.75, 3.25, 9.0

plt.rcParams.update({
    "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "legend.fontsize": 7,
    "figure.titlesize": 7, "figure.labelsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
    "ytick.major.size": 2.5, "xtick.minor.size": 1.5, "ytick.minor.size": 1.5,
    "axes.labelpad": 2, "axes.titlepad": 3, "xtick.major.pad": 2, "ytick.major.pad": 2,
    "figure.dpi": 100, "savefig.dpi": 250, "pdf.fonttype": 42, "svg.fonttype": "none",
    "svg.hashsalt": "tokenscope",
    "legend.frameon": False, "figure.constrained_layout.use": True,
})  # fmt: skip


def cmap(name: str = "viridis"):
    """A map of colours; values over its limit take a colour that is not in it."""
    over = {"viridis": OUTLIER, ATTENTION: BLACK, "magma": SKY}[name]
    return matplotlib.colormaps[name].with_extremes(over=over, bad="#dddddd")


def lines():
    """Colour, dash and marker of one line after another: all different for the first 28.

    Two that follow each other differ in all three, so that one is seen on top of the other.
    """
    dashes = [("-", "o"), ("--", "s"), (":", "^"), ("-.", "D")]
    for (dash, marker), colour in zip(itertools.cycle(dashes), itertools.cycle(PALETTE)):
        yield {"color": colour, "ls": dash, "marker": marker, "ms": 2.5}


ATTENTION = "RdBu_r"  # white where attention is uniform


def norm_scale(limit: float) -> LogNorm:
    """Norms as multiples of the median: what is over the outlier rule's limit is clipped."""
    return LogNorm(max(0.5, 1 / limit), limit)


def attention_scale(values: np.ndarray) -> LogNorm:
    """Attention as multiples of uniform, log scale about 1, up to the 99.5th percentile."""
    top = max(2.0, float(np.nanpercentile(values, 99.5)))
    return LogNorm(1 / top, top)


def title(row: dict) -> str:
    """Name of a backbone for a panel; a control is always called one."""
    name = f"{row['family']}/{row['size']}/{row['registers']}"
    named = row["family"] == "control" or not is_control(row.get("kind", ""))
    if len(name) > 26:  # wider than a panel
        name = f"{row['family']}/{row['size']}/\n{row['registers']}"
    return name if named else f"{name} (control)"


def short(name: str) -> str:
    """``family/size/registers`` on two lines, for the margin of a row of maps; others as they are.

    A backbone that is diagnosed is called as its file or folder is.
    """
    if name.count("/") != 2:
        return name
    family, size, registers = name.split("/")
    control = "" if family == "control" or not is_control(registers) else "\ncontrol"
    return f"{family} {size}\n{registers}{control}"


def margin(names: list[str]) -> float:
    """Room that names need beside a row, inches."""
    return 0.12 + 0.055 * max(len(line) for name in names for line in name.split("\n"))


def norm_bar(sheet, shown, limit: float, number: int = 0, of: int = 1, whose="of these images"):
    """The scale of maps drawn on :func:`norm_scale`, below a sheet; ``whose``: the median."""
    text = f"norm / median {whose},\nlog scale (orange-red: over {limit:g})"
    bar = sheet.bar(shown, text, number, of, "both")
    low = shown.norm.vmin
    ticks = [1, *([2] if limit > 2.5 else []), limit]
    bar.set_ticks([low, *ticks], labels=[f"1/{1 / low:.2g}", *(f"{t:g}" for t in ticks)])
    bar.minorticks_off()


def attention_bar(sheet, shown, name: str = "attention", number: int = 0, of: int = 1):
    """The scale of maps drawn on :func:`attention_scale`, below a sheet."""
    top = shown.norm.vmax
    text = f"{name} / uniform,\nlog scale (black: over {top:.3g})"
    bar = sheet.bar(shown, text, number, of, "both")
    inner = 10.0 ** np.floor(np.log10(0.8 * top)) if top > 3 else 0
    apart = inner > 1.3 and np.log(top / inner) > 0.3 * np.log(top)  # else labels touch
    steps = [*([inner] if apart else []), *([top] if top > 1.3 else [])]
    bar.set_ticks(
        [*(1 / step for step in reversed(steps)), 1, *steps],
        labels=[*(f"1/{step:.3g}" for step in reversed(steps)), "1", *(f"{s:.3g}" for s in steps)],
    )
    bar.minorticks_off()


def plain_log(axis) -> None:
    """A log axis of few, plain numbers: 10, 20, 50, 100; 8, 10, 12 where it is short."""
    low, high = axis.get_view_interval()
    if 0 < low < high < 4 * low:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_minor_locator(NullLocator())
    else:
        subs = (1, 2, 5) if high < 1e3 * low else (1,)  # of many decades the powers alone
        axis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def note(figure, text: str) -> None:
    """The figure's caption: what a reader must know. It stands in its files, not in the picture."""
    figure.set_label(text)


def panels(count: int, columns: int = 4, height: float = 1.45, width: float = 0, **kwargs):
    """A grid of ``count`` axes, the unused ones removed; returns figure and list of axes.

    Args:
        height, width: of a panel, inches; without a width the columns share that of a page.
    """
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    wide = min(WIDE, columns * (width or WIDE / columns if columns > 2 else width or 2.4) + 0.4)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(NARROW, wide), rows * height + 0.35), squeeze=False, **kwargs
    )
    for axis in axes.flat[count:]:
        axis.remove()
    shown = list(axes.flat[:count])
    for axis in shown[-columns:]:  # the lowest of each column, also where the last row is short
        axis.tick_params(labelbottom=True)
    return figure, shown


def pages(outputs, items: list) -> list[tuple[list, list[str]]]:
    """What stands on each page of a figure, with the page's files (one a format)."""
    files = [
        list(group) for _, group in itertools.groupby(outputs, lambda o: Path(o).with_suffix(""))
    ]
    return list(zip(shared_out(items, len(files)), files, strict=True))


def picture(axis, values, **kwargs):
    """An image or map without ticks and frame; maps keep their patches visible."""
    axis.axis("on")
    if isinstance(kwargs.get("norm"), LogNorm):  # what is below the scale takes its lowest colour
        values = np.maximum(values, kwargs["norm"].vmin)
    shown = axis.imshow(values, interpolation="nearest", **kwargs)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    return shown


def blank(outputs, text: str) -> None:
    """A figure that says why there is none; the report has the sentence in its place."""
    figure, axis = plt.subplots(figsize=(NARROW, 0.7))
    axis.axis("off")
    axis.text(0.5, 0.5, "\n".join(textwrap.wrap(text, 60)), ha="center", va="center")
    note(figure, f"{NOTHING}{text}.")
    save(figure, outputs)


def describe(output) -> str:
    """What a figure rests on, for its file; which table says what was measured goes by its path."""
    code = of_job()
    commit = f"commit {code['commit']}" if code["commit"] else f"version {code['version']}"
    config = f", config {code['config']}" if code["config"] else ""
    table = next((name for name, like in RESTS_ON.items() if re.search(like, str(output))), "")
    weights = f"weights, and by what they were measured: tables/{table or 'backbones'}.csv"
    return f"tokenscope, drawn by {commit}{config}; {weights} of the study"


def save(figure, outputs) -> None:
    """Write every format; fixed metadata, so that equal figures are equal files.

    A file has the figure's caption as its title, says by which commit and config it was drawn, and
    where it is said what was measured.
    """
    titled = {"Title": figure.get_label()} if figure.get_label() else {}
    for output in outputs:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        kind, rests = Path(output).suffix, describe(output)
        metadata = {
            ".pdf": {"CreationDate": None, "Subject": rests, **titled},
            ".png": {"Software": None, "Description": rests, **titled},
            ".svg": {"Date": None, "Description": rests, **titled},
        }.get(kind)
        figure.savefig(output, metadata=metadata)
        if kind == ".svg":
            drawn = Path(output).read_text(encoding="utf-8")
            Path(output).write_text(_counted(drawn), encoding="utf-8", newline="\n")
    plt.close(figure)


def _counted(drawing: str) -> str:
    """An SVG whose clip paths and markers are named by their number.

    Matplotlib names them by a hash of places whose last digit hangs on the order in which the
    solver of the layout meets them; what is drawn is rounded, and the same.
    """
    names = dict.fromkeys(re.findall(r'id="([a-z][0-9a-f]{10})"', drawing))
    numbers = {name: f"{name[0]}{number}" for number, name in enumerate(names, 1)}
    return re.sub(
        r'(id="|#)([a-z][0-9a-f]{10})\b', lambda found: found[1] + numbers.get(found[2], found[2]),
        drawing,
    )  # fmt: skip
