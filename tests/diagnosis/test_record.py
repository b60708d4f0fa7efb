"""`diagnosis.json`: as its schema says, with what follows; and many of them in one table."""

import json
import math
import re

import compare
import pandas as pd
import pytest

from tokenscope.diagnosis import advice, many, page, record
from tokenscope.errors import StudyError
from tokenscope.tables import tidy

NAN = float("nan")


def evidence(artifacts="yes", **changes):
    return {
        "images": 60, "artifacts": artifacts, "why": "60 images", "last": artifacts, "block": 12,
        "blocks": 12, "onset": 8.0, "share": [2.0, 1.9, 2.1], "ratio": 26.0, "cutoff": 2.7,
        "smallest_ratio": NAN, "tokens": 200,
    } | changes  # fmt: skip


def verdict(artifacts="yes", **changes):
    about = "position" if artifacts == "yes" else ""
    e = evidence(artifacts, **changes)
    return {"sentence": f"has artifacts: {artifacts}", "artifacts": artifacts, "about": about,
            "evidence": e}  # fmt: skip


def kinds():
    """Rows as the measures of kinds have them: a row that answers, one that does not."""
    return pd.DataFrame([
        {"artifact": "high-norm", "value": 2.0, "low": 1.9, "high": 2.1, "unit": "percent",
         "block": 12, "answer": "yes", "why": "a mode"},
        {"artifact": "fixed-pattern", "value": 3.0, "low": 2.5, "high": 3.5,
         "unit": "percent", "block": 0, "answer": "yes", "why": "3 % of the tokens keep place"},
        {"artifact": "fixed-pattern", "value": 0.8, "low": 0.7, "high": 0.9, "unit": "",
         "block": 0, "answer": NAN, "why": NAN},
        {"artifact": "sink", "value": 0.1, "low": 0.0, "high": 0.2, "unit": "events", "block": 3,
         "answer": "no", "why": "no head looks at one token"},
        {"artifact": "register-use", "value": NAN, "low": NAN, "high": NAN, "unit": NAN,
         "block": NAN, "answer": "does not apply", "why": "it has none"},
    ])  # fmt: skip


SEARCH = {"reason": "", "neurons": [[8, 417], [7, 189]], "kept_by": "own head"}


def ends(value, low, high):
    return {"value": value, "low": low, "high": high}


MOVED = {"before": ends(2.0, 1.9, 2.1), "share": ends(0, 0, 0), "kept": ends(0.95, 0.94, 0.96)}


def written(path, name="mine", rows=None, second=None):
    card = {"timm_id": "vit_tiny_patch16_224", "sha256": "0" * 64}
    ones = [verdict()] + ([second] if second else [])
    said = record.record(
        name, {"dataset": "photographs", "path": "my/photographs", "seed": 0, "count": 60}, 0.95,
        [record.backbone(f"{name}-{i}", card, one, rows) for i, one in enumerate(ones)],
        [one["evidence"] for one in ones], [(SEARCH, MOVED, 0)] * len(ones),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    record.write(said, path)
    return said


def test_it_is_what_the_schema_says_and_is_read_back(tmp_path):
    file = tmp_path / "diagnosis.json"
    said = written(file, rows=kinds(), second=verdict("no", share=[0.0, 0.0, NAN]))
    assert record.read(file) == json.loads(file.read_text()) == said
    first, second = said["backbones"]
    assert first["by_kind"] == (
        "high norm: yes, 2.00 % of tokens; fixed pattern: yes, 3 % of the tokens keep place; "
        "sink: no"
    )
    assert first["kinds"]["fixed-pattern"]["value"] == 3 and len(first["kinds"]) == 4
    assert second["high_norm"]["high"] is None and "NaN" not in file.read_text()
    assert first["follows"]["parent"]["answer"] == "no"
    assert "new" in first["follows"]["parent"]["sentence"]
    assert second["follows"]["parent"]["answer"] == "does not apply"
    record.validator().check_schema(record.validator().schema)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda said: said.update(version=2), "version 2"),
        (lambda said: said["backbones"][0].pop("by_kind"), "by_kind"),
        (lambda said: said["backbones"][0].update(artifacts="maybe"), "artifacts"),
        (lambda said: said["backbones"][0]["kinds"]["high-norm"].update(value="2"), "value"),
    ],
)
def test_what_is_not_of_its_form_is_refused_with_file_and_place(tmp_path, change, words):
    file = tmp_path / "diagnosis.json"
    written(file)
    said = json.loads(file.read_text())
    change(said)
    file.write_text(json.dumps(said))
    with pytest.raises(StudyError, match=words) as refused:
        record.read(file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    "changes, answer, words",
    [
        ({}, "no", "block 7"),
        ({"onset": 1.0}, "no", "2.7 x"),
        ({"last": "no", "block": 9}, "yes", "those of blocks 8 to 11"),
        ({"artifacts": "no"}, "yes", r"last block \(12\), after the final norm"),
        ({"artifacts": "cannot tell"}, "cannot tell", "show it more"),
    ],
)
def test_where_dense_features_are_taken_from(changes, answer, words):
    said = advice.features(evidence(**changes), {})
    assert said.answer == answer
    assert pd.Series([said.sentence]).str.contains(words).all(), said.sentence
    channel = {"channel": {"answer": "yes", "why": "channel 7 holds 90 % of the energy"}}
    also = advice.features(evidence(**changes), channel)
    assert "batch norm or PCA" in also.sentence and also.answer != "yes"


@pytest.mark.parametrize(
    "changes, answer, words",
    [
        ({}, "yes", "block 8 neuron 417, block 7 neuron 189"),
        ({"top1": ends(-0.75, -0.95, 0.5)}, "yes", "-0.75 points"),
        ({"top1": ends(-0.75, -1.8, 0.5)}, "cannot tell", "may cost"),
        ({"top1": ends(-3, -4, -2)}, "no", "costs accuracy"),
        ({"share": ends(1.9, 1.8, 2.0)}, "no", "does not help"),
    ],
)
def test_whether_registers_at_test_time_help(changes, answer, words):
    said = advice.registers("yes", SEARCH, MOVED | changes)
    assert said.answer == answer and words in said.sentence


def test_registers_that_were_not_tried_or_not_found():
    assert advice.registers("yes", None, {}).answer == "does not apply"
    assert "the study asks for none" in advice.registers("no", None, {}, 0).sentence
    assert "it has registers already" in advice.registers("no", None, {}, 4).sentence
    reason = {**SEARCH, "reason": "no outliers"}
    assert advice.registers("no", reason, {}).answer == "no"
    said = advice.registers("yes", reason, {})
    assert said.answer == "cannot tell" and "no outliers" in said.sentence


@pytest.mark.parametrize(
    "here, there, answer, words",
    [
        ("yes", "yes", "yes", "as well"), ("yes", "no", "no", "new"), ("no", "yes", "yes", "gone"),
        ("no", "no", "no", "either"), ("cannot tell", "no", "cannot tell", "told of mine"),
    ],
)  # fmt: skip
def test_whether_the_parent_had_it(here, there, answer, words):
    one = {"name": "mine", "artifacts": here, "kinds": {"sink": {"answer": "yes"}}}
    other = {"name": "parent", "artifacts": there, "kinds": {"sink": {"answer": "no"}}}
    said = advice.parent(one, other)
    assert said.answer == answer and words in said.sentence
    assert "new beside it: sink" in said.sentence
    assert advice.parent(one, None).answer == "does not apply"


def test_many_in_one_table(tmp_path, monkeypatch):
    """By name, folder and file; the CSV holds the numbers of the files, the page names each."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "results/diagnose-a/diagnosis.json", "a", second=verdict("no"))
    written(tmp_path / "results/diagnose-b/diagnosis.json", "b", kinds())
    written(tmp_path / "elsewhere/diagnosis.json", "c <d>")
    page = compare.main(["a", "results/diagnose-b", "elsewhere/diagnosis.json"], "out")
    table = pd.read_csv(tmp_path / "out/table.csv")
    assert table["diagnosis"].tolist() == ["a", "a", "b", "c <d>"]
    assert table["artifacts"].tolist() == ["yes", "no", "yes", "yes"]
    assert table["fixed-pattern"].tolist()[2] == "yes" and table["fixed-pattern"].isna().sum() == 3
    assert table["fixed-pattern_value"][2] == 3 and math.isnan(table["fixed-pattern_value"][0])
    assert (table["share"] == 2).all() and (table["features"] != "").all()
    html = page.read_text()
    assert "a-1 (a)" in html and "c &lt;d&gt;" in html and "fixed pattern" in html
    assert ">yes</span> <small>3.00 % [2.50, 3.50]</small>" in html and not re.search(
        r"\bnan\b", html
    )
    assert ">does not apply</span></td>" in html  # which has no number behind it
    head, _ = many.lines(many.table(many.find(["b"])))
    assert [h for h in head if h in ("sink", "fixed pattern", "register use")] == [
        "sink", "fixed pattern", "register use",
    ]  # fmt: skip
    assert len(pd.read_csv(compare.main([], "all").with_name("table.csv"))) == 3
    with pytest.raises(StudyError, match="(?s)'x' is no diagnosis.*'y' is no"):
        many.find(["a", "x", "y"])
    with pytest.raises(StudyError, match="no diagnosis below"):
        many.find([], tmp_path / "elsewhere/none")


def test_numbers_are_printed_as_in_the_report():
    """A difference of accuracies is in points, and where nothing varied there is no interval."""
    who = dict(zip(tidy.KIND_COLUMNS, ("f", "s", "r0", "none"), strict=True)) | {"dataset": "d"}
    rows = tidy.TidyRows(who, 90, 0)
    rows.add("claim4", "cls", "class_top1", 20.529, 15.6, 25.84, "percent")
    rows.add("claim4", "outlier-normal", "class_top1", -3.47, -13.5, 6.25, "points")
    rows.add("claim4", "chance", "class_top1", 0, 0, 0, "percent")
    rows.refuse("claim4", "outlier", "class_top1", "too few tokens", 3)
    assert page.classes(rows.frame(), who) == [
        ("CLS", "20.53 % [15.60, 25.84]"),
        ("outlier minus normal", "-3.47 points [-13.50, 6.25]"),
        ("chance", "0.00 %"),
        ("outlier", "not measured: too few tokens"),
    ]
