"""What a data set's files were when a job read them, and whether they still are.

Snakemake does not look into data sets. A job that reads one therefore leaves a record of what it
saw, and its rule has a parameter, how many times another state than the recorded one was found: it
grows by one when files were added, removed or replaced, and the job runs again, with all that
depends on it. Nothing else moves it: images that are not here (a study copied without them) and
files that differ in their times alone (a data set copied to another disk) change nothing.

It is asked at every start, so of a large set not every file is looked at: folders by their times,
and where these differ by the names in them; images that were sampled by size and time, and where
the time alone differs by content, of :data:`MOST_IMAGES` evenly spaced ones at most. A job compares
each image with its checksum besides, whenever it decodes one.

Nothing heavy is imported here: Snakemake asks while it plans.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tokenscope.datasets.listing import listed, lists_images, shards_of, tree
from tokenscope.errors import StudyError
from tokenscope.images.location import folder_of

MOST_IMAGES = 10_000  # sampled images whose size and time are looked at
MOST_READ = 256  # files of another time that are compared by content
WHOLE = 16 << 20  # bytes of a file that is compared whole; of a larger one, blocks
BLOCKS, BLOCK = 64, 1 << 16
RECENT = 2_000_000_000  # ns: a file or folder so new may change once more within the same time
SUFFIX = {"webdataset": ".tar", "parquet": ".parquet"}
THREADS = 16  # a parallel disk answers many questions at once

Facts = list  # size, time in ns (0: too new to be relied on) and digest of a file
ASIDE = ("labels", "synsets", "classes")  # keys that may name a file beside the images


def of_listing(source: dict) -> dict:
    """Record of what a listing rests on: take it before listing, so that no change falls between.

    Args:
        source: as :func:`tokenscope.datasets.manifest.index` takes it.

    Raises:
        StudyError: the set cannot be listed.
    """
    now, folders = time.time_ns(), {}
    if _is_tree(source):
        for folder, modified, *names in tree(folder_of(source["path"])):
            folders[folder] = [_relied_on(modified, now), _names(*names)]
    files = {file: _facts(file, now) for file in _files(source)}
    return {"source": _plain(source), "folders": folders, "files": files}


def of_sample(source: dict, examined: Iterable[tuple[str, str]], began: int) -> dict:
    """Record of the images that a sample rests on, good and bad ones.

    Args:
        examined: path relative to the set's folder, and SHA-256 of the bytes that were read; empty
            where they could not be. Images inside tars and parquet files are left to the record of
            the listing.
        began: time in ns before the first was read.
    """
    rows = _some(list(examined) if source["type"] == "imagefolder" else [], MOST_IMAGES)
    root = folder_of(source["path"])
    files = [os.path.join(root, path) for path, _ in rows]
    facts = {}
    for file, stat, (_, sha256) in zip(files, _stats(files), rows, strict=True):
        newest = max(stat.st_mtime_ns, stat.st_ctime_ns) if stat else 0
        modified = stat.st_mtime_ns if stat and newest < began - RECENT else 0
        facts[file] = [stat.st_size if stat else -1, modified, sha256]
    return {"source": _plain(source), "folders": {}, "files": facts, "whole": True}


def of_list(
    source: dict, lists: Iterable[str], read: Iterable[tuple[str, str]], began: int
) -> dict:
    """Record of what a set with boxes or maps rests on, whose own files list its images.

    Args:
        source: an entry of ``discovery: sets`` or ``dense: sets``.
        lists: paths of the files that list and annotate.
        read: paths of images and maps, each with the SHA-256 that it had when it was read, or the
            first letters of that.
        began: time in ns before the first file was read.

    Raises:
        StudyError: a list has changed meanwhile.
    """
    folders, lists = {}, list(lists)
    if _finds_images(source):
        for folder, modified, *names in tree(source["path"]):
            folders[folder] = [_relied_on(modified, began), _names(*names)]
    digests = {file: _digest(file, whole=True) for file in lists}
    digests |= dict(_some(list(read), MOST_IMAGES))
    facts = {}
    for (file, digest), stat in zip(digests.items(), _stats(digests), strict=True):
        newest = max(stat.st_mtime_ns, stat.st_ctime_ns) if stat else 0
        if file in lists and newest >= began:
            raise StudyError(f"'{file}' has changed while it was read; run again")
        modified = stat.st_mtime_ns if stat and newest < began - RECENT else 0
        facts[file] = [stat.st_size if stat else -1, modified, digest]
    return {"source": _plain(source), "folders": folders, "files": facts, "whole": True}


def write(file: str | os.PathLike, record: dict, changes: int) -> None:
    """Keep a record; ``changes`` is what :func:`changes` said when the job was planned."""
    aside = f"{file}.{os.getpid()}"
    with open(aside, "w") as handle:
        json.dump({"changes": changes, **record}, handle)
    os.replace(aside, file)


def changes(file: str | os.PathLike, source: dict) -> int:
    """How many times the files of a set were found changed: the parameter of the rule.

    0 before the first record. Another source than the recorded one is a parameter of its own.
    """
    try:
        record = _read(file)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError):
        # Damaged: the job runs again, and writes a whole one.
        return -os.stat(file).st_mtime_ns
    if record["source"] != _plain(source):
        return record["changes"]
    return record["changes"] + bool(changed(record))


def check(file: str | os.PathLike) -> None:
    """Raise a StudyError that names what has changed since the record was written."""
    try:
        record = _read(file)
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(
            f"{file}: the record of the listed files is missing or damaged; delete the "
            "manifest.csv beside it and run again"
        ) from None
    if what := changed(record):
        raise StudyError(f"the data set has changed since it was listed: {what}; run again")


def changed(record: dict) -> str:
    """What is other than a record says, in words; empty where nothing is, or no image is here."""
    source = record["source"]
    if not _is_here(record):
        return ""
    root = folder_of(source["path"])
    with ThreadPoolExecutor(THREADS) as pool:
        for said in pool.map(lambda item: _other_names(root, *item), record["folders"].items()):
            if said:
                return said
    if not record.get("whole"):
        try:
            now, before = set(_files(source)), set(record["files"])
        except StudyError as error:
            return str(error)
        asides = {file for key in ASIDE if (file := source.get(key))}
        for names, what in ((now - before, "was added"), (before - now - asides, "was removed")):
            if names:
                return f"'{min(names)}' {what}"
    return _other_files(record["files"], record.get("whole", False))


def _read(file) -> dict:
    with open(file) as handle:
        record = json.load(handle)
    record["changes"] + 0, record["source"]["path"], record["folders"], record["files"].items()
    return record


def _plain(source: dict) -> dict:
    return json.loads(json.dumps(source))


def _is_tree(source: dict) -> bool:
    """Whether all images below a folder are listed."""
    return source["type"] == "imagefolder" and not lists_images(source.get("labels", ""))


def _finds_images(source: dict) -> bool:
    """Whether a set with maps takes whatever images a pattern finds."""
    return source["layout"] in ("ade20k", "pairs")


def _files(source: dict) -> list[str]:
    """Tars or parquet files, and the files of labels that are there."""
    files = []
    if suffix := SUFFIX.get(source["type"]):
        root, shards = shards_of(source["path"], suffix)
        files = [os.path.join(root, shard) for shard in shards]
    return files + [file for key in ASIDE if (file := source.get(key)) and os.path.isfile(file)]


def _is_here(record: dict) -> bool:
    """Whether there is any image; an empty folder may be where a disk is mounted."""
    source = record["source"]
    root = folder_of(source["path"])
    if not os.path.isdir(root):
        return False
    if source.get("type", "imagefolder") == "imagefolder":
        return any(not name.startswith(".") for name in os.listdir(root))
    try:
        return bool(shards_of(source["path"], SUFFIX[source["type"]])[1])
    except StudyError:
        return any(os.path.exists(file) for file in record["files"])


def _names(folders: list[str], images: list[str]) -> str:
    """Digest of the names in a folder."""
    return _hex("\0".join([*sorted(folders), "", *sorted(images)]).encode())


def _other_names(root: str, folder: str, before: list) -> str:
    try:
        if os.stat(os.path.join(root, folder)).st_mtime_ns == before[0]:
            return ""
        if _names(*listed(root, folder)) == before[1]:
            return ""
    except OSError:
        return f"the folder '{os.path.join(root, folder)}' was removed"
    except StudyError as error:
        return str(error)
    return f"in '{os.path.join(root, folder)}' images were added, removed or renamed"


def _other_files(files: dict[str, Facts], whole: bool) -> str:
    stats = _stats(files)
    if files and not any(stats):
        return ""
    alike = []
    for (file, (size, modified, digest)), stat in zip(files.items(), stats, strict=True):
        if stat is None:
            if size >= 0:
                return f"'{file}' was removed"
        elif stat.st_size != size:
            return f"'{file}' was replaced: it has {stat.st_size} bytes, not {size}"
        elif stat.st_mtime_ns != modified:
            alike.append((file, digest))
    for file, digest in _some(alike, MOST_READ):
        now = _digest(file, whole)
        if now != digest and not (digest and now.startswith(digest)):
            return f"'{file}' was replaced: its bytes are others"
    return ""


def _some(rows: list, most: int) -> list:
    """At most so many, evenly spaced."""
    return rows[:: max(1, -(-len(rows) // most))]


def _stats(files: Iterable[str]) -> list[os.stat_result | None]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_stat, files))


def _stat(file: str) -> os.stat_result | None:
    try:
        return os.stat(file)
    except OSError:
        return None


def _facts(file: str, now: int) -> Facts:
    stat = os.stat(file)
    return [stat.st_size, _relied_on(stat.st_mtime_ns, now), _digest(file)]


def _relied_on(modified: int, now: int) -> int:
    return modified if modified < now - RECENT else 0


def _digest(file: str, whole: bool = False) -> str:
    """SHA-256 of a file; of a large one that of evenly spaced blocks, the ends among them.

    Empty where there is nothing to read.
    """
    try:
        return _hex(b"".join(_pieces(file, whole)), "")
    except OSError:
        return ""


def _pieces(file: str, whole: bool) -> Iterator[bytes]:
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        if whole or size <= WHOLE:
            yield handle.read()
            return
        for i in range(BLOCKS):
            handle.seek(i * (size - BLOCK) // (BLOCKS - 1))
            yield handle.read(BLOCK)


def _hex(content: bytes, empty: str | None = None) -> str:
    if not content and empty is not None:
        return empty
    return hashlib.sha256(content).hexdigest()
