"""Hugging Face parquet exports: images in a column, listed without copying them."""

import os
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from tokenscope.datasets.layouts import Progress, shards_of, with_classes
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
                if lacking := {image, label} - set(schema.names):
                    raise StudyError(
                        f"{path}: has no column {sorted(lacking)}, only {schema.names} "
                        "(config key: datasets, columns: file and label)"
                    )
                has_path = pa.types.is_struct(schema.field(image).type)
                wanted = [label, *([f"{image}.path"] if has_path else [])]
                table = file.read(columns=wanted)
        except (pa.ArrowException, OSError) as error:
            raise StudyError(f"{path}: damaged or no parquet file ({error})") from None
        names = _class_label(schema, label)
        if listed is not None and names != listed:
            raise StudyError(f"{path}: its names of the classes differ from those of {first}")
        listed, first = names, first or path
        tables.append(_rows(table, image, label, shard, has_path))
        progress(len(tables), len(shards))
    return with_classes(pd.concat(tables, ignore_index=True), source, listed)


def _rows(table, image: str, label: str, shard: str, has_path: bool) -> pd.DataFrame:
    rows, stem = np.arange(table.num_rows), PurePosixPath(shard).stem
    names = [f"{stem}-{row:06d}" for row in rows]
    if has_path:
        paths = [cell["path"] for cell in table[image].to_pylist()]
        names = [PurePosixPath(p).stem if p else n for p, n in zip(paths, names, strict=True)]
    labels = table[label].to_pylist()
    text = any(isinstance(value, str) for value in labels)
    return pd.DataFrame({
        "name": names, "path": shard, "offset": rows, "bytes": 0,
        "number": [-1 if text or value is None else int(value) for value in labels],
        "class_name": [value or "" for value in labels] if text else "",
    })  # fmt: skip


def _class_label(schema, label: str) -> dict[int, str]:
    """Names of the ClassLabel feature; none where ``datasets`` did not write the file."""
    import pyarrow as pa
    from datasets import ClassLabel, Features

    # Of this column alone: `datasets` has no word for some types that others may have.
    alone = pa.schema([schema.field(label)], metadata=schema.metadata)
    feature = Features.from_arrow_schema(alone)[label]
    return dict(enumerate(feature.names)) if isinstance(feature, ClassLabel) else {}
