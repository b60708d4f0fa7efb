"""The section probes of a config, and the cost of registers: what a study answers."""

import copy

import pytest
import yaml
from snakemake.utils import validate

from tokenscope.errors import StudyError
from tokenscope.study import flops
from tokenscope.study.study import Study

IMAGES = {"type": "imagefolder", "path": "x", "labels": "folders", "classes": "imagenet-1k"}


@pytest.fixture(scope="module")
def paper():
    with open("config/config.yaml") as file:
        config = yaml.safe_load(file)
    validate(config, "config/schemas/config.schema.yaml")
    return config


def changed(config, **probes):
    config = copy.deepcopy(config)
    config["probes"] |= probes
    return config


def test_the_paper_study_tests_probes_on_images_nobody_was_trained_on(paper):
    study = Study(paper)
    probing = study.probing
    assert (probing.test, probing.datasets[0]) == ("imagenet-val", "imagenet-train")
    row = study.rows["dinov2/giant/r0"]
    for name in probing.datasets:
        assert probing.bank(name, row, "native") == {"tokens": 1, "seed": 0}
    assert probing.bank("imagenet-test", row, "native") == {}
    assert probing.bank("imagenet-val", row, "resize256") == {}
    assert paper["probes"]["images_with_outlier"] == 200000
    assert study.planned_images("imagenet-train") > 200000


def test_who_saw_the_labels(paper):
    study = Study(paper)
    saw = {row.key: study.probing.saw_labels(row) for row in study.probing.rows}
    assert saw["deit3/medium/r0"] and saw["deit3-in22k/medium/r0"]
    assert not saw["dinov2/giant/r0"] and not saw["openclip/base/r0"]


@pytest.mark.parametrize(
    "test, why",
    [
        ("imagenet-x", "probes: test: 'imagenet-x' is not one of"),
        ("imagenet-train", "dataset and test are the same data set"),
        ("birds", "has classes 'imagenet-1k', 'birds' has 'birds'"),
    ],
)
def test_a_test_that_cannot_be_is_refused(paper, test, why):
    config = changed(paper, test=test)
    config["datasets"]["birds"] = IMAGES | {"classes": "birds", "images": 10, "seed": 0}
    with pytest.raises(StudyError, match=why):
        Study(config)


def test_four_registers_cost_more_of_fewer_patches(paper):
    """Darcet's "below 2 %" is of patch 14; a ViT-B/16 has fewer patches and pays 2.1 %."""
    study, share = Study(paper), {}
    for key in ("deit3/base/r0", "dinov2/base/r0"):
        row = study.rows[key]
        assert row.measured_at(paper["overhead"]) == 224 and row in study.overhead
        cost = flops.flops_by_registers(row.arch, [0, 4], 224)
        share[key] = 100 * (cost["4"] / cost["0"] - 1)
    assert share["deit3/base/r0"] == pytest.approx(2.10, abs=0.02)
    assert share["dinov2/base/r0"] == pytest.approx(1.63, abs=0.02)


def test_a_size_of_no_whole_patches_is_refused(paper):
    config = copy.deepcopy(paper)
    config["overhead"]["size"] = 220
    study = Study(config)
    with pytest.raises(StudyError, match="220 pixels are no whole number of patches of 16"):
        study.rows["deit3/base/r0"].measured_at(config["overhead"])


def test_registers_at_test_time_have_two_controls(paper):
    study = Study(paper)
    made = [row.registers for row in study.attached_to(study.rows["deit3/small/r0"])]
    assert made == ["r0", "r1-testtime", "r4-testtime", "r1-random", "r1-zeroed"]
