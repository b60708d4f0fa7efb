"""The front door: what a user may give, and one clear sentence for what cannot be used."""

import subprocess
import sys
from pathlib import Path

import diagnose
import pytest
import yaml
from snakemake.utils import validate

from tokenscope.diagnosis import setup
from tokenscope.errors import StudyError
from tokenscope.study import zoo
from tokenscope.study.diagnose import name_of
from tokenscope.study.study import Study

ROOT = Path(__file__).parents[2]
TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


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
    file.touch()
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
    options = {"device": "cpu", "batch": 8, "weights": None, "threads": 2}
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
    options = {"device": "cpu", "batch": 8, "weights": None, "threads": 2}
    config = setup.config_of(str(tmp_path), rows, facts, images, options)
    validate(config, "config/schemas/config.schema.yaml")
    assert [row.key for row in Study(config).probing.rows] == [f"mine/{TINY}/r0"]
    assert config["datasets"][setup.DATASET]["images"] == setup.MOST_IMAGES


def test_no_vit(photographs):
    message = run("--model", "resnet18.a1_in1k", "--images", str(photographs))
    assert "resnet18.a1_in1k is a ResNet, no Vision Transformer" in message
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
