"""Backbones by size and by loss, from rows whose means are known."""

import pandas as pd
import pytest

from tokenscope.tables import tidy
from tokenscope.tables.by_kind import by_kind, page

PARAMS = {"a/small/r0": 20e6, "a/base/r0": 90e6, "a/large/r0": 300e6}
PROBED = {"dinov2/small/r0": 22e6, "dinov2/base/r0": 86e6, "deit3/medium/r0": 39e6}


def rows(key, claim, *measurements):
    who = tidy.columns_of(key) | {"kind": "none", "dataset": "set"}
    made = tidy.TidyRows(who, 10, 0)
    for measurement in measurements:
        made.add(claim, *measurement)
    return made.frame()


def claim1(key, answer, share):
    return rows(
        key, "claim1", ("artifacts", "has_artifacts", answer), ("artifacts", "share", share)
    )


def test_means_are_over_backbones_of_a_kind():
    tables = [
        claim1("a/small/r0", 0.0, 0.0), claim1("a/base/r0", 1.0, 4.0),
        claim1("a/large/r0", 1.0, 2.0), claim1("trained/small/r4-scratch", 1.0, 50.0),
    ]  # fmt: skip
    probes = [
        rows("dinov2/small/r0", "claim4", ("outlier-normal", "position_top1", -10.0)),
        rows("dinov2/base/r0", "claim4", ("outlier-normal", "position_top1", -20.0)),
        rows("deit3/medium/r0", "claim4", ("outlier-normal", "position_top1", -1.0)),
        # Trained here, with registers, without outliers: what verdicts excuse is not pooled.
        rows("vit/tiny/r0-scratch", "claim4", ("outlier-normal", "position_top1", 90.0)),
        rows("dinov2/large/r4", "claim4", ("outlier-normal", "position_top1", 90.0)),
        rows("a/small/r0", "claim4", ("outlier-normal", "position_top1", 90.0)),
    ]
    table = by_kind(pd.concat(tables), pd.concat(probes), PARAMS | PROBED, 0.95)
    found = table.set_index(["kind", "quantity"])
    large, small = (f"{n}, without registers" for n in
                    ("300 M parameters or more", "below 300 M parameters"))  # fmt: skip
    assert found.loc[(large, "with artifacts"), "value"] == 100
    assert found.loc[(small, "with artifacts"), "value"] == 50
    assert found.loc[(small, "share of outliers"), "value"] == 2  # not the one trained here
    assert found.loc[(small, "with artifacts"), "who"] == "a/small/r0 a/base/r0"
    ends = ["low", "high"]
    assert found.loc[(small, "with artifacts"), ends].tolist() == [0, 100]
    top1 = found.xs("position_top1, outlier minus normal", level="quantity")
    assert top1["value"].to_dict() == {"trained with iBOT": -15, "trained otherwise": -1}
    assert top1.loc["trained with iBOT", "high"] == pytest.approx(-15 + 12.706 * 5, rel=1e-3)
    assert top1.loc["trained otherwise", "low"] != top1.loc["trained otherwise", "low"]  # of one
    assert "| trained with iBOT | position, top-1, outlier minus normal | 2 | -15" in page(table)


def test_a_study_without_probes_or_released_backbones_says_so():
    empty = pd.DataFrame(columns=tidy.COLUMNS)
    table = by_kind(claim1("x/tiny/r0-scratch", 1.0, 2.0), empty, {}, 0.95)
    assert (table["backbones"] == 0).all() and table["value"].isna().all() and len(table) == 12
    assert "| below 300 M parameters, without registers | with artifacts | 0 |  |  |  |" in page(
        table
    )
