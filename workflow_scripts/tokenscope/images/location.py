"""Where the bytes of an image are: a file, a range of a larger file, or a row of a parquet file."""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from tokenscope.errors import StudyError

WHOLE = -1  # offset of an image that is a file of its own


class ImageLocation(NamedTuple):
    """Bytes of one image. ``offset`` is :data:`WHOLE` for a whole file."""

    path: str
    offset: int = WHOLE
    length: int = 0

    def __str__(self) -> str:
        return self.path if self.offset == WHOLE else f"{self.path} at byte {self.offset}"

    def read(self) -> bytes:
        """The bytes. Raises OSError, and EOFError when the file ends before them."""
        with open(self.path, "rb") as handle:
            if self.offset == WHOLE:
                return handle.read()
            handle.seek(self.offset)
            content = handle.read(self.length)
        if len(content) < self.length:
            raise EOFError(f"the file ends {self.length - len(content)} bytes too early")
        return content


def locations(root: str, rows) -> list[ImageLocation]:
    """Of each row of a sample (columns ``path``, ``offset``, ``bytes``), where its image is."""
    columns = (rows["path"], rows.get("offset"), rows.get("bytes"))
    if columns[1] is None:
        return [ImageLocation(os.path.join(root, path)) for path in columns[0]]
    return [
        ImageLocation(os.path.join(root, path), int(offset), int(length))
        for path, offset, length in zip(*columns, strict=True)
    ]


def folder_of(path: str) -> str:
    """The folder that paths of a set are relative to; ``path`` may be a glob or brace pattern."""
    plain = re.split(r"[*?\[{]", path)[0]
    if plain == path and not path.endswith((".tar", ".parquet")):
        return path
    return os.path.dirname(plain) or "."


def parquet_blobs(path: str, column: str, rows: list[int]) -> Iterator[bytes | None]:
    """Image bytes of ascending ``rows`` of a parquet file, each row group read once.

    Parquet has no random access to a value, so images are copied out once, in the file's order.

    Raises:
        StudyError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            struct = pa.types.is_struct(file.schema_arrow.field(column).type)
            first, todo = 0, list(reversed(rows))
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                in_group = []
                while todo and todo[-1] < first + size:
                    in_group.append(todo.pop() - first)
                if in_group:
                    leaf = f"{column}.bytes" if struct else column
                    cells = file.read_row_group(group, columns=[leaf], use_threads=False)[column]
                    for row in in_group:
                        cell = cells[row].as_py()
                        yield cell["bytes"] if struct else cell
                first += size
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{path}: damaged or no parquet file ({error})") from None
    if todo:
        raise StudyError(f"{path}: has {first} rows, row {todo[-1]} was listed: index it again")
