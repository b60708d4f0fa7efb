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
