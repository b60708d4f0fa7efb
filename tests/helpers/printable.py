"""What holds of every figure: it can be printed, and every word of it can be read."""

import numpy as np
from matplotlib.text import Text

from tokenscope.figures import style


def problems(figure) -> list[str]:
    """Why a figure could not be printed as it is: sentences; none where it could."""
    wide, high = figure.get_size_inches()
    found = [f"{wide:.2f} in wide"] * bool(wide > style.WIDE + 1e-6)
    found += [f"{high:.2f} in high"] * bool(high > style.TALL + 0.3)
    figure.draw_without_rendering()
    canvas = figure.bbox
    hidden = _hidden(figure)
    texts = [
        text for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden
    ]  # fmt: skip
    boxes = []
    for text in texts:
        box = text.get_window_extent()
        boxes.append((box.x0, box.y0, box.x1, box.y1))
        said = text.get_text().replace("\n", " ")[:50]
        if not 5 <= text.get_fontsize() <= 8:
            found.append(f"{text.get_fontsize():g} pt: {said}")
        over = canvas.x0 - box.x0, canvas.y0 - box.y0, box.x1 - canvas.x1, box.y1 - canvas.y1
        if max(over) > 1:
            found.append(f"cut: {said}")
    boxes = np.array(boxes).reshape(-1, 4)
    for i, (left, low, right, top) in enumerate(boxes):
        others = boxes[i + 1 :]
        both = np.minimum(right, others[:, 2]) - np.maximum(left, others[:, 0])
        high = np.minimum(top, others[:, 3]) - np.maximum(low, others[:, 1])
        for j in np.flatnonzero((both > 2) & (high > 2)):
            pair = [texts[k].get_text().replace("\n", " ")[:40] for k in (i, i + 1 + j)]
            found.append(f"over each other: {pair[0]} | {pair[1]}")
    return found


def _hidden(figure) -> set[int]:
    """Ids of texts that are not drawn: ticks outside their axis, words of axes put off."""
    hidden = set()
    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            drawn = axis._update_ticks() if axes.axison and axes.get_visible() else []
            for tick in (*axis.majorTicks, *axis.minorTicks):
                if tick not in drawn:
                    hidden |= {id(tick.label1), id(tick.label2)}
            if not axes.axison:
                hidden.add(id(axis.label))
    return hidden
