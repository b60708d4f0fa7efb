"""Damage taken away, so that the rule that made it makes that part again and nothing else.

A store of which chunks alone are damaged becomes unfinished work again: its whole chunks are noted
as done, and the job that made it goes on as after an interruption. Anything else is removed with
its receipts and made anew.
"""

import json
import os
import shutil
from collections import defaultdict
from pathlib import Path

from tokenscope.errors import StudyError
from tokenscope.stores import checksums, lock
from tokenscope.stores.receipts import read_receipt, write_text
from tokenscope.stores.verification import Fault


def mend(faults: list[Fault]) -> list[str]:
    """Take away what :func:`tokenscope.stores.verification.verify` found; says what was done."""
    done = []
    gone = dict.fromkeys(path for fault in faults if not fault.chunk for path in fault.remove)
    damaged = defaultdict(set)
    for fault in faults:
        if fault.chunk:
            damaged[fault.remove[0]].add(fault.chunk)
    own = {store for f in faults for receipt in f.remove[1:] for store in _store_of(receipt)}
    for store, chunks in damaged.items():
        # A group of several (of a gallery) is made with the others.
        if store in own and store not in gone and reopen(Path(store), chunks):
            done.append(f"{store}: unfinished again, {', '.join(sorted(chunks))} taken away")
    for path in dict.fromkeys([*gone, *(p for f in faults if f.chunk for p in f.remove)]):
        if Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path)
        elif Path(path).is_symlink() or Path(path).exists():
            Path(path).unlink()
        else:
            continue
        done.append(f"{path}: removed")
    return done


def _store_of(receipt: str) -> list[str]:
    try:
        return [str(read_receipt(receipt)["store"])]
    except (StudyError, KeyError):
        return []


def reopen(store: Path, damaged: set[str]) -> bool:
    """Make a finished store the unfinished work of its job, without some of its files.

    Returns:
        whether that could be done: not where an earlier version wrote the store, or its job has
        begun anew.
    """
    content = json.loads((store / checksums.FILE).read_text())
    work = content.get("work")
    if work is None:
        return False

    def fill(new: Path) -> None:
        (new / "journal").mkdir()
        store.rename(new / "group")
        notes: dict[int, dict[str, str]] = defaultdict(dict)
        for key, taken in content["files"].items():
            array, _, place = key.partition("/c/")
            if place and array in work["arrays"]:
                notes[int(place.split("/")[0])][key] = taken
        for number, files in notes.items():
            if not damaged & set(files):
                write_text(new / "journal" / f"{number:06d}.json", json.dumps(files))
        for name in (*damaged, checksums.FILE, ".snakemake_timestamp"):
            (new / "group" / name).unlink(missing_ok=True)

    lock.claim(os.path.normpath(store / work["partial"]), work["fingerprint"], fill)
    return not store.exists()
