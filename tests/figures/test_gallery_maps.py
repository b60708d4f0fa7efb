"""Maps of gallery images: which attention is drawn, and in which unit."""

import numpy as np
import xarray as xr

from tokenscope.figures import style
from tokenscope.figures.gallery_maps import CLS, RECEIVED, attention_name, relative_attention


def test_attention_received_is_never_called_cls():
    uniform = np.full((3, 4, 4), 1 / 16, np.float32)
    rows = np.stack([2 * uniform, uniform], 1)
    with_cls = xr.Dataset(
        {"attention": (("image", "query", "row", "column"), rows)}, attrs={"queries": "cls,reg0"}
    )
    received = {"attention_received": (("image", "row", "column"), uniform)}
    registers_alone = xr.Dataset(
        {"attention": (("image", "query", "row", "column"), rows), **received},
        attrs={"queries": "reg0,reg1"},
    )
    assert attention_name(with_cls) == CLS and (relative_attention(with_cls) == 2).all()
    for data in (registers_alone, xr.Dataset(received)):
        assert attention_name(data) == RECEIVED and (relative_attention(data) == 1).all()
    assert attention_name(xr.Dataset()) == ""


def test_the_margin_of_a_row_names_a_study_s_backbone_or_a_diagnosed_one():
    assert style.short("dinov2/base/r4") == "dinov2 base\nr4"
    assert style.short("my-net") == "my-net"
