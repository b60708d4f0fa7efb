"""Tables 1 to 5 as LaTeX: the digits of the report, the best marked, nothing that breaks TeX."""

import re

import pandas as pd
import pytest
from tables import paper_tables as script

from tokenscope.jobs import software
from tokenscope.tables import probe_tables, tidy
from tokenscope.tables.paper_tables import NONE, TABLES, latex
from tokenscope.tables.published import Published

PUBLISHED = Published("config/published.csv")
SCORES = {  # group, metric: value, low, high, unit; one that rounds, one below 0.1, one without
    ("normal", "position_top1"): (28.046, 27.4, 28.7, "percent"),
    ("outlier", "position_top1"): (0.0312, 0.01, 0.06, "percent"),
    ("normal", "position_distance"): (1.0749, 1.0, 1.1, "patches"),
    ("outlier", "position_distance"): (None, None, None, "patches"),
    ("normal", "pixel_l2_squared"): (383.126, 380, 390.5, "squared L2 per patch"),
    ("outlier", "pixel_l2_squared"): (1505.678, 1400, 1600, "squared L2 per patch"),
    ("cls", "class_top1"): (74.8, 74, 75, "percent"),
    ("normal", "class_top1"): (55.605, 55, 56, "percent"),
    ("outlier", "class_top1"): (56.999, 56, 58, "percent"),
}


@pytest.fixture(scope="module")
def claim4(tmp_path_factory):
    """The table of a backbone of the paper, of one with a difficult name, and of a phantom."""
    frames = []
    for names in (("dinov2", "small", "r0", "none"), ("my_vit&co", "tiny", "r0", "none"),
                  ("control", "tiny", "r0-clean", "clean")):  # fmt: skip
        who = dict(zip(tidy.KIND_COLUMNS, names, strict=True)) | {"dataset": "imagenet_train"}
        rows = tidy.TidyRows(who, 5000, 0)
        for (group, metric), (value, low, high, unit) in SCORES.items():
            rows.add("claim4", group, metric, value, low, high, unit)
        rows.add("claim4", "tokens", "judged", float(names[0] == "dinov2"), unit="verdict")
        rows.add("claim4", "outlier", "position_confounded", 1, unit="verdict")
        for part in probe_tables.COUNTS:
            rows.add("claim4", "each group", f"position_tokens_{part}", 1200, unit="tokens")
        frames.append(rows.frame())
    path = tmp_path_factory.mktemp("tables") / "claim4.csv"
    tidy.write(pd.concat(frames), path)
    return tidy.read(path)


def cells(text):
    """Cells of the body by model, bold and brackets as they are."""
    body = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
    lines = [line.removesuffix(r" \\").split(" & ") for line in body]
    return {line[0]: line[1:] for line in lines}


def plain(cell):
    """A cell as text: its number, and its interval."""
    cell = re.sub(r"\\textbf\{([^}]*)\}", r"\1", cell).replace("$-$", "-")
    return re.sub(r"\{\\scriptsize(\[[^}]*\])\}", r"\1", cell)


def test_digits_are_those_of_the_report(claim4):
    shown = {}
    for title, lines in probe_tables.tables(claim4, lambda key, dataset: ""):
        shown |= {(title[:7], line[1], line[0]): line[2:4] for line in lines}
    for i, (name, heading) in enumerate(
        (("Table 1", "top-1 (%) ↑"), ("Table 2", "squared L2 error ↓"), ("Table 3", "top-1 (%) ↑")),
        1,
    ):
        ours = [
            plain(cell)
            for cell in cells(latex(f"table{i}", claim4, PUBLISHED.rows))["DINOv2-S"][1::2]
        ]
        normal, outlier = ours[1:3] if i == 3 else ours[:2]
        assert (normal, outlier) == shown[name, heading, "dinov2/small/r0"]
    assert ours[0] == "74.80 [74.00, 75.00]"


def test_best_of_a_line_is_bold_and_footnotes_say_what_must_be_known(claim4):
    text = latex("table1", claim4, PUBLISHED.rows)
    lines = cells(text)
    assert list(lines) == ["DINOv2-S", "DeiT3-M", "OpenCLIP-B", "DINOv2-G", r"my\_vit\&co-tiny"]
    assert lines["DINOv2-S"] == [
        r"\textbf{28.05}", r"\textbf{28.05} {\scriptsize[27.40, 28.70]}", "19.18",
        r"0.031 {\scriptsize[0.01, 0.06]}", r"\textbf{1.07}", r"1.07 {\scriptsize[1.00, 1.10]}",
        "1.27", NONE,
    ]  # fmt: skip
    assert lines["DeiT3-M"][1::2] == [NONE] * 4 and lines["DeiT3-M"][6] == r"\textbf{3.88}"
    assert "Tokens per group here: 1,200 for train, 1,200 for validation, 1,200 for test." in text
    assert r"2\,\% of largest norm: my\_vit\&co-tiny." in text  # of the other there are artifacts
    assert r"looking at the token: DINOv2-S; my\_vit\&co-tiny." in text
    assert "looking at the token" not in latex("table2", claim4, PUBLISHED.rows)


@pytest.mark.parametrize("name", TABLES)
def test_every_published_number_is_there_and_tex_can_read_it(name, claim4):
    none = pd.DataFrame(columns=tidy.COLUMNS)
    text = latex(name, claim4 if TABLES[name].claim == "claim4" else none, PUBLISHED.rows)
    rows = PUBLISHED.rows.query("source == 'reassessment-2025' and item == @name")
    printed = [plain(cell) for line in cells(text).values() for cell in line[::2]]
    assert sorted(x for x in printed if x != NONE) == sorted(f"{v:,.2f}" for v in rows["value"])
    columns = int(re.search(r"l\*\{(\d+)\}", text)[1])
    assert {len(line) for line in cells(text).values()} == {columns}
    assert not re.search(r"(?<!\\)[_&%#](?=\w)", re.sub(r"^%.*|\\label.*", "", text, flags=re.M))
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_table_4_pairs_released_models_only():
    frames = []
    for registers, kind, value in (("r0", "none", 84.1), ("r4", "trained", 84.9),
                                   ("r1-testtime", "testtime", 99.0)):  # fmt: skip
        who = dict(zip(tidy.KIND_COLUMNS, ("dinov2", "base", registers, kind), strict=True))
        rows = tidy.TidyRows(who | {"dataset": "imagenet-test"}, 100, 0)
        rows.add("claim5", "published_head", "top1", value, value - 1, value + 1, "percent")
        frames.append(rows.frame())
    line = cells(latex("table4", pd.concat(frames), PUBLISHED.rows))["DINOv2-B"]
    assert [plain(cell) for cell in line] == [
        "84.33", "84.10 [83.10, 85.10]", "84.71", "84.90 [83.90, 85.90]",
    ]  # fmt: skip
    assert line[3].startswith(r"\textbf{84.90}")


def test_files_say_at_their_top_what_they_rest_on_and_print_the_same(claim4, tmp_path, monkeypatch):
    monkeypatch.setenv(software.COMMIT, "v0.1.0-31-gabcdefabcdef")
    monkeypatch.setenv(software.CONFIG, "my-vit.yaml sha256:1")
    tidy.write(claim4, tmp_path / "claim4.csv")
    claims, files = {"claim4": tmp_path / "claim4.csv"}, {n: tmp_path / f"{n}.tex" for n in TABLES}
    bank = {"commit": "0a1b", "config": "a-b.yaml sha256:2", "weights_sha256": ["f" * 64, "e" * 64]}
    pd.DataFrame(bank).to_csv(tmp_path / "bank.csv", index=False)
    script.main(claims, {"claim4": tmp_path / "bank.csv"}, "config/published.csv", files)
    for name, file in files.items():
        first, *lines = file.read_text().splitlines(keepends=True)
        comments = [line for line in lines if line.startswith("%")]
        assert lines[: len(comments)] == comments and all(len(line) < 102 for line in comments)
        said = " ".join(" ".join(line[1:].split()) for line in comments)
        ours = claim4 if TABLES[name].claim == "claim4" else claim4[:0]
        assert said == (
            "Measured by commit 0a1b, config a-b.yaml sha256:2; weights of 2 backbones. Their "
            "checksums: tables/bank.csv of the study."
            if len(ours)
            else "Nothing is measured here: made by commit v0.1.0-31-gabcdefabcdef, config "
            "my-vit.yaml sha256:1; no weights."
        )
        assert "".join([first, *lines[len(comments) :]]) == latex(name, ours, PUBLISHED.rows)
