"""Rows of a manifest or a sample, as they were written: names are text, whatever they look like."""

from pathlib import Path

import pandas as pd

from tokenscope.errors import StudyError

# "0012", "1e5", "NA" and "True" are names of images like any other.
TEXT = ("image_id", "path", "label_name", "mode", "sha256", "image", "target", "split")
WHOLE_NUMBERS = ("offset", "bytes", "label", "width", "height")


def read_rows(file: str | Path) -> pd.DataFrame:
    """A table of images, one row each.

    Raises:
        StudyError: no such file, a damaged one, a column without whole numbers, an image twice.
    """
    remedy = "delete it and run again"
    try:
        rows = pd.read_csv(file, keep_default_na=False, dtype=dict.fromkeys(TEXT, str))
    except FileNotFoundError:
        raise StudyError(f"the table of images {file} does not exist") from None
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise StudyError(f"{file}: is no table of images ({error}); {remedy}") from None
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes a cell too many for an index
        raise StudyError(f"{file}: has rows of more cells than columns; {remedy}")
    if not len(rows):
        raise StudyError(f"{file}: lists no image; {remedy}")
    for name in WHOLE_NUMBERS:
        if name in rows and not pd.api.types.is_integer_dtype(rows[name]):
            raise StudyError(f"{file}: its column '{name}' holds no whole numbers; {remedy}")
    ids = rows.get("image_id", pd.Series())
    if (twice := ids[ids.duplicated()]).size:
        raise StudyError(f"{file}: '{twice.iloc[0]}' is there twice; {remedy}")
    return rows
