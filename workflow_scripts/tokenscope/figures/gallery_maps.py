"""Maps of gallery images in units that can be compared (a data set as rule gallery writes it).

Maps of attention and of norms are the evidence of Darcet et al. 2024, "Vision Transformers Need
Registers" (https://arxiv.org/abs/2309.16588), and Figures 1, 2 and 5 of the main paper.
"""

import numpy as np
import xarray as xr


def has_cls(data: xr.Dataset) -> bool:
    return "cls" in data.attrs.get("queries", "").split(",")


def relative_attention(data: xr.Dataset) -> np.ndarray:
    """CLS row (image, row, column) in multiples of uniform attention."""
    query = data.attrs["queries"].split(",").index("cls")
    rows = data["attention"].values[:, query]
    return rows * rows.shape[1] * rows.shape[2]


def relative_norm(data: xr.Dataset, block: int = -1) -> np.ndarray:
    """Feature norms of a block (image, row, column) in medians over the gallery."""
    norms = data["norms"].values[:, block]
    return norms / np.median(norms)
