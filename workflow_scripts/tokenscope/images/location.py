"""Where the bytes of an image are: a file, a range of a larger file, or a row of a parquet file."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

from tokenscope.errors import StudyError

WHOLE = -1  # offset of an image that is a file of its own


class ImageLocation(NamedTuple):
    """Bytes of one image. ``offset`` is :data:`WHOLE` for a whole file.

    ``sha256`` is what they were when the image was sampled; empty where that is not known.
    """

    path: str
    offset: int = WHOLE
    length: int = 0
    sha256: str = ""

    def __str__(self) -> str:
        return self.path if self.offset == WHOLE else f"{self.path} at byte {self.offset}"

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError: there is no such file, or it is none (a pipe, a device, a folder).
            EOFError: the file ends before them.
            ValueError: they are not those that were sampled.
        """
        # Without waiting: a pipe that nobody writes into would never open.
        with open(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise OSError("it is no regular file")
            if self.offset == WHOLE:
                content = handle.read()
            else:
                handle.seek(self.offset)
                content = handle.read(self.length)
                if len(content) < self.length:
                    raise EOFError(f"the file ends {self.length - len(content)} bytes too early")
        if self.sha256 and hashlib.sha256(content).hexdigest() != self.sha256:
            raise ValueError(
                "its bytes are not those that were sampled: put the file back, or delete the "
                "data set's sample.csv and run again"
            )
        return content


def locations(root: str, rows) -> list[ImageLocation]:
    """Where the image of each row of a sample is.

    Args:
        rows: columns ``path`` and, where known, ``offset`` and ``bytes``, ``sha256``.
    """
    count = len(rows["path"])
    offsets, lengths = rows.get("offset", [WHOLE] * count), rows.get("bytes", [0] * count)
    sums = rows.get("sha256", [""] * count)
    return [
        ImageLocation(os.path.join(root, path), int(offset), int(length), sha256)
        for path, offset, length, sha256 in zip(rows["path"], offsets, lengths, sums, strict=True)
    ]


def folder_of(path: str) -> str:
    """The folder that paths of a set are relative to; ``path`` may be a glob or brace pattern.

    A folder that is there is one, whatever letters its name has.
    """
    if os.path.isdir(path):
        return path
    plain = re.split(r"[*?\[{]", path)[0]
    if plain == path and not path.endswith((".tar", ".parquet")):
        return path
    folder = os.path.dirname(path)
    while len(folder) > len(plain):  # letters of a pattern in the name of a folder that is there
        if os.path.isdir(folder):
            return folder
        folder = os.path.dirname(folder)
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
