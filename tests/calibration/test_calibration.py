"""Counting errors: what is drawn is what is said, and what is counted is what was answered."""

import numpy as np
import pandas as pd
import pytest
from calibration import calibrate, calibration
from projects import ROOT
from report import report

from tokenscope.calibration import counting, kinds
from tokenscope.calibration.families import MODES, NULLS, plant
from tokenscope.calibration.summary import headline, read, seen_with, summaries
from tokenscope.calibration.summary import kinds as of_kinds

SETTINGS = {
    "form": "short", "draws": 4, "seed": 1, "images": [160], "patches": [196], "spreads": [0.1],
    "wide_spreads": [], "ratios": [2, 10], "shares": [0.2, 5], "every": [1, 10],
    "every_up_to": 300000,
}  # fmt: skip


@pytest.mark.parametrize("family", NULLS, ids=lambda family: family.name)
def test_tails_are_log_norms_of_about_the_spread(family):
    logs = family.draw(np.random.default_rng(0), (200, 196), 0.2)
    assert logs.shape == (200, 196) and np.isfinite(logs).all()
    within = (logs - np.median(logs, axis=1, keepdims=True)).std()
    assert 0.1 < within < 0.5  # two bulks and gradients are wider than each part of them


@pytest.mark.parametrize("family", MODES, ids=lambda family: family.name)
@pytest.mark.parametrize("every", [1, 10])
def test_a_mode_is_planted_where_and_as_often_as_said(family, every):
    rng = np.random.default_rng(0)
    bulk = np.exp(family.bulk(rng, (2000, 196), 0.1).astype(np.float32))
    norms, truth = plant(rng, bulk, family, 10, 0.02, 0.1, every)
    changed = norms != bulk
    assert truth == 0.02 and changed.mean() == pytest.approx(0.02, rel=0.2)
    assert np.median(norms[changed]) / np.median(bulk) == pytest.approx(10, rel=0.1)
    assert changed.any(1).mean() == pytest.approx(1 / every, rel=0.2)


def test_bounds_of_rates_are_exact():
    assert counting.exact_interval(0, 200) == (0, pytest.approx(1 - 0.025 ** (1 / 200)))
    low, high = counting.exact_interval(100, 200)
    assert low == pytest.approx(1 - high) and 0.42 < low < 0.44
    assert np.isnan(counting.exact_interval(0, 0)).all()


def test_what_must_be_found():
    rows = pd.DataFrame(
        [(200, 196, 0.1, 2.0, 2.0, 1), (200, 196, 0.2, 2.0, 2.0, 1), (50, 196, 0.1, 2.0, 0.2, 1),
         (200, 196, 0.1, 10.0, 5.0, 10), (1000, 196, 0.1, 10.0, 5.0, 10)],
        columns=["images", "patches", "spread", "ratio", "share", "every"],
    )  # fmt: skip
    assert counting.must_be_found(rows).tolist() == [True, False, False, False, True]


def test_place_and_content_are_told_apart_or_not_at_all():
    rows = {row["family"].split(":")[0]: row for row in counting.place_or_content(50, 3, 0)}
    assert rows["position"]["yes"] == rows["content"]["no"] == rows["tied"]["cannot_tell"] == 3


def test_a_short_form_from_counts_to_page(tmp_path):
    part = tmp_path / "part.csv"
    calibrate.main(SETTINGS, 160, 196, "now", part)
    counts = read(part)
    nulls, modes = (counts[counts["kind"] == kind] for kind in ("null", "mode"))
    assert len(nulls) == len(NULLS) and (nulls["yes"] == 0).all()
    assert (counts["yes"] + counts["cannot_tell"] + counts["no"]).dropna().eq(4).all()
    assert (modes[counting.must_be_found(modes)]["yes"] == 4).all()
    kept = tmp_path / "kept.csv"
    counts.assign(form="long", code="before").to_csv(kept, index=False)
    csv, text = tmp_path / "calibration.csv", tmp_path / "calibration.md"
    calibration.main([part], kept, "now", csv, text)
    assert read(csv)["form"].unique().tolist() == ["long", "short"]
    page = text.read_text()
    assert page.count("made by other code") == 1 and "## Long form" in page
    assert "0 [0," in headline(counts) and "100 [" in headline(counts)
    titles = [summary.title for summary in summaries(counts)]
    assert titles[0] == "What can be seen" and len(titles) == 7
    seen = seen_with(counts, 400)
    assert "With 160 images of 196 patches it sees, of narrow modes that are in every image" in seen
    assert "0.2 % of tokens" in seen and "cannot tell" not in seen
    assert "are answered no: those " in seen
    assert seen_with(counts, 20) == "Of 20 images nothing was counted."
    calibration.main([], tmp_path / "none.csv", "now", csv, text)
    assert not len(read(csv)) and "make calibrate" in text.read_text()


@pytest.mark.parametrize("case", kinds.CASES, ids=lambda case: case.kind)
def test_without_its_effect_a_kind_is_not_said_to_be_there(case):
    none, bound, twice = kinds.count(case, 50, 6)
    assert none["yes"] == 0 and twice["no"] == 0  # at most 5 %: none of six
    assert none["yes"] + none["cannot_tell"] + none["no"] == 6
    # And it does answer; but that none of 50 images hold what one in twenty may, nobody can say.
    assert case.kind in ("shift", "register-norm") or none["no"] + twice["yes"] >= 3
    assert [row["effect"] for row in (none, bound, twice)] == ["none", "bound", "twice"]


def test_kept_counts_of_the_kinds_hold_what_is_promised():
    kept = ROOT / "config" / "kinds_calibration.csv"
    table = read(kept)
    (code,) = set(table["code"])
    assert [report._errors_of_kinds(kept, now)["stale"] for now in (code, "0d")] == [False, True]
    assert list(table.columns) == [*kinds.COLUMNS, "code"]
    assert set(table["kind"]) == {case.kind for case in kinds.CASES}
    assert (table[["yes", "cannot_tell", "no"]].sum(axis=1) == table["draws"]).all()
    for effect, answer in (("none", "yes"), ("twice", "no")):
        wrong = table[table["effect"] == effect]
        assert (wrong[answer] <= 0.05 * wrong["draws"]).all()
    shown = of_kinds(table)
    assert "fixed-pattern (up to 29 %)" in shown.note and "sink (" not in shown.note
    assert "section Error rates" in shown.note
    assert len(shown.rows) == len(kinds.CASES) * len(kinds.IMAGES)
    assert shown.rows[0][:3] == ["sink", "50", "0 [0, 1.83]"]
