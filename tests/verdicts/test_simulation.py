"""Error rates: of means over few seeds where they are known, and of criteria by simulation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_verdicts import DECIDE, STATEMENT
from scipy import stats

from tokenscope.stats.seeds import half_width, noise_of_ends, two_sided
from tokenscope.verdicts import criteria, simulation
from tokenscope.verdicts.testing import holm

SAMPLE = {"images": 50000, "differ": 5}


def test_over_seeds_alone_it_is_student_and_over_images_alone_the_normal():
    for df in (1, 2, 4):
        assert half_width(1.0, df, 0.0, 0.95) == pytest.approx(stats.t.ppf(0.975, df), rel=2e-3)
        away = np.array([0.5, 3.0, 30.0])
        p = two_sided(away, np.ones(3), df, np.zeros(3))
        assert p == pytest.approx(2 * stats.t.sf(away, df), rel=0.02)
    assert half_width(0.0, 2, 1.0, 0.95) == pytest.approx(1.96, rel=1e-3)


def test_the_interval_and_p_agree():
    half = half_width(0.3, 2, 0.2, 0.95)
    (p,) = two_sided(np.array([half]), np.array([0.3]), 2, np.array([0.2]))
    assert p == pytest.approx(0.05, rel=0.02)


def test_means_of_three_seeds_hold_their_level():
    """Behrens and Fisher: at most 5 % beyond the interval, whichever error is the larger."""
    rng = np.random.default_rng(0)
    for noise, images in ((1.0, 0.01), (1.0, 0.5), (0.2, 1.0)):
        seeds = noise * rng.normal(size=(4000, 3))
        mean = seeds.mean(1) + images * rng.normal(size=4000)
        error = seeds.std(1, ddof=1) / 3**0.5
        p = two_sided(mean, error, 2, np.full(4000, images))
        assert (p < 0.05).mean() < 0.06 and (p < 0.002).mean() < 0.004


def test_noise_of_the_ends_of_a_percentile_bootstrap():
    rng = np.random.default_rng(0)
    ends = np.quantile(rng.normal(size=(1000, 400)), 0.975, axis=0)
    assert noise_of_ends(0.95, 1000) == pytest.approx(ends.std() / 1.96, rel=0.1)


def test_holm():
    p = np.array([0.01, np.nan, 0.02, 0.04, 0.9])
    assert holm(p, 0.05).tolist() == [True, False, False, False, False]  # 0.02 > 0.05 / 3
    assert holm(np.array([0.01, 0.02, 0.04]), 0.05).all()
    assert not holm(np.array([0.03, 0.03]), 0.05).any()


def simulated(training=None, **changes):
    effect = {"size": 0.2, "unit": "points", "why": "x", "sample": SAMPLE}
    effect |= {"training": training} if training else {}
    content = {
        "decide": DECIDE, "effects": {"top1": effect},
        "simulation": {"seed": 1, "draws": 100, "backbones": 10, "power": 0.8},
        "statements": {"claim": [STATEMENT | changes]},
    }  # fmt: skip
    return simulation.table(criteria.of(content))


def rate(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    (found,) = table["value"]
    return found


def test_a_released_backbone_is_rarely_judged_wrongly_and_mostly_found():
    table = simulated()
    assert set(table["design"]) == {"released"} and (table["holds"] == "yes").all()
    assert rate(table, quantity="decided", backbones=10) <= 12  # 5 expected; of 100 studies
    assert rate(table, quantity="found", backbones=1) > 90
    # An effect that is too small for its images is not found, and the table says so.
    small = criteria.of({
        "decide": DECIDE, "simulation": {"seed": 1, "draws": 40, "backbones": 5, "power": 0.8},
        "effects": {"top1": {"size": 0.02, "unit": "points", "why": "x", "sample": SAMPLE}},
        "statements": {"claim": [STATEMENT]},
    })  # fmt: skip
    missed = simulation.table(small).query("quantity == 'found'")
    assert (missed["holds"] == "no").all() and (missed["value"] < 20).all()


def test_images_alone_deceive_where_trainings_differ_by_their_seed():
    table = simulated({"seeds": [3, 5], "noise": 0.1}, backbones=["*/*/r4-scratch"])
    alone = table[table["design"] == simulation.ALONE]
    assert rate(alone, quantity="decided", backbones=10) > 50 and (alone["holds"] == "").all()
    for seeds in (3, 5):
        own = table[table["design"] == f"trained, over {seeds} seeds"]
        assert rate(own, quantity="decided", backbones=10) <= 12
    assert rate(own, quantity="found", backbones=1) > 75
    said = simulation.in_words(table)["x"]
    assert "0.4 points found in" in said and "images alone" in said
    assert "decided, although there was no effect, in " in said


def test_margins_and_ratios_and_several_data_sets():
    table = simulated(holds={"not_less": "top1"})
    assert set(table["truth"]) == {"at the margin", "twice the smallest effect from the margin"}
    assert (table["holds"] == "yes").all()
    ratio = {"size": 0.1, "unit": "ratio", "no_effect": 1, "log": True, "why": "x",
             "sample": {"images": [500, 2000], "spread": 0.6}}  # fmt: skip
    of = criteria.of({
        "decide": DECIDE, "effects": {"top1": ratio},
        "simulation": {"seed": 1, "draws": 60, "backbones": 5, "power": 0.8},
        "statements": {"claim": [STATEMENT]},
    })  # fmt: skip
    assert (simulation.table(of)["holds"] == "yes").all()
    assert simulation.page(simulation.table(of)).count("| x |") == 4


def test_answers_of_the_decision_err_as_often_as_was_counted():
    of = criteria.of({
        "decide": DECIDE, "simulation": {"seed": 1, "draws": 10, "backbones": 40, "power": 0.8},
        "effects": {},
        "statements": {"claim": [
            {"id": name, "metric": "has_artifacts", "holds": {"answer": name}, "backbones": ["*"]}
            for name in ("yes", "no")
        ]},
    })  # fmt: skip
    assert simulation.table(of).empty
    rates = simulation.of_decisions(of, {"yes": (0, 28800), "no": (100, 1000)})
    yes, no = (rates[rates["statement"] == name] for name in ("yes", "no"))
    assert (yes["value"] == 0).all() and (yes["holds"] == "yes").all()
    assert yes["high"].max() == pytest.approx(100 * (1 - 0.025 ** (40 / 28800)))
    assert no["value"].tolist() == pytest.approx([10, 100 * (1 - 0.9**40)])
    assert (no["holds"] == "no").all()
    assert "wrong answer in 10.00 %" in simulation.in_words(rates)["no"]
    assert simulation.page(rates).count("| no | answer |") == 2  # without a size or unit
    assert simulation.of_decisions(of, {}).empty


def test_words_of_a_quantity_without_a_unit_that_were_read_from_a_file(tmp_path):
    """An empty unit comes back as NaN, and must not be printed."""
    row = dict.fromkeys(simulation.COLUMNS, "") | {
        "statement": "x", "comparison": "maintains", "smallest": 0.05, "unit": "", "studies": 9,
        "design": "released", "value": 5.0, "low": 3.0, "high": 7.0,
    }  # fmt: skip
    rows = [row | {"quantity": quantity, "backbones": count}
            for quantity in (simulation.WRONG, simulation.FOUND) for count in (1, 40)]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "rates.csv", index=False)
    said = simulation.in_words(pd.read_csv(tmp_path / "rates.csv"))["x"]
    assert "; 0.1 from the margin found in 5.00 %" in said and "nan" not in said
    assert "decided, although the truth lay at the margin, in 5.00 %" in said


def test_a_seed_gives_the_same_table():
    content = criteria.of({
        "decide": DECIDE, "simulation": {"seed": 3, "draws": 20, "backbones": 4, "power": 0.8},
        "effects": {"top1": {"size": 0.2, "unit": "points", "why": "x", "sample": SAMPLE}},
        "statements": {"claim": [STATEMENT]},
    })  # fmt: skip
    first = simulation.table(content)
    assert first.equals(simulation.table(content))
    other = replace(content, simulation=content.simulation | {"seed": 4})
    assert not first.equals(simulation.table(other))
