"""The files that weights lie in: one, or an index and the shards that it names; are they weights?

Libraries cut large weights into shards and write an index, ``model.safetensors.index.json``, that
says which weight is in which. What cannot be weights at all (a web page, a pointer of git-LFS, half
a file) is told by the first bytes, before torch is asked. No torch is needed.
"""

import json
from pathlib import Path

from tokenscope.errors import StudyError

INDEX = ".index.json"
_PAGE = "is a web page, not weights: fetch it from the address of the file itself"
_NO_WEIGHTS = {
    b"version https://git-lfs": "is a pointer of git-LFS, not weights: run 'git lfs pull' there",
    b"<!doctype": _PAGE, b"<html": _PAGE, b"<?xml": _PAGE,
    b'{"': "is a text of settings (JSON), not weights",
    b"{\n": "is a text of settings (JSON), not weights",
}  # fmt: skip


def is_index(weights: str | Path) -> bool:
    """Whether a file names shards and holds no weights itself."""
    return str(weights).endswith(INDEX)


def shards(index: str | Path) -> dict[str, list[str]]:
    """Names of the weights in each shard that an index names, by the shard's file name.

    Raises:
        StudyError: the file is no index.
    """
    try:
        said = json.loads(Path(index).read_bytes())
        names = said["weight_map"]
        found: dict[str, list[str]] = {}
        for weight, shard in names.items():
            if not isinstance(shard, str) or Path(shard).name != shard:
                raise StudyError(f"'{index}': '{weight}' lies in {shard!r}, no file beside it")
            found.setdefault(shard, []).append(weight)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StudyError(
            f"'{index}' is no index of shards ({type(error).__name__}: {error}); it needs "
            "'weight_map', the shard of each weight by name"
        ) from None
    if not found:
        raise StudyError(f"'{index}' is no index of shards: its weight_map is empty")
    return dict(sorted(found.items()))


def files_of(weights: str | Path) -> list[Path]:
    """All files that weights lie in, an index before its shards.

    Raises:
        StudyError: an index that is none.
    """
    weights = Path(weights)
    if not is_index(weights) or not weights.is_file():
        return [weights]
    return [weights, *(weights.with_name(name) for name in shards(weights))]


def here(weights: str | Path) -> list[str]:
    """Those of the files that are there; what is wrong with an index, :func:`check` says."""
    try:
        files = files_of(weights)
    except StudyError:
        files = [Path(weights)]
    return [str(file) for file in files if file.is_file()]


def check(weights: str | Path) -> None:
    """Raise a StudyError that names the file where one is missing, or cannot be weights."""
    files = files_of(weights)
    lacking = [file.name for file in files if not file.is_file()]
    if lacking and len(files) > 1:
        raise StudyError(
            f"'{weights}': of its {len(files) - 1} shards {len(lacking)} are missing: "
            f"{', '.join(lacking[:3])}; fetch them"
        )
    for file in files[len(files) > 1 :]:
        if file.is_file():
            _check_bytes(file)


def _check_bytes(file: Path) -> None:
    size = file.stat().st_size
    with open(file, "rb") as handle:
        begin = handle.read(64)
        if not begin:
            raise StudyError(f"'{file}' is empty: fetch it again")
        bare = begin.lstrip().lower()
        if why := next((why for key, why in _NO_WEIGHTS.items() if bare.startswith(key)), ""):
            raise StudyError(f"'{file}' {why}")
        if file.suffix != ".safetensors":
            return
        length = int.from_bytes(begin[:8], "little")  # of the header, which says where all lies
        if length > 100 << 20 or begin[8:9] != b"{":
            return  # no such file: its reader says so
        handle.seek(8)
        header = handle.read(length)
    try:
        ends = [v["data_offsets"][1] for k, v in json.loads(header).items() if k != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        whole = 8 + length
        if size >= whole:
            return
    if size < whole:
        raise StudyError(
            f"'{file}' is cut short: {size:,} of {whole:,} bytes or more are there; fetch it again"
        )
