"""A packed study: its small files, and first of all a list of them with their checksums.

The list is the file ``pack.json`` in the folder of results. Paths are those in the folder that the
study was run from, so that files are in their places where it is unpacked. Equal files make equal
archives.
"""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

from tokenscope.stores.receipts import sha256_file

FORMAT = 1  # raised when an older project could not read what is packed
LIST = "pack.json"
CRATE = "ro-crate-metadata.json"
# Below the folder of results; receipts of samples name the images that were skipped.
PARTS = ("tables", "figures/data", "receipts/sample")


def write(archive: Path, files: list[Path], about: dict, pages: dict[str, str]) -> dict:
    """Pack files and return the list that was packed with them.

    Args:
        archive: where to; whole or not there.
        files: relative to the folder one works in.
        about: ``study``, ``results``, ``config``, and what else the list says before the files.
        pages: texts that are packed as files too, by their path.
    """
    sums = {path.as_posix(): entry_of(path) for path in files}
    texts = {name: text.encode() for name, text in pages.items()}
    sums |= {
        name: _entry(len(text), hashlib.sha256(text).hexdigest()) for name, text in texts.items()
    }
    listed = {"format": FORMAT, **about, "files": dict(sorted(sums.items()))}
    first = {f"{about['results']}/{LIST}": (json.dumps(listed, indent=1) + "\n").encode()}
    aside = Path(f"{archive}.partial")
    newest = max((path.stat().st_mtime for path in files), default=0.0)
    with (
        aside.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        # Snakemake goes by times: they are kept to less than a second.
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        tar.dereference = True  # else a file of two names would be packed as a link
        for name, content in {**first, **texts}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), newest, 0o644
            tar.addfile(member, io.BytesIO(content))
        for path in files:
            tar.add(path, filter=_of_nobody)
    aside.replace(archive)
    return listed


def entry_of(path: Path) -> dict:
    """What the list says of a file."""
    return _entry(path.stat().st_size, sha256_file(path))


def _entry(size: int, sha256: str) -> dict:
    return {"bytes": size, "sha256": sha256}


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without the names, numbers and rights of whoever packs it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
