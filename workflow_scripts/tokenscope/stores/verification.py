"""Every file of a study against the checksums that were taken when it was written.

    for fault in verify("results/demo"):
        print(fault.what, fault.remove)

What jobs read is checked whenever they read it; this looks at what nobody has read since.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tokenscope.errors import StudyError
from tokenscope.stores import checksums
from tokenscope.stores.receipts import read_receipt, weights_of
from tokenscope.stores.zarr_store import store_of

READERS = 8


class Fault(NamedTuple):
    """What is wrong, in a sentence, and what to remove so that it is made again.

    ``chunk`` is the file of the store ``remove[0]`` where that alone is damaged.
    """

    what: str
    remove: list[str]
    chunk: str = ""


class Found(NamedTuple):
    """Faults, and how much was looked at."""

    faults: list[Fault]
    stores: int
    files: int
    gigabytes: float


def verify(results: str | Path) -> Found:
    """Compare stores with their lists, lists with receipts, and weights with their cards.

    Args:
        results: folder of the study.

    Raises:
        StudyError: there is no such folder.
    """
    root = Path(results)
    if not root.is_dir():
        raise StudyError(f"there is no folder {root}: run the study first")
    lists = {path.parent for path in root.rglob(checksums.FILE)}
    receipts, faults = _receipts(root, lists)
    # A store of several groups (the gallery's) has a list in each of them.
    whole = {above for store in lists for above in store.parents}
    named = {Path(store) for store in receipts}
    stores = sorted(lists | {store for store in named - whole if store.is_dir()})
    files = size = 0
    for store in stores:
        above = [str(folder) for folder in (store, *store.parents) if folder in named]
        own = [path for folder in above for path in receipts[folder]]
        try:
            sums = checksums.read_list(store)
        except StudyError as error:
            faults.append(Fault(str(error), [str(store), *own]))
            continue
        for name, what in _damaged(store, sums or {}):
            chunk = name if "/c/" in name else ""
            faults.append(Fault(what, [str(store), *own], chunk))
        there = [store / name for name in sums or {} if (store / name).is_file()]
        files += len(there)
        size += sum(file.stat().st_size for file in there)
    faults += _cards(root)
    return Found(faults, len(stores), files, size / 1e9)


def _receipts(root: Path, lists: set[Path]) -> tuple[dict[str, list[str]], list[Fault]]:
    """The receipts of each store, and faults of receipts that are of no store, or of another."""
    receipts: dict[str, list[str]] = {}
    faults = []
    for path in sorted((root / "receipts").rglob("*.json")):
        try:
            facts = read_receipt(path)
            if "store" in facts:
                store = Path(facts["store"])
                receipts.setdefault(str(store), []).append(str(path))
                if store in lists or not any(store in one.parents for one in lists):
                    store_of(path)
        except StudyError as error:
            faults.append(Fault(str(error), [str(path)]))
    return receipts, faults


def _damaged(store: Path, sums: dict[str, str]) -> Iterator[tuple[str, str]]:
    with ThreadPoolExecutor(READERS) as pool:
        for name, taken in zip(sums, pool.map(lambda n: _taken(store / n), sums), strict=True):
            if not taken:
                yield name, f"{checksums.named(store, name)} is missing"
            elif taken != sums[name]:
                yield name, f"{checksums.named(store, name)} {checksums.DAMAGED}"


def _taken(file: Path) -> str:
    try:
        return checksums.digest_file(file) if file.is_file() else ""
    except OSError:
        return ""


def _cards(root: Path) -> Iterator[Fault]:
    for path in sorted((root / "backbones").rglob("card.json")):
        try:
            weights_of(read_receipt(path))
        except StudyError as error:
            yield Fault(str(error), [str(path)])
