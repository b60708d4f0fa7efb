"""Receipts: what says that a job's work is complete, of what it was made, and where.

A receipt is a JSON file written last, so that it exists only for finished work; a card is the
receipt of a backbone. Small files are written aside and renamed: whole or absent.
"""

import hashlib
import json
import os
import platform
import time
from pathlib import Path

from tokenscope.cards.weights_files import files_of
from tokenscope.errors import StudyError
from tokenscope.jobs import software

PROTOCOL = "1"  # raised whenever the definition of a stored quantity changes


def write_text(path: str | Path, text: str) -> None:
    """Write a small file so that it is either whole or absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text)
    os.replace(aside, path)


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_weights(path: str | Path) -> str:
    """Hex SHA-256 of weights: of their file, or of the checksums of their index and its shards."""
    return sha256_files(files_of(path))


def sha256_files(files: list[Path]) -> str:
    """Hex SHA-256 of one file, or of the checksums of several, a line each."""
    sums = [sha256_file(file) for file in files]
    return sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()


def fingerprint(**parts) -> str:
    """A name for everything that decides the bytes of a store."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Stopwatch:
    """Facts of this job for its receipt: host, Slurm id, start and elapsed seconds, software."""

    def __init__(self):
        self.started, self.clock = time.time(), time.monotonic()

    def facts(self) -> dict:
        return {
            "host": platform.node(),
            "slurm_job_id": os.environ.get("SLURM_JOB_ID", ""),
            "started": self.started,
            "seconds": round(time.monotonic() - self.clock, 3),
            "versions": software.versions(),
            "code": software.of_job(),
            "protocol": PROTOCOL,
        }


def weights_of(card: dict) -> str:
    """Path of the weights a card names, after making sure that they are still the same.

    Raises:
        StudyError: the file is gone or has changed since the card was written.
    """
    remedy = "delete the backbone's card.json and run again"
    if lacking := {"name", "weights", "sha256"} - set(card):
        raise StudyError(f"a card of a backbone lacks {', '.join(sorted(lacking))}: {remedy}")
    path = card["weights"]
    if gone := [file for file in files_of(path) if not file.is_file()]:
        raise StudyError(
            f"{card['name']}: the weights {gone[0]} are gone; put them back, or {remedy}"
        )
    if sha256_weights(path) != card["sha256"]:
        raise StudyError(f"{card['name']}: the weights {path} have changed; {remedy}")
    return path


def write_receipt(path: str | Path, **facts) -> None:
    """The JSON that downstream jobs take: written last, so it exists only for finished work."""
    write_text(path, json.dumps(facts, indent=1, sort_keys=True) + "\n")


def read_receipt(path: str | Path) -> dict:
    """What a receipt, a card or another small file of ours says.

    A store or weights that it names are those of its own results, whatever these were called when
    it was written.

    Raises:
        StudyError: it is not there, or no JSON object.
    """
    if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for
        raise StudyError(f"{path}: is no regular file; remove it and run again")
    try:
        facts = json.loads(Path(path).read_bytes())
        if not isinstance(facts, dict):
            raise ValueError(f"holds {type(facts).__name__}")
    except FileNotFoundError:
        raise StudyError(f"{path}: the file does not exist; run the job that makes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(f"{path}: is damaged ({error}); delete it and run again") from None
    for key in ("store", "weights"):
        if isinstance(named := facts.get(key), str):
            facts[key] = _beside(named, Path(path))
    return facts


def _beside(named: str, receipt: Path) -> str:
    """A path that a file of results names, in these results, which may have been copied or renamed.

    Unchanged where there is no such file in them: weights may lie anywhere.
    """
    inside = [place for place in receipt.parents if place.name in ("receipts", "backbones")]
    if not inside or Path(named).is_relative_to(root := inside[0].parent):
        return named
    parts = Path(named).parts
    ends = (root / Path(*parts[start:]) for start in range(1, len(parts) - 1))
    return str(next((place for place in ends if place.exists()), named))
