"""What is said of the arrays of a store beside their numbers: the format, units, names in words.

`config/stores.md` is the format in full; a test compares it with stores.
"""

import re

import numpy as np

from tokenscope.errors import StudyError

VERSION = 1
CONVENTIONS = f"tokenscope-store-{VERSION}"

COORDINATES = {
    "image_id": ("", "name of the image in its data set"),
    "label": ("1", "class of the image; -1: unknown"),
    "block": ("1", "number of the transformer block, from 1"),
    "token_kind": ("", "what a token is: cls, dist, reg0 ..., patch"),
    "prefix_kind": ("", "what a token before the patches is: cls, dist, reg0 ..."),
    "query": ("", "token whose attention this is"),
    "patch_row": ("1", "row of the patch on the grid, from 0 at the top"),
    "patch_column": ("1", "column of the patch on the grid, from 0 at the left"),
    "neighbour": ("", "where the neighbouring patch lies"),
    "slot_kind": ("", "why a token was drawn: normal, outlier, normal_same_places, lowest"),
    "final_norm_weight": ("1", "weight of the backbone's final norm"),
    "final_norm_bias": ("1", "bias of the backbone's final norm"),
    "width": ("pixel", "width of the image file"),
    "height": ("pixel", "height of the image file"),
    "facet": ("", "which features LOST compares: q, k, v or tokens"),
    "normalised": ("1", "whether features are normalised before they are compared"),
    "bias": ("1", "added to the similarities of patches"),
    "published_facet": ("", "facet of LOST as published"),
    "corner": ("", "side of a box"),
    "box_image": ("1", "number of the image that a box is of, from 0"),
    "box_class": ("1", "class of the object in the box"),
    "xmin": ("pixel", "left side of the box"),
    "ymin": ("pixel", "upper side of the box"),
    "xmax": ("pixel", "right side of the box"),
    "ymax": ("pixel", "lower side of the box"),
}


def coordinate(name: str, dims: tuple[str, ...], values: np.ndarray) -> tuple:
    """A coordinate as xarray takes it, with its units and its name in words.

    Texts become Zarr's ``string``: numpy's own, of a fixed width, have no specification.
    """
    values = np.asarray(values)
    units, text = COORDINATES.get(name, ("", ""))
    attrs = {"long_name": text} if text else {}
    attrs |= {"units": units} if units else {}
    return dims, values.astype(object) if values.dtype.kind in "UT" else values, attrs


def described(attrs: dict) -> dict:
    """Attributes of an array of numbers; they have no unit where none is named."""
    return {"units": "1", **attrs}


def check_version(place, attrs: dict) -> None:
    """Raise StudyError where a store is of a format that came after this code."""
    found = re.fullmatch(r"tokenscope-store-(\d+)", str(attrs.get("Conventions", "")))
    if found and int(found[1]) > VERSION:
        raise StudyError(
            f"{place}: is written in {found[0]}, this version reads up to {CONVENTIONS}; update it"
        )
