"""Maps of gallery images in units that can be compared (a data set as rule gallery writes it).

Maps of attention and of norms are the evidence of Darcet et al. 2024, "Vision Transformers Need
Registers" (https://arxiv.org/abs/2309.16588), and Figures 1, 2 and 5 of the main paper.
"""

import numpy as np
import xarray as xr

CLS, RECEIVED = "CLS attention", "attention received"


def attention_name(data: xr.Dataset) -> str:
    """Which attention is drawn: of CLS, or without CLS what patches get from all tokens.

    Empty where the file, of an earlier version, has neither.
    """
    if "cls" in data.attrs.get("queries", "").split(","):
        return CLS
    return RECEIVED if "attention_received" in data else ""


def relative_attention(data: xr.Dataset) -> np.ndarray:
    """The map of :func:`attention_name` (image, row, column) in multiples of uniform attention."""
    if attention_name(data) == CLS:
        rows = data["attention"].values[:, data.attrs["queries"].split(",").index("cls")]
    else:
        rows = data["attention_received"].values
    return rows * rows.shape[1] * rows.shape[2]


def relative_norm(data: xr.Dataset, block: int = -1) -> np.ndarray:
    """Feature norms of a block (image, row, column) in medians over the gallery."""
    norms = data["norms"].values[:, block]
    return norms / np.median(norms)


def principal_colours(tokens: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Patch tokens as colours: their three first principal components, of all images together.

    As in Oquab et al. 2023, "DINOv2" (https://arxiv.org/abs/2304.07193), Figure 1, without its
    foreground mask. Each component runs from its 2nd to its 98th percentile; its sign, which is
    arbitrary, is that with the longer upper tail.

    Args:
        tokens: (image, patch, feature), patches row by row. grid: rows and columns.

    Returns:
        (image, row, column, 3), 0 to 255.
    """
    flat = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    flat = flat - flat.mean(0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    parts = flat @ axes[:, :-4:-1]
    parts = parts * np.where((parts**3).sum(0) < 0, -1, 1)
    low, high = np.quantile(parts, (0.02, 0.98), axis=0)
    shades = (parts - low) / np.where(high > low, high - low, 1)
    return np.clip(255 * shades, 0, 255).round().reshape(len(tokens), *grid, 3).astype(np.uint8)
