"""Numbers as readers see them: digits, units and intervals, the same wherever they are printed."""

from pathlib import Path

import pytest

from tokenscope.report import template_data
from tokenscope.report.partial_tables import Read
from tokenscope.tables import paired, tidy
from tokenscope.tables.beside import beside, lines
from tokenscope.tables.formatting import as_text, better, signed_text
from tokenscope.tables.names import of_training, over_seeds
from tokenscope.tables.published import Published

PUBLISHED = Published(Path("config/published.csv"))
WHO = {"family": "vit", "size": "tiny", "registers": "r0", "kind": "none", "dataset": "set"}


def shown(*rows):
    """Rows (group, metric, value, low, high, unit, n) as the report shows them."""
    table = tidy.TidyRows(WHO, 400, 0)
    for group, metric, value, low, high, unit, n in rows:
        table.add("training", group, metric, value, low, high, unit, n)
    read = Read(table.frame(), [], [], True)
    return template_data.table("training", {}, read, PUBLISHED)["rows"]


def test_images_are_counted_where_n_is_images():
    after = of_training("after", "artifacts")
    images, seeds = shown((after, "share", 0, 0, 0.75, "percent", 400),
                          (over_seeds(after), "share", 0, 0, 0, "percent", 2))  # fmt: skip
    assert images["interval"] == "[0.00, 0.75] in 0 of 400 images"
    assert seeds["interval"] == ""


@pytest.mark.parametrize("value, unit, text", [
    (700232, "", "700,232"), (161_227_000, "FLOP an image", "161,227,000 FLOP"),
    (-0.0003791, "", "-0.000379"), (5.071e-05, "1 - cosine", "0.0000507 cosine distance"),
    (9.921, "of the median", "9.921 x median"), (0.2718, "of the uncertainty", "0.2718"),
    (0.9512, "of what as many uniform tokens reach", "0.9512"), (86.9, "percent", "86.90 %"),
    (0.0026, "percent", "0.0026 %"), (0, "percent", "0.00 %"), (0, "", "0"),
    (-0.4, "median squared norms", "-0.4 x median squared norm"), (3e-9, "kg", "3e-09 kg"),
    (0.00792, "points", "0.0079 points"),
])  # fmt: skip
def test_numbers_have_the_digits_and_unit_of_the_labels(value, unit, text):
    assert as_text(value, unit) == text


def test_published_figures_have_the_digits_of_ours():
    cited = PUBLISHED.citations(("dinov2", "large", "r4", "published_head", "top1"))
    assert cited.startswith("86.80 (reassessment-2025, ImageNet-1k); ")
    assert {"7.60", "86.80", "86.90"} <= {cells[6] for cells in lines(beside(PUBLISHED.rows, {}))}
    assert signed_text(0.7, "points") == "+0.70" and signed_text(-0.7, "points") == "-0.70"


def test_what_n_counts_is_said_where_it_is_no_images():
    rows = shown(
        ("curve", "loss_last_epoch", 2, None, None, "", 2000),
        (over_seeds("curve"), "loss_last_epoch", 2, 1, 3, "", 3),
        ("after: own_head", "top1", 50, 49, 51, "percent", 10_000),
    )
    assert [row["n_text"] for row in rows] == ["2,000 training images", "3 seeds", "10,000"]


def test_arrows_are_those_of_the_labels_and_of_the_answers():
    """Where less of a metric is better, registers help where it falls."""
    assert [row["metric_words"] for row in shown(("g", "rmse_minus_r0", 1, 0, 2, "m", 9))] == [
        "RMSE minus that without registers \u2193"
    ]
    for metric in paired.UNITS:
        assert better(metric) == (1 if paired.helps(metric, 1, 2) == 1 else -1)
    assert better("norm_max") == 0 == better("top1_agreement_none")


def test_counts_of_weights_and_images_have_commas():
    table = {"head": ["params", "seed"], "rows": [["1281167", "12345"], ["", "0"]]}
    assert template_data.with_commas(table)["rows"] == [["1,281,167", "12345"], ["", "0"]]
