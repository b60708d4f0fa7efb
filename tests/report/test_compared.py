"""What the papers say beside what is measured and configured here."""

import pandas as pd
import pytest
import yaml
from snakemake.utils import validate

from tokenscope.errors import StudyError
from tokenscope.report import template_data
from tokenscope.report.deviations import ABSENT, DEVIATES, SAME, UNSAID, deviations
from tokenscope.report.facts import facts
from tokenscope.report.partial_tables import Read
from tokenscope.study.study import Study
from tokenscope.tables.beside import ABSENT as NOT_MEASURED
from tokenscope.tables.beside import beside, page
from tokenscope.tables.published import Published, same_images

FILE = "config/published.csv"


def study_of(file, folder, **changes):
    with open(file) as handle:
        config = yaml.safe_load(handle) | changes
    validate(config, "config/schemas/config.schema.yaml")
    return Study(config | {"results": str(folder)})


def ours(key, metric, value, group="", dataset="imagenet-test", unit="percent"):
    family, size, registers = key.split("/")
    return {"family": family, "size": size, "registers": registers, "dataset": dataset,
            "group": group, "metric": metric, "value": value, "low": value - 1, "high": value + 1,
            "n": 50000, "unit": unit}  # fmt: skip


def test_every_published_figure_has_its_evidence_and_bounds_are_marked():
    table = pd.read_csv(FILE).fillna("")
    assert set(table["evidence"]) == {"primary", "secondary"}
    openclip = table.query("item == 'discovery' and family == 'openclip'")
    assert len(openclip) == 6 and set(openclip["evidence"]) == {"secondary"}
    assert set(table.query("source == 'jiang-2025'")["evidence"]) == {"primary"}
    four = table.query("metric == 'flops_overhead' and registers == 'r4'").iloc[0]
    assert (four["value"], four["bound"]) == (2, "<")
    tables = {"table1", "table2", "table3", "table4", "table5"}
    for source in ("reassessment-2025", "jiang-2025"):
        assert tables <= set(table[table["source"] == source]["item"])


def test_ours_stand_beside_theirs_on_the_same_images_or_it_says_what_differs():
    rows = [
        ours("dinov2/large/r4", "top1", 87.0, "published_head"),
        ours("dinov2/large/r4", "top1", 80.0, "published_head", dataset="mine"),
        ours("dinov2/giant/r0", "class_top1", 60.0, "outlier", dataset="imagenet-train"),
        ours("dinov2/base/r4", "flops_overhead", 1.63, "counted", dataset=""),
        ours("openclip/base/r0", "corloc", float("nan"), "lost", "voc07", "not measured: no boxes"),
    ]
    table = beside(pd.read_csv(FILE), {"t": pd.DataFrame(rows)})

    same = table.query("item == 'table4' and size == 'large' and registers == 'r4' and "
                       "source == 'reassessment-2025'").iloc[0]  # fmt: skip
    assert (same["here"], same["here_dataset"]) == (87.0, "imagenet-test")
    assert same["difference"] == pytest.approx(87.0 - 86.8)
    other = table.query("item == 'table3' and size == 'giant' and group == 'outlier'").iloc[0]
    assert other["here"] == 60 and other["difference"] != other["difference"]
    assert other["differs"].startswith("other images: here imagenet-train")
    bound = table.query("metric == 'flops_overhead' and registers == 'r4'").iloc[0]
    assert bound["here"] == 1.63 and bound["difference"] != bound["difference"]
    refused = table.query("family == 'openclip' and dataset == 'voc07' and registers == 'r0'")
    assert refused["differs"].str.contains("not measured: no boxes").all()
    absent = table.query("item == 'table1' and size == 'small'")
    assert absent["differs"].str.startswith(NOT_MEASURED).all()
    text = page(table)
    assert "| dinov2/large/r4 | ImageNet-1k | released head | top-1 (%) ↑ | 86.80 | 87.00 |" in text
    assert "<2 |" in text and "(secondary)" in text


def test_images_of_the_sources_are_those_of_validation():
    assert same_images("imagenet-1k", "imagenet-val") and same_images("voc07", "voc07")
    assert not same_images("imagenet-1k", "imagenet-train") and not same_images("voc07", "mine")


def test_a_figure_of_other_images_is_cited_but_not_subtracted():
    published = Published(FILE)
    key = ("dinov2", "large", "r4", "published_head", "top1")
    first = published.of(key, "imagenet-test")[0]
    assert first.comparable and first.value == 86.8 and str(first).startswith("86.80 (reassess")
    elsewhere = published.of(key, "mine")[0]
    assert not elsewhere.comparable
    assert elsewhere.differs.startswith("images of ImageNet-1k, here mine")
    corloc = published.of(("openclip", "base", "r0", "lost", "corloc"), "voc07")
    assert "38.80 (darcet-2024, voc07, secondary)" in map(str, corloc)


def test_deviations_are_read_off_the_config(tmp_path):
    rows = deviations(study_of("config/config.yaml", tmp_path), "config/papers.yaml")
    by = {(row["paper"], row["about"]): row for row in rows}
    steps = by["darcet-2024", "steps of a segmentation head"]
    assert (steps["theirs"], steps["here"], steps["answer"]) == ("40000", "40000", SAME)
    assert by["reassessment-2025", "learning rate of a probe"]["answer"] == UNSAID
    assert by["darcet-2024", "training images of NYUd"]["answer"] == DEVIATES
    assert by["bach-2025", "epochs"]["answer"] == ABSENT
    # A changed key is a deviation; a training of the grid brings its recipe in.
    with open("config/config.yaml") as handle:
        config = yaml.safe_load(handle)
    grid = [*config["backbones"], "deit3-scratch-*/*/r0-*"]
    outliers = {"percentile": 97}
    changed = study_of("config/config.yaml", tmp_path, backbones=grid, outliers=outliers)
    by = {(r["paper"], r["about"]): r for r in deviations(changed, "config/papers.yaml")}
    percentile = by["reassessment-2025", "percentile above which a token is an outlier"]
    assert (percentile["here"], percentile["answer"]) == ("97", DEVIATES)
    assert by["bach-2025", "epochs"]["answer"] == SAME
    assert by["bach-2025", "training images held out"]["answer"] == DEVIATES


def test_a_wrong_key_among_the_papers_is_refused(tmp_path):
    file = tmp_path / "papers.yaml"
    file.write_text("p: [{about: x, where: y}]")
    with pytest.raises(StudyError, match=r"papers.yaml: p/0"):
        deviations(study_of("config/demo.yaml", tmp_path), str(file))


def test_what_a_study_knows_of_its_trainings(tmp_path):
    with open("config/config.yaml") as handle:
        backbones = [*yaml.safe_load(handle)["backbones"], "deit3-scratch-*/*/r[04]-*"]
    known = facts(study_of("config/config.yaml", tmp_path, backbones=backbones))
    keys = [f"deit3-scratch-s{seed}/small/r4-scratch" for seed in range(3)]
    assert {known["alike"][key] for key in keys} == {"deit3-scratch/small/r4-scratch"}
    assert known["images_seen"][keys[0]] == 800 * 1281167
    assert (
        "dinov2/large/r0" not in known["images_seen"] and known["params"]["dinov2/large/r0"] > 3e8
    )
    assert known["heads"]["claim4"] == 3 and known["rendered"] == []
    demo = facts(study_of("config/demo.yaml", tmp_path))
    assert max(demo["images_seen"].values()) < 1e5 and "scenes-boxes" in demo["rendered"]
    assert demo["chosen_on"]["scenes-bank"] == "scenes"


def test_a_table_of_which_nothing_is_shown_is_shown_empty():
    rows = pd.DataFrame([ours("a/b/r0", "m", 1.0, "g") | {"claim": "claim4", "kind": "none"}])
    read = Read(rows, [("d", "a/b/r0")], [], True)
    shown = {"groups": ["other"], "metrics": ["m"]}
    made = template_data.table("claim4", shown, read, Published(FILE))
    assert made["rows"] == [] and made["more"] == 1
