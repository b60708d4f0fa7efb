"""A packed study on its way back: every file is compared with the pack's list, then all are placed.

Nothing is unpacked where it belongs before all of it has been read and compared.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tokenscope.errors import StudyError, some
from tokenscope.packing.archive import CRATE, FORMAT, LIST, PARTS
from tokenscope.stores.receipts import read_receipt, sha256_file

MOST_LIST = 64_000_000  # bytes of a pack's list; a study's is some hundred kB
_PIECE = 1 << 20
_OTHERS = {b"<": "a web page", b"PK": "a zip archive", b"\xfd7zXZ": "packed by xz"}
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, OSError)


def unpack(archive: Path, folder: Path, version: str, called: str = "") -> dict:
    """Unpack into an empty folder of its own, comparing all; returns the pack's list.

    Args:
        version: of this project; packs of another (but for the last of its numbers) are refused.
        called: what a reader knows the archive by; its path without it.

    Raises:
        StudyError: it is no pack, one of another version, damaged or cut off, or the disk is full.
    """
    called = called or str(archive)
    _check_kind(archive, called)
    try:
        # Not "r|gz": tarfile itself does not compare the checksum at the end of the stream.
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            first = tar.next()
            listed = _list(tar, first, called)
            _check_version(listed, called, version)
            _check_room(listed, called, folder)
            seen = set()
            while member := tar.next():
                _write(tar, member, folder, listed, called)
                seen.add(member.name)
            while rest := stream.read(_PIECE):  # to its checksum
                if rest.strip(b"\0"):
                    raise StudyError(f"{called}: is more than one archive; name one pack")
    except StudyError:
        raise
    except _BROKEN as error:
        raise StudyError(
            f"{called}: is damaged, was cut off, or is no .tar.gz at all ({error}); fetch it again"
        ) from None
    if missing := sorted(listed["files"].keys() - seen):
        raise StudyError(f"{called}: {len(missing)} files are missing: {some(missing, 3)}")
    text = json.dumps(listed, indent=1) + "\n"
    _keep(folder / listed["results"] / LIST, [text.encode()])
    return listed


def _check_kind(archive: Path, called: str) -> None:
    """Whether it begins as a pack does; what servers send in its place is named."""
    with archive.open("rb") as handle:
        begins = handle.read(512)
    if begins.startswith(b"\x1f\x8b"):
        return
    is_ = "empty" if not begins else "no .tar.gz"
    for first, kind in _OTHERS.items():
        if begins.lstrip().startswith(first):
            is_ = f"{kind}, no .tar.gz"
    raise StudyError(
        f"{called}: is {is_}: name the archive that make pack writes, as it is (<study>.tar.gz)"
    )


def _list(tar: tarfile.TarFile, member: tarfile.TarInfo | None, called: str) -> dict:
    """The list of a pack, its first member."""
    if member is None or PurePosixPath(member.name).name != LIST or not member.isfile():
        raise StudyError(
            f"{called}: holds no list of its files ({LIST}) at its beginning, so that nothing can "
            "be compared: it is no packed study, or one packed before there were lists; pack it "
            "again (make pack)"
        )
    content = tar.extractfile(member)
    assert content is not None
    try:
        listed = json.loads(content.read(MOST_LIST))
        if not {"format", "study", "results", "files"} <= listed.keys():
            raise ValueError("lacks keys")
        if not _inside(listed["results"]) or not all(
            entry["bytes"] >= 0 and entry["sha256"] for entry in listed["files"].values()
        ):
            raise ValueError("is none of ours")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise StudyError(f"{called}: its list of files, {member.name}, is damaged") from None
    return listed


def _inside(name: str) -> bool:
    """Whether a path stays in the folder it is relative to, in sight, on Windows as well."""
    plain = PurePosixPath(name)
    hidden = [part for part in plain.parts if part.startswith(".")]
    return bool(plain.parts) and not (plain.is_absolute() or hidden or re.search(r"[:\\\0]", name))


def _belongs(name: str, listed: dict) -> bool:
    """Whether a pack may hold it: data among its results, and configs beside them.

    Nothing that Python would import, or Snakemake take for a profile of its own.
    """
    if not _inside(name):
        return False
    below = name.removeprefix(f"{listed['results']}/")
    if below != name:
        return below == CRATE or below.startswith(tuple(f"{part}/" for part in PARTS))
    top = PurePosixPath(name).parts[0].lower()
    return top != "profiles" and name.endswith((".yaml", ".yml", ".csv"))


def _check_version(listed: dict, called: str, version: str) -> None:
    theirs = str(listed.get("version", ""))
    by = f"version {theirs or 'unknown'}"
    by += f", commit {listed['commit']}" if listed.get("commit") else ""
    if listed["format"] != FORMAT:
        raise StudyError(
            f"{called}: is a pack of format {listed['format']} (made by {by}), this project reads "
            f"format {FORMAT}: take the project in that version, or pack the study anew with this"
        )
    if theirs.split(".")[:2] != version.split(".")[:2]:
        raise StudyError(
            f"{called}: was packed by {by} of this project, which is {version} here: its tables "
            "may mean something else; check that version out, or pack the study anew with this"
        )


def _check_room(listed: dict, called: str, folder: Path) -> None:
    needed = sum(entry["bytes"] for entry in listed["files"].values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StudyError(
            f"{called}: unpacked it has {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free "
            "here: make room, or work on another disk"
        )


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, listed: dict,
           called: str) -> None:  # fmt: skip
    """One member, compared with the list."""
    expected = listed["files"].get(member.name)
    if not expected:
        raise StudyError(f"{called}: {member.name} is none of the files that it lists")
    if not member.isfile() or not _belongs(member.name, listed):
        raise StudyError(
            f"{called}: {member.name} is no file that a pack may hold: only data among its "
            "results, and configs; nothing of it was unpacked"
        )
    if member.size != expected["bytes"]:
        raise StudyError(
            f"{called}: {member.name} has {member.size:,} bytes, {expected['bytes']:,} were packed"
        )
    content, summed = tar.extractfile(member), hashlib.sha256()
    assert content is not None

    def pieces() -> Iterator[bytes]:
        while piece := content.read(_PIECE):
            summed.update(piece)
            yield piece

    _keep(folder / member.name, pieces())
    if summed.hexdigest() != expected["sha256"]:
        raise StudyError(
            f"{called}: {member.name} is damaged: its checksum is not the one that was packed; "
            "fetch it again"
        )
    try:
        os.utime(folder / member.name, (member.mtime, member.mtime))
    except (OverflowError, ValueError):
        raise StudyError(
            f"{called}: {member.name} is damaged: no file can be of the time that it names; "
            "fetch it again"
        ) from None


def _keep(place: Path, pieces: Iterable[bytes]) -> None:
    """Write a file; that the disk does not take it is told from an archive that cannot be read."""
    with _writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = place.open("wb")
    try:
        for piece in pieces:
            with _writing(place):
                handle.write(piece)
    finally:
        with _writing(place):
            handle.close()


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StudyError(f"{place}: cannot be written ({error.strerror or error})") from None


def place(folder: Path, listed: dict, home: Path, replace: bool = False) -> int:
    """Move what was unpacked to where it belongs, all or nothing; returns how many files.

    Args:
        folder: what :func:`unpack` filled, on the same disk as ``home``.
        home: the folder that one works in.
        replace: also over configs of other content that are there.

    Raises:
        StudyError: results of that study are there already, or configs of other content.
    """
    results = home / listed["results"]
    if results.exists() and any(map(_counts, (p for p in results.rglob("*") if p.is_file()))):
        raise StudyError(
            f"{listed['results']} is there already and stays as it is: move it away to fetch "
            "another in its place"
        )
    inside = f"{listed['results']}/"
    beside = [name for name in listed["files"] if not name.startswith(inside)]
    new = [name for name in beside if not _same(home / name, listed["files"][name])]
    if (there := [name for name in new if (home / name).exists()]) and not replace:
        commit = str(listed.get("commit", "")).removesuffix("-dirty")
        by = f" (git checkout {commit})" if commit else ""
        raise StudyError(
            f"{some(there)}: here of other content than in the pack, by which it would be drawn; "
            f"go to the commit that packed it{by}, or replace them: REPLACE=yes"
        )
    before = folder / ".before"
    placed: list[str] = []
    try:
        for name in new:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            if (home / name).exists():
                (before / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(home / name, before / name)
            placed.append(name)
            os.replace(folder / name, home / name)
        results.parent.mkdir(parents=True, exist_ok=True)
        if results.exists():
            shutil.rmtree(results)
        os.rename(folder / listed["results"], results)
    except OSError as error:
        for name in placed:
            (home / name).unlink(missing_ok=True)
            if (before / name).exists():
                os.replace(before / name, home / name)
        raise StudyError(f"{listed['results']}: cannot be written ({error})") from None
    return len(listed["files"])


def compare(results: Path) -> tuple[int, list[str]]:
    """How many files a study was fetched with, and what of them is not as it was packed.

    Raises:
        StudyError: the list of them is damaged.
    """
    file = results / LIST
    if not file.exists():
        return 0, []
    facts = read_receipt(file)
    try:
        inside, faults = f"{facts['results']}/", []
        for name, expected in facts["files"].items():
            here = results / name.removeprefix(inside) if name.startswith(inside) else Path(name)
            if not _same(here, expected):
                what = "is not as it was packed" if here.is_file() else "was packed, and is gone"
                faults.append(f"{here}: {what}; fetch it again")
    except (KeyError, TypeError, AttributeError):
        raise StudyError(f"{file}: is damaged; fetch the study again") from None
    return len(facts["files"]), faults


def _counts(file: Path) -> bool:
    """Whether a file is of a study: what a dry run expects it to cost is none of its results."""
    return file.parent.name != "forecast" or file.parent.parent.name != "accounting"


def _same(file: Path, expected: dict) -> bool:
    return (
        file.is_file()
        and file.stat().st_size == expected["bytes"]
        and sha256_file(file) == expected["sha256"]
    )
