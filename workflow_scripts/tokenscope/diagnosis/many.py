"""Many diagnoses in one table: a line a backbone, as CSV and as a page."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from tokenscope.diagnosis import record
from tokenscope.errors import StudyError
from tokenscope.kinds.answers import KINDS
from tokenscope.tables.formatting import as_text, interval_text, number_text, words

ENDS = ("value", "low", "high")
ORDER = list(KINDS)


def find(given: Iterable[str], results: str | Path = "results") -> list[Path]:
    """Files of diagnoses: of names, of folders of results, or files.

    Args:
        given: each the ``NAME`` of a diagnosis, a folder that holds ``diagnosis.json``, or such a
            file; nothing: every diagnosis below ``results``.

    Raises:
        StudyError: one of them is not there, or none at all; all mistakes at once.
    """
    given = list(given)
    if not given:
        found = sorted(Path(results).glob("*/diagnosis.json"))
        if not found:
            raise StudyError(f"there is no diagnosis below {results}: run make diagnose first")
        return found
    files, mistakes = [], []
    for one in given:
        places = [Path(one), Path(one, "diagnosis.json"),
                  Path(results, f"diagnose-{one}", "diagnosis.json")]  # fmt: skip
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            mistakes.append(
                f"'{one}' is no diagnosis: there is neither {places[1]} nor {places[2]}; run make "
                "diagnose first (results older than diagnosis.json: run it again)"
            )
        else:
            files.append(file)
    if mistakes:
        raise StudyError("\n".join(mistakes))
    return list(dict.fromkeys(files))


def table(files: Iterable[Path]) -> pd.DataFrame:
    """A line a backbone of each diagnosis, in the order given.

    Returns:
        ``diagnosis``, ``backbone``, ``architecture``, ``images``, ``path``; the answer about high
        norms with share, ratio, block, onset and what it is about; the answer of every other kind
        that one of them was asked for, with size and interval (``<kind>``, ``<kind>_value``, ...;
        empty: not measured); what follows (``features``, ``registers``, ``parent``, each an answer
        and ``<...>_sentence``).

    Raises:
        StudyError: a file is damaged or of another version.
    """
    lines = []
    for file in files:
        said = record.read(file)
        for one in said["backbones"]:
            high = one["high_norm"]
            line = {
                "diagnosis": said["study"], "backbone": one["name"],
                "architecture": one["architecture"], "images": said["images"]["count"],
                "path": said["images"]["path"], "confidence": said["confidence"],
                "artifacts": one["artifacts"], "about": one["about"],
                **{key: high[key] for key in ("share", "low", "high", "ratio", "block", "blocks",
                                              "onset")},
                "by_kind": one["by_kind"],
            }  # fmt: skip
            for kind, answer in one["kinds"].items():
                if kind != record.HIGH_NORM:
                    line |= {kind: answer["answer"], f"{kind}_unit": answer["unit"]}
                    line |= {f"{kind}_{end}": answer[end] for end in ENDS}
            for question, advice in one["follows"].items():
                line |= {question: advice["answer"], f"{question}_sentence": advice["sentence"]}
            lines.append(line)
    frame = pd.DataFrame(lines)
    follows = [c for c in frame if c.split("_")[0] in ("features", "registers", "parent")]
    return frame[[c for c in frame if c not in follows] + follows]


def kinds_in(frame: pd.DataFrame) -> list[str]:
    """The kinds beside high norms that a table has answers of, in the order of the kinds."""
    found = [c.removesuffix("_unit") for c in frame if c.endswith("_unit")]
    return sorted(found, key=lambda kind: ORDER.index(kind) if kind in ORDER else len(ORDER))


def lines(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the page's table, as text."""
    kinds = kinds_in(frame)
    head = ["backbone", "images", "high norm", "about", "share of tokens", "ratio", "from block",
            *(words(kind) for kind in kinds), "features of the last block",
            "registers at test time", "the one it came from had it"]  # fmt: skip
    text = []
    for row in frame.to_dict("records"):
        yes = row["artifacts"] == "yes"
        begun = yes and row["onset"] == row["onset"]
        text.append([
            f"{row['backbone']} ({row['diagnosis']})", f"{row['images']:,}", row["artifacts"],
            row["about"], sized(row["share"], row["low"], row["high"], "percent") if yes else "",
            f"{number_text(row['ratio'])} x" if yes else "",
            f"{row['onset']:.0f} of {row['blocks']}" if begun else "",
            *(of_kind(row, kind) for kind in kinds),
            row["features"], row["registers"], row["parent"],
        ])  # fmt: skip
    return head, text


def of_kind(row: dict, kind: str) -> str:
    """Answer, size and interval of one kind; empty where it was not measured."""
    if not isinstance(row[kind], str):
        return ""
    value, low, high = (row[f"{kind}_{end}"] for end in ENDS)
    unit = row[f"{kind}_unit"]
    size = sized(value, low, high, unit if isinstance(unit, str) else "")
    return f"{row[kind]}: {size}" if size else row[kind]


def sized(value: float, low: float, high: float, unit: str = "") -> str:
    """A number with its interval, as text."""
    if value != value or value is None:
        return ""
    ends = "" if low is None else interval_text(low, high, unit)
    return f"{as_text(value, unit)} {ends}".strip()
