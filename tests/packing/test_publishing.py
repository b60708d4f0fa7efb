"""What is published of a study says what its tables say, and can be fetched again."""

import hashlib
import json

import fetch  # programs, not of the library
import pandas as pd
import publish
import pytest
import yaml

from tokenscope.errors import StudyError
from tokenscope.packing import card
from tokenscope.verdicts.table import COLUMNS

BACKBONES = """family,size,registers,dataset,timm_id,origin,weights_sha256,geometry,images,device
a,b,r0,scenes,vit_tiny,trained,0123abcd,80px,10,cuda
"""


@pytest.fixture
def judged(cluster):
    """The study with verdicts on a statement of config/verdicts.yaml, and its backbones."""
    line = {
        "section": "claim1", "statement": "outliers", "scope": "generalises", "supporting": 1,
        "asked": 1, "answer": "supported", "reason": "all | of them",
    }  # fmt: skip
    rows = [line, {**line, "backbone": "a/b/r0", "value": 3.0}, {**line, "answer": "not run"}]
    tables = cluster / "results/mine/tables"
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tables / "verdicts.csv", index=False)
    (tables / "backbones.csv").write_text(BACKBONES)
    return cluster


def test_a_folder_to_upload(judged, capsys, monkeypatch):
    said = next(iter(publish._said({}).items()))
    frame = pd.read_csv(judged / "results/mine/tables/verdicts.csv")
    frame["statement"] = said[0]
    frame.to_csv(judged / "results/mine/tables/verdicts.csv", index=False)
    folder = judged / publish.main("mine.yaml")
    assert "make fetch FROM=" in capsys.readouterr().out
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        "README.md", "LICENSE", "CITATION.cff", "deposit.json", "checksums.sha256", "mine.tar.gz",
        "tables/backbones.csv", "tables/claim1.csv", "tables/verdicts.csv",
    }  # fmt: skip
    for line in (folder / "checksums.sha256").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest

    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(head)
    assert head["license"] == "mit" and {c["config_name"] for c in head["configs"]} == {
        "backbones", "claim1", "verdicts"
    }  # fmt: skip
    assert all((folder / c["data_files"]).is_file() for c in head["configs"])
    assert f"| {said[1]} | generalises |  | supported | all \\| of them |" in text
    assert "Of 2 lines: supported 1, not run 1" in text  # the backbone's row is no line
    assert "| a/b/r0 | scenes | vit_tiny | trained | 10 | 80px | cuda | 0123abcd |" in text

    citation = yaml.safe_load((folder / "CITATION.cff").read_text())
    assert citation["type"] == "dataset" and citation["references"][0]["type"] == "software"
    assert "# doi: " in (folder / "CITATION.cff").read_text()
    metadata = json.loads((folder / "deposit.json").read_text())["metadata"]
    assert metadata["creators"] and metadata["license"] == "mit"

    other = judged.parent / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    fetch.fetch(str(folder / "mine.tar.gz"), "mine")
    assert (other / "results/mine/tables/verdicts.csv").is_file()


def test_publishing_again_leaves_nothing_of_before(judged):
    folder = judged / publish.main("mine.yaml")
    (folder / "tables/claim1.csv").write_text("old")
    (judged / "results/mine/tables/claim1.csv").unlink()
    publish.main("mine.yaml")
    assert not (folder / "tables/claim1.csv").exists()


@pytest.mark.parametrize("name", ["verdicts", "backbones"])
def test_without_verdicts_nothing_is_published(judged, name):
    (judged / f"results/mine/tables/{name}.csv").unlink()
    with pytest.raises(StudyError, match=f"tables/{name}.csv is not there"):
        publish.main("mine.yaml")
    assert not (judged / "results/mine/publish").exists()


def test_the_citation_names_code_and_commit_where_they_are_known():
    project = {
        "cff-version": "1.2.0", "title": "t", "license": "MIT", "authors": [{"name": "n"}],
    }  # fmt: skip
    about = {"study": "s", "version": "1.0", "commit": "abc", "remote": "https://example.org/c"}
    written = yaml.safe_load(card.citation_of(about, project))
    software = written["references"][0]
    assert software["commit"] == "abc" and software["repository-code"] == about["remote"]
    links = card.deposit(about, project)["metadata"]["related_identifiers"]
    assert links[0]["identifier"] == about["remote"]
    unknown = {**about, "commit": "", "remote": ""}
    assert "commit" not in yaml.safe_load(card.citation_of(unknown, project))["references"][0]
    assert card.deposit(unknown, project)["metadata"]["related_identifiers"] == []
