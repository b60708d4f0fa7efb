"""A packed study on its way back: every file is compared with the pack's list, then all are placed.

Nothing is unpacked where it belongs before all of it has been read and compared.
"""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from tokenscope.errors import StudyError, some
from tokenscope.packing.archive import FORMAT, LIST
from tokenscope.stores.receipts import sha256_file

MOST_LIST = 64_000_000  # bytes of a pack's list; a study's is some hundred kB
_PIECE = 1 << 20
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, OSError)


def unpack(archive: Path, folder: Path, version: str) -> dict:
    """Unpack into an empty folder of its own, comparing all; returns the pack's list.

    Args:
        version: of this project; packs of another (but for the last of its numbers) are refused.

    Raises:
        StudyError: it is no pack, one of another version, damaged or cut off.
    """
    try:
        # Not "r|gz": tarfile itself does not compare the checksum at the end of the stream.
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            first = tar.next()
            listed = _list(tar, first, archive)
            _check_version(listed, archive, version)
            seen = set()
            while member := tar.next():
                _write(tar, member, folder, listed["files"], archive)
                seen.add(member.name)
            while stream.read(_PIECE):
                pass
    except StudyError:
        raise
    except _BROKEN as error:
        raise StudyError(
            f"{archive}: is damaged, was cut off, or is no .tar.gz at all ({error}); fetch it again"
        ) from None
    if missing := sorted(listed["files"].keys() - seen):
        raise StudyError(f"{archive}: {len(missing)} files are missing: {some(missing, 3)}")
    text = json.dumps(listed, indent=1) + "\n"
    place = folder / listed["results"] / LIST
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return listed


def _list(tar: tarfile.TarFile, member: tarfile.TarInfo | None, archive: Path) -> dict:
    """The list of a pack, its first member."""
    if member is None or PurePosixPath(member.name).name != LIST or not member.isfile():
        raise StudyError(
            f"{archive}: holds no list of its files ({LIST}) at its beginning, so that nothing can "
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
        raise StudyError(f"{archive}: its list of files, {member.name}, is damaged") from None
    return listed


def _inside(name: str) -> bool:
    """Whether a path stays in the folder it is relative to."""
    plain = PurePosixPath(name)
    return bool(plain.parts) and not plain.is_absolute() and ".." not in plain.parts


def _check_version(listed: dict, archive: Path, version: str) -> None:
    theirs = str(listed.get("version", ""))
    by = f"version {theirs or 'unknown'}"
    by += f", commit {listed['commit']}" if listed.get("commit") else ""
    if listed["format"] != FORMAT:
        raise StudyError(
            f"{archive}: is a pack of format {listed['format']} (made by {by}), this project reads "
            f"format {FORMAT}: take the project in that version, or pack the study anew with this"
        )
    if theirs.split(".")[:2] != version.split(".")[:2]:
        raise StudyError(
            f"{archive}: was packed by {by} of this project, which is {version} here: its tables "
            "may mean something else; check that version out, or pack the study anew with this"
        )


def _write(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, files: dict, archive: Path
) -> None:
    """One member, compared with the list."""
    expected = files.get(member.name)
    if not expected or not member.isfile() or not _inside(member.name):
        raise StudyError(f"{archive}: {member.name} is none of the files that it lists")
    if member.size != expected["bytes"]:
        raise StudyError(
            f"{archive}: {member.name} has {member.size:,} bytes, {expected['bytes']:,} were packed"
        )
    place = folder / member.name
    place.parent.mkdir(parents=True, exist_ok=True)
    content, summed = tar.extractfile(member), hashlib.sha256()
    assert content is not None
    with place.open("wb") as handle:
        while piece := content.read(_PIECE):
            summed.update(piece)
            handle.write(piece)
    if summed.hexdigest() != expected["sha256"]:
        raise StudyError(
            f"{archive}: {member.name} is damaged: its checksum is not the one that was packed; "
            "fetch it again"
        )
    os.utime(place, (member.mtime, member.mtime))


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
    if results.exists() and any(path.is_file() for path in results.rglob("*")):
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
    made: list[Path] = []
    try:
        for name in new:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            if not (home / name).exists():
                made.append(home / name)
            os.replace(folder / name, home / name)
        results.parent.mkdir(parents=True, exist_ok=True)
        if results.exists():
            shutil.rmtree(results)  # empty folders
        os.rename(folder / listed["results"], results)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        raise StudyError(f"{listed['results']}: cannot be written ({error})") from None
    return len(listed["files"])


def _same(file: Path, expected: dict) -> bool:
    return (
        file.is_file()
        and file.stat().st_size == expected["bytes"]
        and sha256_file(file) == expected["sha256"]
    )
