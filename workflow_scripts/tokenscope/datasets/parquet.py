"""Hugging Face parquet exports: images in a column, listed without copying them."""

import os
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from tokenscope.datasets.label_space import class_number
from tokenscope.datasets.layouts import Progress, with_classes
from tokenscope.datasets.listing import EXTENSIONS, shards_of
from tokenscope.errors import StudyError


def parquet(source: dict, threads: int, progress: Progress) -> pd.DataFrame:
    """A Hugging Face export: image bytes in a struct column, labels by the names of their feature.

    What the columns mean is the word of the ``datasets`` library; its loader would first write a
    second copy of the set, so the rows are read from the files where they lie. Only the labels and
    the names of the images are read here; ``offset`` is the row in its file.

    Raises:
        StudyError: a file that is cut off, has other columns, or disagrees with the others.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    root, shards = shards_of(source["path"], ".parquet")
    columns = {"file": "image", "label": "label", **source.get("columns", {})}
    image, label = columns["file"], columns["label"]
    tables, listed, first = [], None, ""
    for shard in shards:
        path = os.path.join(root, shard)
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                names = schema.names
                if twice := [name for name in (image, label) if names.count(name) > 1]:
                    raise StudyError(f"{path}: has the column '{twice[0]}' twice")
                if lacking := {image, label} - set(schema.names):
                    raise StudyError(
                        f"{path}: has no column {sorted(lacking)}, only {schema.names} "
                        "(config key: datasets, columns: file and label)"
                    )
                _check_images(schema.field(image).type, path, image)
                has_path = _has_path(schema.field(image).type)
                wanted = [label, *([f"{image}.path"] if has_path else [])]
                table = file.read(columns=wanted)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise StudyError(f"{path}: damaged or no parquet file ({error})") from None
        names = _class_label(schema, label, path)
        if listed is not None and names != listed:
            raise StudyError(f"{path}: its names of the classes differ from those of {first}")
        listed, first = names, first or path
        tables.append(_rows(table, image, label, shard, path))
        progress(len(tables), len(shards))
    return with_classes(pd.concat(tables, ignore_index=True), source, listed)


def _check_images(kind, path: str, image: str) -> None:
    """Raise a StudyError unless a column holds the bytes of image files."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        kind = kind.field(at).type if at >= 0 else None
    if kind is None or not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise StudyError(
            f"{path}: the column '{image}' holds no bytes of image files, but "
            f"{kind if kind is not None else 'a struct without the field bytes'} "
            "(config key: datasets, columns: file)"
        )


def _has_path(kind) -> bool:
    """Whether images carry a name, too."""
    import pyarrow as pa

    at = kind.get_field_index("path") if pa.types.is_struct(kind) else -1
    return at >= 0 and (
        pa.types.is_string(kind.field(at).type) or pa.types.is_large_string(kind.field(at).type)
    )


def _rows(table, image: str, label: str, shard: str, path: str) -> pd.DataFrame:
    rows = np.arange(table.num_rows)
    # By the shard's path: shards of two folders may have one name.
    names = [f"{PurePosixPath(shard).with_suffix('')}-{row:06d}" for row in rows]
    if image in table.column_names:
        paths = [(cell or {}).get("path") for cell in table[image].to_pylist()]
        names = [_bare(p) if p else n for p, n in zip(paths, names, strict=True)]
    labels = table[label].to_pylist()
    numbers = [class_number(value, f"{path}, row {row}") for row, value in enumerate(labels)]
    text = None in numbers
    if text and (others := [v for v, n in zip(labels, numbers, strict=True) if n is not None]):
        raise StudyError(f"{path}: some labels are names and some are not ({others[0]!r})")
    return pd.DataFrame({
        "name": names, "path": shard, "offset": rows, "bytes": 0,
        "number": [-1 if text else number for number in numbers],
        "class_name": labels if text else "",
    })  # fmt: skip


def _bare(path: str) -> str:
    """A name without the suffix of an image."""
    suffix = PurePosixPath(path).suffix
    return path[: -len(suffix)] if suffix.lower() in EXTENSIONS else path


def _class_label(schema, label: str, path: str) -> dict[int, str]:
    """Names of the ClassLabel feature; none where ``datasets`` did not write the file."""
    import pyarrow as pa
    from datasets import ClassLabel, Features

    # Of this column alone: `datasets` has no word for some types that others may have.
    alone = pa.schema([schema.field(label)], metadata=schema.metadata)
    try:
        feature = Features.from_arrow_schema(alone)[label]
    except Exception as error:  # whatever `datasets` makes of foreign metadata
        raise StudyError(
            f"{path}: what it says of its column '{label}' cannot be read ({error})"
        ) from None
    return dict(enumerate(feature.names)) if isinstance(feature, ClassLabel) else {}
