"""The front door: what a user may give, and one clear sentence for what cannot be used."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import diagnose
import pandas as pd
import pytest
import yaml
from snakemake.utils import validate

from tokenscope.diagnosis import page, setup
from tokenscope.errors import StudyError
from tokenscope.stores.receipts import write_receipt
from tokenscope.study import zoo
from tokenscope.study.architecture import Architecture
from tokenscope.study.diagnose import name_of
from tokenscope.study.paths import Paths
from tokenscope.study.study import Study

ROOT = Path(__file__).parents[2]
TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


with open(ROOT / "config" / "architectures.csv", newline="") as _handle:
    TINY_FACTS = next(row for row in csv.DictReader(_handle) if row["timm_id"] == TINY)


def run(*arguments):
    """The command as a user calls it; returns what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "workflow_scripts/diagnose.py", *arguments],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and not done.stdout
    return done.stderr


def test_images(photographs):
    folder = setup.Images.of(str(photographs))
    assert (folder.files, folder.classes, folder.probed) == (12, 2, False)
    (photographs / "loose.png").touch()
    assert setup.Images.of(str(photographs)).classes == 0
    (photographs / "empty").mkdir()
    with pytest.raises(StudyError, match="there is no image below '.*empty'"):
        setup.Images.of(str(photographs / "empty"))
    with pytest.raises(StudyError, match="there is no folder"):
        setup.Images.of(str(photographs / "absent"))


def test_models(tmp_path):
    assert setup.Model.of(f"timm/{TINY}") == setup.Model(TINY)
    file = tmp_path / "my net.pth"
    with pytest.raises(StudyError, match="there is no file or folder"):
        setup.Model.of(str(file))
    file.write_bytes(b"weights")
    with pytest.raises(StudyError, match="say which architecture"):
        setup.Model.of(str(file))
    assert setup.Model.of(str(file), TINY).name == "my-net"
    with pytest.raises(StudyError, match="no config.json"):
        setup.Model.of(str(tmp_path))


def test_study_of_two_backbones(photographs, tmp_path, monkeypatch):
    """What is written is a valid study, with test-time registers where there are none yet."""
    models = [
        setup.Model(TINY),
        setup.Model("vit_small_patch14_reg4_dinov2.lvd142m", f"{tmp_path}/w.pth"),
    ]
    monkeypatch.chdir(ROOT)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3]}')
    facts = setup.facts_of(models, str(tmp_path))
    rows = setup.rows_of(models, facts)
    setup.write_tables(tmp_path, rows, facts)
    options = {"device": "cpu", "batch": 8, "weights": None, "threads": 2, "bad": "fail"}
    images = setup.Images.of(str(photographs))
    config = yaml.safe_load(
        yaml.safe_dump(setup.config_of(str(tmp_path), rows, facts, images, options))
    )
    validate(config, "config/schemas/config.schema.yaml")
    study = Study(config)
    assert [row.registers for row in study.diagnosed] == ["r0", "r4"]
    kinds = [row.kind for row in study.backbones]
    assert kinds == ["none", "testtime", "random", "zeroed", "trained"]
    assert study.diagnosed[1].spec["model"] == {"num_classes": 0}  # a head does not matter
    assert study.diagnosed[1].spec["mean"] == (0.1, 0.2, 0.3)
    assert not study.probing.rows
    config["diagnose"]["backbones"] = ["mine/other/r0"]
    with pytest.raises(StudyError, match="'mine/other/r0' is none of this study's"):
        Study(config)


def test_class_folders_are_probed(photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    images = setup.Images(str(photographs), files=2000, classes=20)
    assert images.probed and not setup.Images(str(photographs), 2000, 100).probed
    models = [setup.Model(TINY)]
    facts = setup.facts_of(models, str(tmp_path))
    rows = setup.rows_of(models, facts)
    setup.write_tables(tmp_path, rows, facts)
    options = {"device": "cpu", "batch": 8, "weights": None, "threads": 2, "bad": "fail"}
    config = setup.config_of(str(tmp_path), rows, facts, images, options)
    validate(config, "config/schemas/config.schema.yaml")
    assert [row.key for row in Study(config).probing.rows] == [f"mine/{TINY}/r0"]
    assert config["datasets"][setup.DATASET]["images"] == setup.MOST_IMAGES


def test_broken_images_stop_a_diagnosis_or_are_left_out_when_told(photographs, tmp_path):
    (photographs / "broken.jpg").write_bytes(b"no image")
    images = setup.Images.of(str(photographs))
    facts = [Architecture.from_strings(TINY_FACTS)]
    rows = setup.rows_of([setup.Model(TINY)], facts)
    options = {"device": "cpu", "batch": 8, "weights": None, "threads": 2}
    said = {}
    for bad in ("fail", "skip"):
        config = setup.config_of(str(tmp_path), rows, facts, images, {**options, "bad": bad})
        given = config["datasets"][setup.DATASET]
        said[bad] = given["on_bad_image"], given["images"]
    # 'all': what cannot be read has no substitute where every image is used.
    assert said == {"fail": ("fail", 13), "skip": ("skip", "all")}
    many = setup.Images(str(photographs), 2000, 0)
    config = setup.config_of(str(tmp_path), rows, facts, many, {**options, "bad": "skip"})
    assert config["datasets"][setup.DATASET]["images"] == setup.MOST_IMAGES
    file = Path(Paths(str(tmp_path)).receipt("sample", setup.DATASET))
    write_receipt(file, skipped=[{"image_id": "broken", "problem": "broken.jpg: is no image"}])
    assert diagnose.left_out(tmp_path) == ["broken.jpg: is no image"]
    assert "say BAD=skip to go on" in diagnose._in_own_words("or set on_bad_image: skip to go on")


def test_a_head_of_ones_own_is_scored_by_its_list(photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "order.txt").write_text("dog\nowl\ncat\n")
    file = tmp_path / "tuned.safetensors"
    file.touch()
    models = [setup.Model(TINY, str(file)), setup.Model(TINY, str(file))]
    facts = [Architecture.from_strings(TINY_FACTS)] * 2
    rows = setup.rows_of(models, facts, str(tmp_path / "order.txt"))
    setup.write_tables(tmp_path, rows, facts)
    options = {"device": "cpu", "batch": 8, "weights": None, "threads": 2, "bad": "fail"}
    images = setup.Images.of(str(photographs))
    config = setup.config_of(str(tmp_path), rows, facts, images, options)
    validate(config, "config/schemas/config.schema.yaml")
    study = Study(config)
    assert [row.arch.num_classes for row in study.diagnosed] == [3, 0]
    assert [(row.key, view) for row, view in study.heads.jobs] == [("mine/tuned/r0", "native")]
    assert study.heads.own(study.diagnosed[0]) and not study.heads.own(study.diagnosed[1])
    with pytest.raises(StudyError, match="CLASSES=.*order.txt: a head is scored on images that"):
        loose = setup.Images(str(photographs), 12, 0)
        setup.config_of(str(tmp_path), rows, facts, loose, options)
    scored = dict(zip(zoo.COLUMNS[:3], ("mine", "tuned", "r0"), strict=True))
    scored |= {"group": "own_head", "metric": "top1", "value": 75.0, "low": 55.0, "high": 92.0}
    heads = pd.DataFrame([scored, {**scored, "metric": "top5", "value": 99.0}])
    assert page.own_head(heads, scored) == "75.00 % [55.00, 92.00]"
    assert page.own_head(None, scored) == page.own_head(heads, {**scored, "family": "other"}) == ""


def test_no_vit(photographs):
    message = run("--model", "resnet18.a1_in1k", "--images", str(photographs))
    assert "resnet18.a1_in1k is a ResNet, which is no Vision Transformer" in message
    assert len(message.splitlines()) == 1


def test_what_failed_is_repeated_in_a_sentence(tmp_path):
    log = tmp_path / "logs" / "sample" / "photographs.log"
    log.parent.mkdir(parents=True)
    log.write_text("[sample photographs] 3 of 12 images\n[sample] error: a.png cannot be read\n")
    assert diagnose.failures(tmp_path, 0) == ["a.png cannot be read"]
    assert diagnose.failures(tmp_path, log.stat().st_mtime + 1) == []


def test_names():
    row = {"family": "mine", "size": "net", "registers": "r0"}
    assert name_of(row) == "net"
    assert name_of({**row, "family": "dino"}) == "dino/net/r0"
    assert zoo.COLUMNS[:3] == ("family", "size", "registers")


def test_a_model_without_its_tag_is_answered_with_the_tags():
    with pytest.raises(StudyError, match="MODEL=vit_tiny_patch16_224: .*tags: augreg_in21k, augre"):
        setup.Model.of("vit_tiny_patch16_224")


def test_weights_whose_card_says_other_colours_are_remarked_on(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    (tmp_path / "config.json").write_text('{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}}')
    notes = {}
    for arch in ("deit3_small_patch16_224.fb_in1k", TINY):
        model = setup.Model.of(str(file), arch)
        (row,) = setup.rows_of([model], setup.facts_of([model], str(tmp_path)))
        notes[arch] = row["note"]
    said = notes["deit3_small_patch16_224.fb_in1k"]
    assert re.search(r"\(mean 0.485 .*card, .*config.json, says mean 0.5 0.5 0.5$", said)
    assert notes[TINY] == ""


def test_an_architecture_without_its_tag_is_remarked_on(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = tmp_path / "net.safetensors"
    file.write_bytes(b"weights")
    model = setup.Model.of(str(file), "vit_tiny_patch16_224")
    (row,) = setup.rows_of([model], setup.facts_of([model], str(tmp_path)))
    assert "has no tag" in row["note"]


def test_a_name_keeps_what_it_first_was_of(photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = setup.Model(TINY)
    facts = setup.facts_of([model], str(tmp_path))
    rows, images = setup.rows_of([model], facts), setup.Images.of(str(photographs))
    wanted = str(tmp_path / "diagnose-mine")

    def taken(images):
        folder = setup.own_folder(wanted, rows, images)
        Path(folder).mkdir(exist_ok=True)
        setup.write_tables(folder, rows, facts)
        content = {"datasets": {setup.DATASET: {"path": images.path}}}
        Path(folder, "study.yaml").write_text(yaml.safe_dump(content))
        return folder

    other = setup.Images("elsewhere", 12, 0)
    assert taken(images) == wanted == taken(images)
    assert taken(other) == f"{wanted}-2" == taken(other)
    assert taken(images) == wanted


def test_the_page_says_which_images_and_weights():
    row = pd.Series({
        "images": 50, "images_listed": 1234, "images_skipped": 0, "params": 5700000,
        "geometry": "224px", "device": "cpu", "precision": "float32", "timm": "1", "torch": "2",
    })  # fmt: skip
    said = page.seen_images({"path": "my/photos", "seed": 3}, row)
    assert said == "50 of the 1,234 images below my/photos, a seeded sample (seed 3)"
    assert page.seen_images({"path": "p", "seed": 3}, pd.Series({**row, "images": 1234})).endswith(
        ", all"
    )
    some = pd.Series({**row, "images": 1230, "images_skipped": 4})
    assert page.seen_images({"path": "p", "seed": 3}, some) == (
        "1,230 of the 1,234 images below p, all that can be read; 4 could not be read and are left "
        "out"
    )
    card = {"timm_id": TINY, "weights": "w.pth", "origin": "row", "sha256": "abc"}
    facts = dict(page.facts(card, {"mean": (0.5,) * 3, "std": (0.25,) * 3}, row))
    assert facts["weights"] == "w.pth (the file given)"
    assert facts["SHA-256 of the weights"] == "abc"
    assert facts["images as it saw them"].endswith("mean 0.5 0.5 0.5, std 0.25 0.25 0.25")
