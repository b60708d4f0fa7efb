"""Every item of the sources leads to a file that a study makes, or says what it needs."""

import csv

import pandas as pd
import pytest
import yaml
from snakemake.utils import validate

from tokenscope.errors import StudyError
from tokenscope.report import contents, coverage, paper_figures
from tokenscope.report.coverage import HERE, NEEDS, OTHERS, OUT
from tokenscope.study.study import Study

FILE = "config/sources.csv"


def study_of(file, folder, **changes):
    with open(file) as handle:
        config = yaml.safe_load(handle) | changes
    config = {key: value for key, value in config.items() if value is not None}
    validate(config, "config/schemas/config.schema.yaml")
    return Study(config | {"results": str(folder)})


STUDIES = [f"config/{name}.yaml" for name in ("config", "demo", "small-vits", "small-vits-demo")]


@pytest.fixture(scope="module", params=STUDIES)
def study(request, tmp_path_factory):
    return study_of(request.param, tmp_path_factory.mktemp("study"))


def test_each_item_leads_to_what_the_study_makes_or_says_what_it_needs(study):
    rows = coverage.coverage(study, FILE)
    tables = {f"tables/{name}.csv" for name in contents.planned(contents.tables(study))}
    tables |= {
        coverage.OF_KINDS,
        *coverage.OF_NOBODY,
        *(coverage.OF_TRAININGS if study.trained else ()),
    }
    drawn = {f"figures/{name}.png" for page in contents.pages(study).values() for name, *_ in page}
    sections = {s["id"] for s in contents.sections(study.config["report"]["sections"])}
    for row in rows:
        files = row["files"].split()
        assert set(files) <= tables | drawn, row
        assert bool(files) == (row["answer"] in (HERE, OTHERS)), row
        assert row["section"] in sections or not files, row
        if row["answer"] != HERE:
            assert row["note"] and row["note"].startswith(NEEDS) == (row["answer"] == NEEDS), row


def test_of_the_paper_study_the_main_papers_items_are_all_its_own(tmp_path):
    rows = coverage.coverage(study_of("config/config.yaml", tmp_path), FILE)
    main = {row["item"]: row for row in rows if row["source"] == "reassessment-2025"}
    for item in [*(f"Figure {n}" for n in range(1, 8)), *(f"Table {n}" for n in range(1, 6))]:
        assert main[item]["answer"] == HERE, main[item]
    assert main["Figure 6"]["files"] == "figures/imagenet-val/fig6_qkv.png"
    assert main["Table 3"]["files"] == "tables/claim4.csv figures/imagenet-train/probe_tables.png"
    assert main["Table 3"]["section"] == "claim4"
    # What is trained from scratch is not part of it, and LOST on VOC07 is of released weights only.
    small = {row["item"]: row for row in rows if row["source"] == "bach-2025"}
    assert small["Object discovery"]["answer"] == OTHERS
    assert "deit3-scratch" in small["Object discovery"]["note"]


def test_the_studies_of_small_vits_flow_through_everything(tmp_path):
    """What is trained is measured in every section, at all registers, penalties and seeds."""
    study = study_of("config/small-vits.yaml", tmp_path)
    rows = coverage.coverage(study, FILE)
    own = [row for row in rows if row["source"] in ("bach-2025", "tmlr-4353")]
    assert len(own) > 15 and {row["answer"] for row in own} == {HERE}
    trained = set(study.trained)
    assert len(trained) == 6 * 3 + 4 * 3 * 4 * 2 * 3
    sections = (study.probing.rows, study.discovery.rows, study.dense.rows)
    sections += ([row for row, view in study.heads.jobs if view == "native"],)
    assert all(trained <= set(rows) for rows in sections)
    demo = study_of("config/small-vits-demo.yaml", tmp_path)
    counts = {row.register_count for row in demo.trained if row.kind == "scratch"}
    assert counts == {0, 1, 4, 16} == set(demo.config["overhead"]["registers"])
    assert len(demo.trained) == 3 * (4 + 2)


def test_without_its_data_an_item_says_so(tmp_path):
    rows = coverage.coverage(study_of("config/demo.yaml", tmp_path, discovery=None), FILE)
    lost = next(r for r in rows if (r["source"], r["item"]) == ("darcet-2024", "Table 3"))
    assert (lost["answer"], lost["files"]) == (NEEDS, "")
    assert lost["note"].startswith("needs data: voc07, voc12, coco20k, of dinov2/large/r[04]")
    assert next(r for r in rows if r["item"] == "Table 2b")["answer"] == OUT


def test_every_published_figure_belongs_to_an_item():
    published = pd.read_csv("config/published.csv")[["source", "item"]].drop_duplicates()
    listed = {
        (row["source"], name) for row in coverage.items(FILE) for name in row["published"].split()
    }
    sources = {source for source, _ in listed}
    wanted = {tuple(p) for p in published.to_numpy() if p[0] in sources}
    assert listed == wanted
    assert sources == {"reassessment-2025", "darcet-2024", "jiang-2025", "bach-2025", "tmlr-4353"}


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"files": "", "why": ""}, "needs either files or why"),
        ({"why": "out of scope"}, "needs either files or why"),
        ({"item": "Figure 2"}, "'Figure 2' of reassessment-2025 is there twice"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path, changed, said):
    rows = coverage.items(FILE)
    rows[0] |= changed
    with open(tmp_path / "sources.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, coverage.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(StudyError, match=said):
        coverage.items(str(tmp_path / "sources.csv"))


def test_figures_show_the_papers_backbones_or_a_studys_own(tmp_path):
    keys = lambda rows: [row.key for row in rows]  # noqa: E731
    paper = study_of("config/config.yaml", tmp_path)
    assert keys(paper_figures.shown(paper, "fig4_norms")) == [
        "openclip/base/r0",
        "openclip/huge/r0",
    ]
    assert keys(paper_figures.shown(paper, "fig5")) == ["dinov2/giant/r0", "dinov2/giant/r4"]
    assert len(paper_figures.shown(paper, "fig1_features")) == 15
    demo = study_of("config/demo.yaml", tmp_path)
    pair = keys(paper_figures.shown(demo, "fig5"))
    assert pair == ["embedded/tiny/r0-scratch", "embedded/tiny/r4-scratch"]
    assert (
        paper_figures.selected(demo, "fig6") == [] and len(paper_figures.shown(demo, "fig6")) == 4
    )
    wrong = study_of("config/demo.yaml", tmp_path, figures={"fig7": ["dyno/*/*"]})
    with pytest.raises(StudyError, match="figures: fig7: 'dyno/"):
        paper_figures.check(wrong)
