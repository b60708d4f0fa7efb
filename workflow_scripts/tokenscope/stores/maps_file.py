"""Small files of maps (NetCDF 3) that figures are drawn from: whole or absent, and as written.

Their checksum is an attribute of the file, so that it goes wherever the file goes.
"""

from pathlib import Path

import numpy as np
import xarray as xr
import xxhash

from tokenscope.errors import StudyError

MARK = "xxh3_128"


def save(maps: xr.Dataset, path: str | Path) -> None:
    """Write the arrays, the attributes that NetCDF can hold, and others as text."""
    attrs = {k: v if isinstance(v, str | int | float) else str(v) for k, v in maps.attrs.items()}
    aside = Path(f"{path}.partial")
    written = maps.assign_attrs(attrs)
    written.to_netcdf(aside, engine="scipy")
    with xr.open_dataset(aside, engine="scipy") as back:
        mark = _digest(back.load())
    written.assign_attrs({MARK: mark}).to_netcdf(aside, engine="scipy")
    aside.replace(path)


def load(path: str | Path) -> xr.Dataset:
    """What :func:`save` wrote, in memory; a file of an earlier version as it is.

    Raises:
        StudyError: it is not there, or not as it was written.
    """
    remedy = "delete it, and run again"
    try:
        with xr.open_dataset(path, engine="scipy") as file:
            maps = file.load()
        mark = maps.attrs.pop(MARK, None)
        same = mark is None or mark == _digest(maps)
    except FileNotFoundError:
        raise StudyError(f"{path}: the file does not exist; run the job that makes it") from None
    except Exception as error:  # what scipy makes of damaged bytes has no common class
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise StudyError(f"{path}: these maps are damaged ({first}); {remedy}") from None
    if not same:
        raise StudyError(
            f"{path}: these maps are damaged: their checksum is not the one that was written; "
            f"{remedy}"
        )
    return maps


def _digest(maps: xr.Dataset) -> str:
    """Of all names, shapes, numbers and attributes, whatever the order of bytes."""
    summed = xxhash.xxh3_128()
    facts = sorted((str(k), str(np.asarray(v).ravel().tolist())) for k, v in maps.attrs.items())
    summed.update(str(facts).encode())
    for name in sorted(map(str, maps.variables)):
        variable = maps.variables[name]
        values, attrs = variable.values, sorted((k, str(v)) for k, v in variable.attrs.items())
        summed.update(f"{name} {variable.dims} {values.shape} {values.dtype.name} {attrs}".encode())
        little = values.astype(values.dtype.newbyteorder("<"))
        plain = str(values.tolist()).encode() if values.dtype.hasobject else little.tobytes()
        summed.update(plain)
    return summed.hexdigest()
