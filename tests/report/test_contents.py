"""What a study plans: one table of the measurements that each of its tables is made of."""

import pytest
import yaml
from snakemake.utils import validate

from tokenscope.report import contents
from tokenscope.study.study import Study


@pytest.fixture(params=["config/config.yaml", "config/demo.yaml"])
def study(request, tmp_path):
    with open(request.param) as handle:
        config = yaml.safe_load(handle)
    validate(config, "config/schemas/config.schema.yaml")
    return Study(config | {"results": str(tmp_path)})


def test_a_table_is_made_of_its_own_measures(study):
    tables = contents.planned(contents.tables(study))
    kinds = {
        name: {part.removeprefix(f"{study.results}/measures/").split("/")[0] for part in t.parts}
        for name, t in tables.items()
    }
    assert kinds["claim1"] == {"norms"} and kinds["claim2"] == {"norms", "contrast"}
    assert kinds["claim3"] == {"redundancy"}
    assert kinds["claim4"] == {"probes"}
    assert kinds["claim5"] == {"norms", "heads", "gains"}
    assert kinds["dense"] == {"dense", "smoothness"}
    for name, table in tables.items():
        assert len(set(table.parts)) == len(table.parts), name
        assert table.parts or name == "training"


def test_what_a_table_rests_on(study):
    tables = contents.tables(study)
    assert tables["claim4"].provenance == tables["sensitivity"].provenance == "bank"
    assert tables["claim3"].provenance == "backbones"


def test_what_is_no_finding_is_folded_and_embedded_last(study):
    ranks = {name: rank for page in contents.pages(study).values() for name, _, rank in page}
    last = {name for name, rank in ranks.items() if rank == contents.ASIDE}
    assert last == {"carbon/forecast"} and max(ranks.values()) == contents.ASIDE


def test_only_figures_of_one_backbone_are_listed_by_backbone(study):
    """Of a large family the further pages of a figure stand with the first."""
    ranks = {name: rank for page in contents.pages(study).values() for name, _, rank in page}
    of = {name.split("/", 2)[-1] for name, rank in ranks.items() if rank == 2}
    assert of and of <= {row.key for row in study.rows.values()}
    paged = [rank for name, rank in ranks.items() if "/page" in name]
    assert set(paged) <= {1} and (paged or study.config["study"] == "demo")


def test_whom_a_figure_shows(study):
    shown, keys = contents.about(study), {row.key for row in study.rows.values()}
    assert set(shown) == {name for page in contents.pages(study).values() for name, *_ in page}
    assert all(set(own) <= keys for own in shown.values())
    of = {name.partition("/")[2]: own for name, own in shown.items()}
    norms, (name, (row,)) = of["norms"], next((n, o) for n, o in of.items() if "blocks/" in n)
    assert norms == [row.key for row in study.backbones] and f"blocks/{row}" == name
    assert 0 < len(of["fig4_norms"]) <= 2 and len(of["fig7_blocks"]) == 1


def test_without_sections_their_tables_are_about_nothing(study):
    sections = ("probes", "heads", "discovery", "dense", "diagnose")
    config = {key: value for key, value in study.config.items() if key not in sections}
    tables = contents.tables(Study(config))
    left_out = {"claim4", "sensitivity", "claim5", "discovery", "dense", "diagnosis"}
    assert not left_out & contents.planned(tables).keys()
    assert tables["claim5"].parts == tables["claim1"].parts  # heads that a backbone came with
    assert tables["dense"].provenance == "backbones"
