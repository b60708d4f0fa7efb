"""What a dry run tells a person: in less than a page, for this machine, and of what is not here."""

import pytest
import yaml
from projects import light, planned, snakemake

from tokenscope.cost.time_model import Job
from tokenscope.jobs.dry_run import counted, reasons
from tokenscope.study.register_names import CONTROLS
from tokenscope.study.study import Study

MINE = {
    "study": "mine", "results": "results/mine", "backbones": ["augreg/tiny/r0"],
    "analyse": ["photos"],
    "datasets": {"photos": {"type": "imagefolder", "path": "my/photos", "labels": "folder",
                            "images": 500, "seed": 0}},
}  # fmt: skip


@pytest.fixture
def mine(project):
    """A config as a stranger writes it, without a mistake but for what is not there."""

    def write(**changes):
        (project / "mine.yaml").write_text(yaml.safe_dump({**MINE, **changes}))
        return "mine.yaml"

    return write


@pytest.mark.parametrize("how", ["summary", "full"])
def test_the_paper_study_is_planned_in_less_than_a_page(project, how, tmp_path):
    """Without torch, too."""
    said = snakemake(
        project, "--profile", "slurm", "-n", "--config", f"forecast={how}", env=light(tmp_path)
    )
    assert len(said.splitlines()) < 60
    assert "Forecast of paper: " in said and "targets    GPU-hours each alone: claim1 " in said
    if how == "full":
        assert "dinov2" in said.split("GPU-hours  claim1")[1]
        files = project / "results/paper/accounting/forecast"
        crossed = (files / "by_claim_and_backbone.csv").read_text()
        assert '"claim4,dinov2/giant/r4"' in crossed


def test_every_job_is_shown_on_demand(project, mine):
    said = snakemake(project, "-n", "-p", "--configfile", mine())
    assert "rule extract:" in said


def test_what_is_not_here_is_said_with_its_line(project, mine):
    said = snakemake(project, "-n", "--configfile", mine())
    lines = [line for line in said.splitlines() if line.startswith("not here: ")]
    assert "there is no folder 'my/photos'" in lines[0] and "mine.yaml, line " in lines[0]
    assert lines[1].endswith("labels: there is no label file 'folder'; nearest: folders")


def test_a_config_is_never_mixed_with_another(project, mine):
    text = (project / mine()).read_text().replace("study: mine\n", "")
    (project / "mine.yaml").write_text(text)
    said = snakemake(project, "-n", "--configfile", "mine.yaml", ok=False)
    assert "mine.yaml: study: is missing" in said
    assert "testtime" not in said and len(said.splitlines()) < 4


def test_two_config_files_are_refused(project, mine):
    two = ["--configfile", mine(), "tests/mini/mini.yaml"]
    assert "keep to one" in snakemake(project, "-n", *two, ok=False)


def test_a_mistyped_target_names_the_nearest(project, mine):
    target = "results/mine/figures/photos/fig3_cosin.png"
    said = snakemake(project, "-n", "--configfile", mine(), "--", target, ok=False)
    assert "nearest: results/mine/figures/photos/fig3_cosine.png" in said
    assert "nothing to do" not in said


def test_one_key_adds_the_controls_with_what_they_need(project, mine):
    before = planned(snakemake(project, "-n", "--configfile", mine()))
    after = planned(snakemake(project, "-n", "--configfile", mine(controls=True)))
    assert "control" not in before and "train" not in before
    assert after["control"] == after["plant"] == len(CONTROLS) and after["train"] == 1
    assert after["render"] == 3  # what phantoms are trained on, and what they are judged on


def test_a_part_of_the_backbones_takes_one_key(project):
    """Every section follows; none complains of backbones that are left out."""
    only = ["--profile", "slurm", "-n", "--config", "only=[dino/*/*]", "--"]
    jobs = planned(snakemake(project, *only, "all"))
    assert jobs["obtain"] == 4 and "probe" not in jobs and "overhead" not in jobs
    said = snakemake(project, *only, "claim1", "claim2", "claim3")
    lacking = [line for line in said.splitlines() if line.startswith("not here: ")]
    assert len(lacking) == 1 and "imagenet-val" in lacking[0]  # what these claims read, alone
    fewer = planned(said)
    assert "smoothness" not in fewer and fewer["extract"] == jobs["extract"]
    said = snakemake(project, *only[:-2], "only=[dyno/*/*]", "--", "all", ok=False)
    assert "only: 'dyno/*/*' is none of this study's backbones" in said


def test_without_a_gpu_the_time_grows_with_the_images(project, monkeypatch):
    from tokenscope.config_file.answers import Answers

    monkeypatch.chdir(project)

    def seconds(images, gpu):
        config = yaml.safe_load(yaml.safe_dump(MINE))
        config["datasets"]["photos"]["images"] = images
        study = Answers([]).study(config, lambda c: Study(c, gpu=gpu))
        wildcards = {"dataset": "photos", "family": "augreg", "size": "tiny", "registers": "r0",
                     "shard": "0000"}  # fmt: skip
        return Job(study, "extract", wildcards, threads=2).seconds()

    assert seconds(50_000, False) > 8 * seconds(5_000, False) > 30 * seconds(500, False)
    assert seconds(50_000, False) > 20 * seconds(50_000, True)


def test_counts_and_reasons_are_lines():
    lines = counted({"extract": 12, "norms": 3, "total": 15})
    assert lines == ["extract 12, norms 3", "total 15"]
    message = (
        "Reasons:\n    (check individual jobs above for details)\n    code has changed since last "
        "execution:\n        render\n    output files have to be generated:\n        all"
    )
    assert reasons(message) == ["reason: code has changed since last execution: render"]
