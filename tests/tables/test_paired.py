"""Differences that registers make on the same images: signs, units, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from tokenscope.errors import StudyError
from tokenscope.report import contents
from tokenscope.tables import paired
from tokenscope.verdicts import criteria
from tokenscope.verdicts.answers import GENERALISES
from tokenscope.verdicts.conditions import Facts
from tokenscope.verdicts.engine import judge
from tokenscope.verdicts.evidence import Evidence
from tokenscope.verdicts.subjects import Study

STATISTICS = {"resamples": 200, "seed": 0, "confidence": 0.95}
RNG = np.random.default_rng(0)


def who(registers, kind):
    return {"family": "f", "size": "s", "registers": registers, "kind": kind, "dataset": "d"}


def pair(folder, before, after, ids=("a", "b") * 20):
    for name, values in (("r0", before), ("r4", after)):
        paired.write(folder / f"{name}.npz", ids, values)
    return [(who("r0", "none"), folder / "r0.npz"), (who("r4", "trained"), folder / "r4.npz")]


def test_a_constant_difference_has_no_width_and_less_error_helps(tmp_path):
    rmse, hits = RNG.random(40), 100.0 * (RNG.random(40) < 0.5)
    before = {("linear", "rmse"): rmse, ("lost", "corloc"): hits, ("lost", "seed_in_box"): hits}
    after = {**before, ("linear", "rmse"): rmse - 0.25}
    rows = paired.differences(pair(tmp_path, before, after), "dense", STATISTICS)
    assert set(rows["registers"]) == {"r4"} and set(rows["kind"]) == {"trained"}
    by_metric = rows.set_index(["group", "metric"])
    error = by_metric.loc["linear", "rmse_minus_r0"]
    assert error[["value", "low", "high"]].tolist() == pytest.approx([-0.25] * 3, abs=1e-6)
    assert by_metric.loc[("linear", "registers_help"), "value"] == 1
    assert by_metric.loc[("lost", "corloc_minus_r0"), "value"] == 0
    assert np.isnan(by_metric.loc[("lost", "registers_help"), "value"])  # cannot tell
    assert (rows["metric"] == "registers_help").sum() == 2  # seed_in_box decides nothing
    assert paired.helps("corloc_minus_r0", -3, -1) == 0 == paired.helps("rmse", 0.1, 0.2)


def test_miou_is_of_summed_areas(tmp_path):
    true = np.tile([6, 4], (40, 1))
    perfect = np.stack([true, true, true], 1)
    half = np.stack([true // 2, true, true], 1)  # of 2: shared 1, together 3
    before, after = {("linear", paired.AREAS): half}, {("linear", paired.AREAS): perfect}
    rows = paired.differences(pair(tmp_path, before, after), "dense", STATISTICS)
    values = rows.set_index("metric")["value"]
    assert values["miou_minus_r0"] == pytest.approx(100 - 100 / 3, abs=1e-4)
    assert values["pixel_accuracy_minus_r0"] == pytest.approx(50, abs=1e-4)
    assert values["registers_help"] == 1


def test_other_images_are_refused_and_no_twin_is_no_row(tmp_path):
    files = pair(tmp_path, *[{("lost", "corloc"): np.zeros(2)}] * 2, ids=("a", "b"))
    paired.write(files[1][1], ("a", "c"), {("lost", "corloc"): np.zeros(2)})
    with pytest.raises(StudyError, match="r4.npz and .*r0.npz do not hold the same images"):
        paired.differences(files, "discovery", STATISTICS)
    assert not len(paired.differences(files[1:], "discovery", STATISTICS))


def test_published_differences_average_runs():
    table = pd.read_csv("config/published.csv")
    values = paired.published(table).set_index(["source", "family", "dataset", "metric"])["value"]
    assert values["darcet-2024", "dinov2", "voc07", "corloc_minus_r0"] == pytest.approx(20.1)
    assert values["tmlr-4353", "dinov2", "ade20k", "miou_minus_r0"] == pytest.approx(1.88)


def judged(criterion, folder, before, after):
    """The project's criterion, on what the images of two backbones gave; r0 has artifacts."""
    of = criteria.of(contents.load("config/verdicts.yaml", "verdicts.schema.yaml"))
    [written] = [c for c in of if c.id == criterion]
    claim = criterion.partition("-")[0]
    files = pair(folder, before, after, ids=[f"{i:03}" for i in range(200)])
    rows = paired.differences(files, claim, STATISTICS)
    base = {"family": "f", "size": "s", "registers": "r0", "dataset": "d", "unit": "verdict"}
    has = base | {"group": "artifacts", "metric": "has_artifacts", "value": 1.0}
    evidence = Evidence({claim: rows.to_dict("records"), "claim1": [has]})
    planned = {claim: [("d", "f/s/r0"), ("d", "f/s/r4")]}
    facts = Facts(params={"f/s/r0": 1.0, "f/s/r4": 1.0}, heads={"dense": 3})
    lines = judge(Study(of, evidence, planned, facts), written)
    [judgement] = next(line for line in lines if line.scope == GENERALISES).judged
    return judgement


@pytest.mark.parametrize(
    ("hits", "expected"), [(110, "supported"), (90, "contradicted"), (100, "cannot tell")]
)
def test_images_decide_where_the_two_intervals_overlap(hits, expected, tmp_path):
    """Ten images of 200 more or fewer: intervals of the two are +- 7 points, of the gain +- 3."""
    before, after = (100.0 * (np.arange(200) < n) for n in (100, hits))
    key = ("lost", "corloc")
    judgement = judged("discovery-registers", tmp_path, {key: before}, {key: after})
    assert (judgement.who, judgement.answer) == ("f/s/r4", expected)
    assert judgement.value == pytest.approx((hits - 100) / 2)
    # Errors: less is better, however much images differ among themselves.
    rmse, key = RNG.random(200), ("linear", "rmse")
    less = (hits - 100) / 1000 + 0.001 * RNG.normal(size=200)
    judgement = judged("dense-depth", tmp_path, {key: rmse}, {key: rmse - less})
    assert judgement.answer == expected
