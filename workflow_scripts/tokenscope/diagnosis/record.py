"""``diagnosis.json``: what a diagnosis says, for programs; written beside its page.

Its form is ``config/schemas/diagnosis.schema.json``. A number that is undefined or was not measured
is null.
"""

import json
import math
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pandas as pd
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tokenscope.diagnosis import advice
from tokenscope.errors import StudyError
from tokenscope.paths import CONFIG
from tokenscope.stores.receipts import write_text
from tokenscope.tables.formatting import as_text
from tokenscope.tables.formatting import words as label

VERSION = 1
SCHEMA = CONFIG / "schemas" / "diagnosis.schema.json"
HIGH_NORM = "high-norm"


def number(value) -> float | None:
    """A number as JSON has it: NaN and infinity are null."""
    return float(value) if value is not None and math.isfinite(value) else None


def kinds_of(verdict: dict, kinds: pd.DataFrame | None) -> dict[str, dict]:
    """The answer of each kind of artifact, high norms first.

    Args:
        verdict: ``artifacts`` and ``evidence``, as the rule ``diagnosis`` writes them.
        kinds: rows of one backbone, see :func:`tokenscope.kinds.answers.tidy_rows`; None where they
            were not measured.
    """
    e = verdict["evidence"]
    value, low, high = e["share"]
    answers = {
        HIGH_NORM: _sized(
            verdict["artifacts"], value, low, high, "% of tokens", e["block"], e["why"]
        )
    }
    if kinds is None:
        return answers
    for row in kinds[kinds["answer"].fillna("") != ""].to_dict("records"):
        if row["artifact"] != HIGH_NORM:
            answers[row["artifact"]] = _sized(
                row["answer"], row["value"], row["low"], row["high"], row["unit"], row["block"],
                row["why"],
            )  # fmt: skip
    return answers


def _sized(answer, value, low, high, unit, block, why) -> dict:
    text = lambda words: words if isinstance(words, str) else ""  # noqa: E731
    return {
        "answer": answer, "value": number(value), "low": number(low), "high": number(high),
        "unit": text(unit), "block": int(block) if number(block) else None, "why": text(why),
    }  # fmt: skip


def by_kind(kinds: dict[str, dict]) -> str:
    """The answers in one sentence: ``high norm: no; fixed pattern: yes, 3 %``."""
    words = []
    for kind, one in kinds.items():
        if one["answer"] == advice.NOT_ABOUT:
            continue
        said = f"{label(kind)}: {one['answer']}"
        if one["answer"] == advice.YES and one["why"] and kind != HIGH_NORM:
            said += f", {one['why'].partition(';')[0]}"
        elif one["answer"] == advice.YES and one["value"] is not None:
            said += f", {as_text(one['value'], one['unit'])}"
        words.append(said)
    return "; ".join(words)


def backbone(name: str, card: dict, verdict: dict, kinds: pd.DataFrame | None) -> dict:
    """What is said of one backbone, but for what follows from it."""
    e = verdict["evidence"]
    answers = kinds_of(verdict, kinds)
    share, low, high = map(number, e["share"])
    return {
        "name": name, "architecture": card["timm_id"], "sha256": card["sha256"],
        "sentence": verdict["sentence"], "artifacts": verdict["artifacts"],
        "about": verdict["about"],
        "high_norm": {
            "share": share, "low": low, "high": high, "ratio": number(e["ratio"]),
            "cutoff": number(e["cutoff"]), "block": e["block"], "blocks": e["blocks"],
            "onset": number(e["onset"]), "last": e["last"],
        },
        "kinds": answers, "by_kind": by_kind(answers),
    }  # fmt: skip


def record(
    study: str, images: dict, confidence: float, backbones: list[dict], evidence: list[dict],
    searches: list[tuple[dict | None, dict, int]],
) -> dict:  # fmt: skip
    """All of a diagnosis.

    Args:
        images: ``dataset``, ``path``, ``seed``, ``count``.
        backbones: one or two, see :func:`backbone`. evidence: of their verdicts.
        searches: of each, what :func:`tokenscope.diagnosis.advice.registers` takes.
    """
    for number_, (one, seen, (search, moved, count)) in enumerate(
        zip(backbones, evidence, searches, strict=True)
    ):
        second = backbones[1] if len(backbones) > 1 and number_ == 0 else None
        one["follows"] = {
            "features": asdict(advice.features(seen, one["kinds"])),
            "registers": asdict(advice.registers(one["artifacts"], search, moved, count)),
            "parent": asdict(advice.parent(one, second)),
        }
    return {
        "version": VERSION, "study": study, "images": images, "confidence": confidence,
        "backbones": backbones,
    }  # fmt: skip


def write(record: dict, path: str | Path) -> None:
    """Write a record that its schema allows."""
    check(record, path)
    write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read(path: str | Path) -> dict:
    """A record that its schema allows.

    Raises:
        StudyError: no such file, or not one of ours, or of another version.
    """
    try:
        found = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise StudyError(f"there is no diagnosis {path}: run make diagnose first") from None
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{path}: is no JSON file ({error}); make diagnose makes it anew"
        ) from None
    version = found.get("version") if isinstance(found, dict) else None
    if version != VERSION:
        raise StudyError(
            f"{path}: is a diagnosis of version {version}, this reads {VERSION}: make diagnose "
            "with the same NAME makes it anew"
        )
    check(found, path)
    return found


def check(record: dict, path: str | Path) -> None:
    """Raises StudyError: not as the schema says."""
    error = best_match(validator().iter_errors(record))
    if error is not None:
        where = ".".join(map(str, error.absolute_path)) or "the whole"
        raise StudyError(f"{path}: {where}: {error.message} ({SCHEMA.name})")


@cache
def validator() -> Draft202012Validator:
    """Of :data:`SCHEMA`."""
    return Draft202012Validator(json.loads(SCHEMA.read_text()))
