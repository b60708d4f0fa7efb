"""The text in the place of a picture: numbers of its tables, and a subject in every sentence."""

import pandas as pd
import yaml
from projects import ROOT

from tokenscope.figures import in_numbers
from tokenscope.tables import tidy

KEYS = ["dinov2/small/r0", "dinov2/base/r0", "dinov2/large/r0", "dinov2/giant/r0"]


def table(claim, *cells):
    """Tidy rows of (key, group, metric, value, unit), intervals 0.5 to either side."""
    frames = []
    for key, group, metric, value, unit in cells:
        who = tidy.columns_of(key) | {"kind": "none", "dataset": "d"}
        rows = tidy.TidyRows(who, 10, 0)
        rows.add(claim, group, metric, value, value - 0.5, value + 0.5, unit)
        frames.append(rows.frame())
    return pd.concat(frames)


def decisions(group, *answers):
    cells = []
    for key, (answer, share) in zip(KEYS, answers, strict=False):
        cells.append((key, group, "has_artifacts", answer, "verdict"))
        cells.append((key, group, "share", share, "percent"))
        cells.append((key, group, "onset_block", 3 if answer == 1 else float("nan"), "block"))
    return {"claim1": table("claim1", *cells)}


def test_who_has_outliers_who_has_none_and_what_is_undecided():
    tables = decisions("artifacts-last_block", (1, 2.5), (0, 0), (float("nan"), 7))
    assert in_numbers.sentence("d/features/dinov2", tables, KEYS) == (
        "Tokens that are outliers, in the last block: dinov2/small/r0 from block 3 on 2.50 % "
        "[2.00, 3.00]; none in dinov2/base/r0; undecided in dinov2/large/r0."
    )
    tables = decisions("artifacts", (1, 2.5))
    said = in_numbers.sentence("d/blocks/dinov2/small/r0", tables, KEYS[:1])
    assert said.endswith("in the block with most of them: dinov2/small/r0 from block 3 on 2.50 % "
                         "[2.00, 3.00].")  # fmt: skip


def test_numbers_are_of_the_figures_own_backbones_and_data():
    cells = [(key, "outlier-normal", "neighbour_cosine_mean", n / 10, "")
             for n, key in enumerate(KEYS)]  # fmt: skip
    tables = {"claim3": table("claim3", *cells)}
    assert in_numbers.sentence("d/fig3_cosine", tables, KEYS[1:2]) == (
        "Mean cosine to neighbours, outlier minus normal tokens: dinov2/base/r0 0.1 [-0.4, 0.6]."
    )
    assert in_numbers.sentence("other/fig3_cosine", tables, KEYS) == ""
    assert in_numbers.sentence("d/fig3_cosine", tables, []) == ""
    assert in_numbers.sentence("d/fig3_cosine", {}, KEYS) == ""
    assert in_numbers.sentence("published/measured", tables, KEYS) == ""


def test_of_many_backbones_the_ends_are_said_or_those_that_are_not_zero():
    keys = [f"a/b/r{n}" for n in range(8)]
    rows = [(key, "depth", "peak_share", n, "percent") for n, key in enumerate(keys)]
    said = in_numbers.sentence("d/outliers_by_size", {"claim2": table("claim2", *rows)}, keys)
    assert said.endswith(": from 0.00 % [-0.50, 0.50] (a/b/r0) to 7.00 % [6.50, 7.50] (a/b/r7), "
                         "8 in all.")  # fmt: skip
    rows = [(key, "depth", "peak_share", 4 * (n == 2), "percent") for n, key in enumerate(keys)]
    said = in_numbers.sentence("d/outliers_by_size", {"claim2": table("claim2", *rows)}, keys)
    assert said.endswith(": a/b/r2 4.00 % [3.50, 4.50]; 0 in 7 others.")


def test_of_registers_added_before_and_after():
    name = "dinov2/small/r1-testtime"
    rows = [(name, "before", "unseen_share", 4.0, "percent"),
            (name, "testtime", "unseen_share", 1.0, "percent")]  # fmt: skip
    said = in_numbers.sentence(
        f"d/testtime_maps/{KEYS[0]}", {"registers": table("registers", *rows)}, KEYS[:1]
    )
    assert "before: dinov2/small/r1-testtime 4.00 % [3.50, 4.50]. With" in said
    assert said.endswith("With registers added: dinov2/small/r1-testtime 1.00 % [0.50, 1.50].")


def test_kinds_say_who_has_them():
    kinds = table("kinds", *((key, "sink", "events", 1.0, "") for key in KEYS[:3]))
    kinds = kinds.assign(artifact="sink", answer=["yes", "no", "cannot tell"])
    other = kinds.assign(artifact="channel", answer="no")
    tables = {"kinds": pd.concat([kinds, other])}
    said = "Sink: yes in dinov2/small/r0 1 [0.5, 1.5]; no in 1; cannot tell in 1."
    assert in_numbers.sentence("kinds/matrix", tables, []) == said
    assert in_numbers.sentence("kinds/sinks", tables, []) == said
    assert in_numbers.sentence("kinds/channels", tables, []) == "Channel: no in 3."


def test_every_name_is_that_of_a_figure_of_the_report():
    sections = yaml.safe_load((ROOT / "config/report.yaml").read_text())["sections"]
    files = [one["file"].split("/") for section in sections for one in section.get("figures", [])]
    known = {second for first, second, *_ in files if first == "{dataset}"}
    named = {*in_numbers.QUANTITIES, *in_numbers.IN_THE_LAST, *in_numbers.IN_DEPTH}
    assert named <= known and known - named == {"emergence"}
    kinds = {second for first, second, *_ in files if first == "kinds"}
    assert set(in_numbers.KINDS) == kinds - {"matrix"}
