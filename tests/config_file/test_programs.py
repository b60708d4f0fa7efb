"""What a person starts: a new study, valid as it is written; a check; a schema for editors."""

import json
import re
from pathlib import Path

import check
import new
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tokenscope.backbones import fit
from tokenscope.cards import hub_folder
from tokenscope.config_file import editor_schema, needs
from tokenscope.config_file.answers import Answers
from tokenscope.config_file.lines import Source
from tokenscope.diagnosis import setup
from tokenscope.diagnosis.new_study import text_of
from tokenscope.errors import StudyError
from tokenscope.study.study import Study

ROOT = Path(__file__).parents[2]
TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_schema_of_editors_is_up_to_date_and_explains():
    assert editor_schema.FILE.read_text() == editor_schema.text(), "make schema writes it anew"
    schema = json.loads(editor_schema.FILE.read_text())["properties"]
    assert schema["analyse"]["description"]
    assert "sample" in str(schema["datasets"]["patternProperties"])
    assert "probes" in schema and "learning" not in schema["probes"]["description"]
    cutoffs = schema["probes"]["properties"]["cutoffs"]["description"]
    assert "who is an outlier" in cutoffs


@pytest.mark.parametrize("bad", ["fail", "skip"])
@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("timm_id", [TINY, "vit_small_patch14_reg4_dinov2.lvd142m"])
def test_a_new_study_is_valid_as_it_is_written(tmp_path, photographs, timm_id, probed, bad):
    images = setup.Images(str(photographs), 300, 2) if probed else setup.Images.of(str(photographs))
    model = setup.Model(timm_id)
    facts = setup.facts_of([model], str(tmp_path))
    rows = setup.rows_of([model], facts)
    setup.write_tables(tmp_path, rows, facts)
    text = text_of("mine", str(tmp_path), rows[0], images, facts[0], "", bad)
    (tmp_path / "study.yaml").write_text(text)
    first = text.splitlines()[0].partition("$schema=")[2]
    assert (tmp_path / first).resolve() == editor_schema.FILE
    config = Source(tmp_path / "study.yaml").content()
    study = Answers([tmp_path / "study.yaml"]).study(config, Study)
    assert study.backbones[0].timm_id == timm_id
    assert bool(study.testtime_bases) == ("reg4" not in timm_id)
    assert bool(study.probing.rows) == probed
    assert bool(config.get("kinds")) == (images.used >= setup.MIN_KINDS)
    assert config["datasets"]["images"]["on_bad_image"] == bad
    assert (config["datasets"]["images"]["images"] == "all") == (bad == "skip")
    assert needs.missing(study) == []


def test_a_new_study_writes_nothing_over(tmp_path, photographs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies/mine").mkdir(parents=True)
    given = ["--model", TINY, "--images", str(photographs), "--name"]
    assert new.main([*given, "mine"]) == 1
    assert "studies/mine is there already" in capsys.readouterr().err
    assert new.main([*given, "my study"]) == 1
    assert "NAME=my study: make it of letters" in capsys.readouterr().err
    assert new.main([*given, "other", "--bad", "skipp"]) == 1
    said = capsys.readouterr().err.strip()
    assert said == "new: BAD=skipp: it must be fail or skip; nearest: skip"


def test_weights_that_do_not_fit_are_named_before_anything_is_written(
    tmp_path, photographs, monkeypatch, capsys
):
    monkeypatch.setattr(setup, "TABLE", str(ROOT / "config/backbones.csv"))
    monkeypatch.chdir(tmp_path)
    save_file({"cls_token": torch.zeros(1, 1, 384)}, "own.safetensors")
    given = ["--name", "mine", "--images", str(photographs), "--model", "own.safetensors"]
    assert new.main([*given, "--arch", TINY]) == 1
    assert "own.safetensors does not fit vit_tiny_patch16_224" in capsys.readouterr().err
    assert not Path("studies").exists()


@pytest.mark.parametrize(("side", "said"), [(14, False), (24, True)])
def test_weights_of_another_input_size_are_remarked_on(tmp_path, side, said):
    spec = {"name": "mine/own/r0", "timm_id": TINY, "registers": 0, "model": {}}
    file = tmp_path / "own.safetensors"
    save_file({"pos_embed": torch.zeros(1, 1 + side**2, 192)}, file)
    remark = fit.other_size(spec, str(file))
    assert ("24 x 24 patches, images of 384 pixels" in remark) == bool(remark) == said


def test_a_check_asks_for_weights_of_ones_own_and_for_the_hub(
    tmp_path, photographs, monkeypatch, capsys
):
    """Files that do not fit, and released weights that cannot be had, with the key to change."""
    monkeypatch.setattr(setup, "check_weights", lambda *given: None)
    monkeypatch.setattr(setup, "TABLE", str(ROOT / "config/backbones.csv"))
    monkeypatch.setattr(hub_folder, "kept", lambda repo: "")
    monkeypatch.setattr(hub_folder, "why_not", lambda repo: "the hub cannot be reached")
    monkeypatch.chdir(tmp_path)
    given = ["--name", "mine", "--images", str(photographs), "--model", TINY]
    assert new.main(given) == 0 and "make check CONFIG=" in capsys.readouterr().out
    with pytest.raises(StudyError) as refusal:
        check.check_weights("studies/mine/study.yaml")
    assert re.fullmatch(
        rf"studies/mine/study.yaml, line \d+: weights: timm/{TINY}: to be fetched, and the hub "
        "cannot be reached; put them into results/weights .*, or name their folder .*: folder",
        str(refusal.value),
    )
    asked = []
    monkeypatch.setattr(fit, "check", lambda pairs: asked.extend(pairs) or [""])
    Path("own.safetensors").touch()
    table = Path("studies/mine/backbones.csv")
    table.write_text(table.read_text().replace(f"r0,{TINY},", f"r0,{TINY},own.safetensors"))
    check.check_weights("studies/mine/study.yaml")
    ((spec, file),) = asked
    assert spec["timm_id"] == TINY and file == str(tmp_path / "own.safetensors")


def test_a_check_of_a_broken_file_is_one_line(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("study: mine\n\tresults: here\n")
    assert check.main([str(tmp_path / "mine.yaml")]) == 1
    said = capsys.readouterr().err.strip()
    assert said.endswith(
        "mine.yaml, line 2: a tab: YAML is indented with spaces; write spaces for it"
    )
    (tmp_path / "mine.yaml").write_text("- study\n")
    assert check.main([str(tmp_path / "mine.yaml"), "--syntax"]) == 1
    assert "holds no keys" in capsys.readouterr().err


def test_a_check_of_a_typo_is_its_sentence(tmp_path, capsys):
    text = (ROOT / "tests/mini/mini.yaml").read_text().replace("analyse:", "analyze:")
    (tmp_path / "mine.yaml").write_text(text)
    assert check.main([str(tmp_path / "mine.yaml")]) == 1
    said = capsys.readouterr().err.strip()
    assert "mine.yaml, line 10: analyze: is no key of a study; nearest: analyse" in said
    assert len(said.splitlines()) == 1


def test_what_a_study_reads_and_is_not_here(tmp_path):
    config = yaml.safe_load((ROOT / "config/example-photographs.yaml").read_text())
    config["results"] = str(tmp_path)
    config["datasets"]["tiny-imagenet"] |= {"type": "webdataset", "path": f"{tmp_path}/*.tar"}
    del config["datasets"]["tiny-imagenet"]["labels"]
    config["datasets"]["photographs"] |= {"path": str(tmp_path / "none"), "labels": "foldrs"}
    config["weights"]["folder"] = str(tmp_path / "weights")
    study = Answers([]).study(config, Study)
    said = needs.missing(study)
    begins = [
        "datasets: photographs: path: there is no folder", "datasets: photographs: labels: there",
        "datasets: tiny-imagenet: path: '", "discovery: sets: coco-tiny: path: there is no",
        "weights: folder: there is no folder", "weights: augreg/tiny/r0: download is false",
    ]  # fmt: skip
    for begin in begins:
        assert sum(sentence.startswith(begin) for sentence in said) <= 1
    assert said[0].startswith(begins[0]) and said[1].endswith("; nearest: folders")
    assert any(s.startswith(begins[2]) and "matches no file" in s for s in said)
    assert any(s.startswith(begins[4]) for s in said) and any(s.startswith(begins[5]) for s in said)
    assert needs.missing(study, {"photographs"}) == said[:2]
