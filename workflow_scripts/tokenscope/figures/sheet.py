"""Sheets of maps: panels of exact size, close together, names in the margin, scales below."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from tokenscope.figures import style

EDGE, BELOW, BAR = 0.04, 0.62, 2.3  # inches: outer edge, room for scales, the longest scale


@dataclass(frozen=True)
class Sheet:
    """A figure of maps: ``axes`` (row, column), from ``left`` to ``right`` (inches)."""

    figure: Any
    axes: np.ndarray
    left: float
    right: float

    def bar(self, shown, label: str, number: int = 0, of: int = 1, extend: str = "max"):
        """A thin scale below the maps, number ``number`` of ``of`` side by side."""
        wide, high = self.figure.get_size_inches()
        room = (self.right - self.left) / of
        long = min(BAR, 0.85 * room)
        start = self.left + room * (number + 0.5) - long / 2
        axis = self.figure.add_axes((start / wide, 0.48 / high, long / wide, 0.06 / high))
        bar = self.figure.colorbar(shown, cax=axis, orientation="horizontal", extend=extend)
        bar.outline.set_visible(False)
        bar.set_label(label)
        return bar

    def beside(self, row: int, text: str) -> None:
        """Name a row in the left margin."""
        self.axes[row, 0].text(
            -0.06, 0.5, text, transform=self.axes[row, 0].transAxes, ha="right", va="center"
        )

    def over(self, row: int, column: int, text: str, lines: int = 0) -> None:
        """Name what begins at a panel, from its left edge on; above ``lines`` of other titles."""
        self.axes[row, column].annotate(
            text, (0, 1), (0, 2 + 9 * lines), xycoords="axes fraction", textcoords="offset points",
            ha="left", va="bottom",
        )  # fmt: skip


def sheet(
    rows: int, columns: int, left: float = EDGE, above=0.0, heights=None, blocks: int = 1,
    largest: float = 1.1, bars: bool = True, right: float = EDGE,
) -> Sheet:  # fmt: skip
    """A sheet with all panels empty.

    Args:
        left, right: margins for names, inches.
        above: room above each row, inches: one number, or one a row.
        heights: of each row, in widths of a panel; 1 if not given.
        blocks: groups of columns, with a wider gap between them.
        largest: width of a panel, inches, where columns are few.
        bars: whether scales stand below.
    """
    gap, between = 0.035, 0.12
    gaps = gap * (columns - blocks) + between * (blocks - 1)
    panel = min(largest, (style.WIDE - left - right - gaps) / columns)
    wide = left + right + gaps + panel * columns
    above = np.broadcast_to(above, rows)
    heights = panel * (np.ones(rows) if heights is None else np.asarray(heights, float))
    high = EDGE + float(np.sum(above) + np.sum(heights)) + gap * rows + (BELOW if bars else 0)
    figure = style.plt.figure(figsize=(wide, high), layout=PlaceHolderLayoutEngine(False, False))
    axes = np.empty((rows, columns), object)
    y = high - EDGE
    for row in range(rows):
        y -= above[row] + heights[row]
        for column in range(columns):
            block = column // (columns // blocks)
            x = left + column * (panel + gap) + block * (between - gap)
            place = (x / wide, y / high, panel / wide, heights[row] / high)
            axes[row, column] = figure.add_axes(place)
            axes[row, column].axis("off")
        y -= gap
    return Sheet(figure, axes, left, wide - right)
