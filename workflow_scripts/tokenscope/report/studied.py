"""What a study is about, in sentences for the head of its report: backbones and images."""

import pandas as pd

from tokenscope.study.register_names import is_control, register_count
from tokenscope.tables import tidy
from tokenscope.verdicts.answers import INSTRUMENT, NOT_RUN, Line
from tokenscope.verdicts.conditions import Facts

NAMED = 12  # more backbones are counted and not named
NOTHING_PUBLISHED = (
    "No released backbone was measured on photographs: nothing on this page is about a published "
    "model."
)


def studied(tables: dict[str, pd.DataFrame], facts: Facts) -> list[str]:
    """Sentences on the backbones and images that were measured; none where nothing was.

    Args:
        tables: tidy rows by name of table. The images of a data set are counted by claim 1.
        facts: which data sets are rendered, and which backbones were trained here.
    """
    rows = pd.concat([table for table in tables.values() if len(table)] or [_NONE])
    rows = rows[(rows["family"] != "") & (rows["dataset"] != "")]
    if not len(rows):
        return []
    phantom = (rows["family"] == "control") | rows["kind"].map(is_control)
    real = rows[~phantom]
    names = list(dict.fromkeys(tidy.backbone_names(real)))
    more = f" and {len(names) - NAMED} more" * (len(names) > NAMED)
    # Registers on a phantom, and controls of registers, are beside those whose answer is known.
    own = (rows["family"] == "control") & (rows["registers"].map(register_count) == 0)
    phantoms, others = (
        tidy.backbone_names(rows[part]).nunique() for part in (phantom & own, phantom & ~own)
    )
    said = [f"{_count(len(names), 'backbone')}: {', '.join(names[:NAMED])}{more}" if names else "",
            f"{_count(phantoms, 'phantom')} with a known answer" if phantoms else "",
            f"{_count(others, 'backbone')} with registers added to phantoms, or as controls"
            if others else ""]  # fmt: skip
    sentences = ["Measured: " + "; ".join(filter(None, said)) + "."]
    sentences.append("Images: " + "; ".join(_images(name, tables, facts) for name in
                                            dict.fromkeys(rows["dataset"])) + ".")  # fmt: skip
    photographs = real[~real["dataset"].isin(facts.rendered)]
    if not set(tidy.backbone_names(photographs)) - set(facts.images_seen):
        sentences.append(NOTHING_PUBLISHED)
    return sentences


def phantoms_judged(lines: dict[str, list[Line]]) -> int:
    """How many phantoms the instrument was held against."""
    own = [line for of in lines.values() for line in of if line.scope == INSTRUMENT]
    return len({one.who for line in own for one in line.judged if one.answer != NOT_RUN})


def _images(name: str, tables: dict[str, pd.DataFrame], facts: Facts) -> str:
    claim1 = tables.get("claim1", _NONE)
    counts = claim1[claim1["dataset"] == name]["n"].dropna()
    number = f"{int(counts.max()):,}" if len(counts) else ""
    about = list(filter(None, [number, "rendered scenes" * (name in facts.rendered)]))
    return f"{name} ({', '.join(about)})" if about else name


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


_NONE = pd.DataFrame(columns=tidy.COLUMNS)
