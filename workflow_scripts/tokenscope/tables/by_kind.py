"""Backbones by their kind: above and below 300 M parameters, trained with iBOT or without.

Two questions of the main paper that no single backbone answers: whether only large models have
outliers (its Claim 2), and whether outliers of models trained with iBOT's masked patches lose more
of position and pixels than others' (its Claim 4). A backbone counts once, as the mean of its data
sets; intervals are Student's, over backbones.
"""

from pathlib import Path

import pandas as pd
from scipy import stats

from tokenscope.tables import tidy
from tokenscope.tables.formatting import as_text, interval_text, words

LARGE = 300e6  # parameters, as the main paper parts them
# Families trained to fill in masked patches (iBOT, Zhou et al. 2022).
IBOT = ("dinov2", "dinov3", "tipsv2")
LOCAL = ("position_top1", "position_distance", "pixel_explained", "pixel_l2_squared")
COLUMNS = ["kind", "quantity", "backbones", "value", "low", "high", "unit", "who"]
NOTE = (
    "One line a kind of backbone and quantity: how many backbones it is about, the mean over them "
    "and Student's interval, which describes them and decides nothing. All were released without "
    "registers. Outlier minus normal: of the probes of claim 4, of backbones that have outliers or "
    "may have some (claim 1)."
)


def by_kind(
    claim1: pd.DataFrame, claim4: pd.DataFrame, params: dict[str, float], confidence: float
) -> pd.DataFrame:
    """A row for each kind and quantity (:data:`COLUMNS`).

    Args:
        claim1, claim4: tidy rows; the second may be empty.
        params: number of parameters by backbone (family/size/registers), of those released
            without registers. Others are left out.
        confidence: of intervals, e.g. 0.95.
    """
    rows = []
    released = claim1[tidy.backbone_names(claim1).isin(params)]
    artifacts = released[released["group"].eq("artifacts")]
    answers = _by_backbone(artifacts, "has_artifacts")
    shares = _by_backbone(artifacts, "share")
    for name, large in (("300 M parameters or more", True), ("below 300 M parameters", False)):
        keys = [key for key in answers.index if (params[key] >= LARGE) == large]
        kind = f"{name}, without registers"
        rows.append(_row(kind, "with artifacts", 100 * answers[keys], "percent", confidence))
        own = shares.reindex(keys).dropna()
        rows.append(_row(kind, "share of outliers", own, "percent", confidence))
    clean = set(answers[answers == 0].index)  # their highest 2 % are ordinary tokens
    probed = claim4[tidy.backbone_names(claim4).isin(set(params) - clean)]
    for name, ibot in (("trained with iBOT", True), ("trained otherwise", False)):
        for metric in LOCAL:
            own = probed[
                probed["group"].eq("outlier-normal") & (probed["family"].isin(IBOT) == ibot)
            ]
            values = _by_backbone(own, metric)
            units = own.loc[own["metric"] == metric, "unit"]
            unit = units.iloc[0] if len(units) else ""
            rows.append(_row(name, f"{metric}, outlier minus normal", values, unit, confidence))
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_backbone(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Mean over data sets of each backbone that has the number."""
    own = rows[(rows["metric"] == metric) & rows["value"].notna()]
    return own.groupby(tidy.backbone_names(own), sort=False)["value"].mean()


def _row(kind: str, quantity: str, values: pd.Series, unit: str, confidence: float) -> dict:
    count, mean, half = len(values), values.mean() if len(values) else float("nan"), float("nan")
    if count > 1:
        half = stats.t.ppf((1 + confidence) / 2, count - 1) * stats.sem(values)
    low, high = mean - half, mean + half
    if unit == "percent" and count > 1:  # a share, or how many of them
        low, high = max(low, 0.0), min(high, 100.0)
    return {
        "kind": kind, "quantity": quantity, "backbones": count, "value": mean, "low": low,
        "high": high, "unit": unit, "who": " ".join(values.index),
    }  # fmt: skip


HEADER = ["kind", "quantity", "number of backbones", "mean", "interval", "which"]


def read(path: str | Path) -> pd.DataFrame:
    """The table as rule by_kind wrote it."""
    texts = {"unit": "", "who": ""}  # empty throughout where no backbone is of a kind
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str)).fillna(texts)


def lines(table: pd.DataFrame) -> list[list[str]]:
    """The rows as texts, in the columns :data:`HEADER`."""
    return [
        [
            row["kind"], _in_words(row["quantity"]), str(row["backbones"]),
            as_text(row["value"], row["unit"]) if row["backbones"] else "",
            interval_text(row["low"], row["high"], row["unit"]), row["who"],
        ]
        for row in table.to_dict("records")
    ]  # fmt: skip


def shown(file: str) -> dict:
    """For the report: ``head`` and ``rows``; how many lines of no backbone, and of which ``kinds``.

    Without the file there are none.
    """
    if not Path(file).exists():
        return {"head": HEADER, "rows": [], "empty": 0, "kinds": []}
    table = read(file)
    none = table["backbones"] == 0
    return {
        "head": HEADER, "rows": lines(table[~none]), "empty": int(none.sum()),
        "kinds": table["kind"][none].unique().tolist(),
    }  # fmt: skip


def _in_words(quantity: str) -> str:
    metric, comma, rest = quantity.partition(", ")
    return words(metric) + comma + rest


def page(table: pd.DataFrame) -> str:
    """The same as Markdown."""
    text = ["# Backbones by their kind", "", NOTE, "", f"| {' | '.join(HEADER)} |"]
    text.append("|" + "-|" * len(HEADER))
    text += [f"| {' | '.join(cells)} |" for cells in lines(table)]
    return "\n".join([*text, ""])
