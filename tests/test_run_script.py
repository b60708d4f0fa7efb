"""The script of one job, run alone: on the inputs of the study, writing beside it."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from projects import PLANTED, RESULTS, ROOT


def alone(target, config, *options, folder=ROOT, ok=True):
    """Run one script; returns what was printed."""
    command = [sys.executable, "workflow_scripts/run_script.py", str(target)]
    done = subprocess.run(
        [*command, "--config", str(config), *options], cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def config(photographs, tmp_path):
    """A study of twelve photographs, of which nothing has been made."""
    study = {
        "study": "alone", "results": str(tmp_path / "results"), "device": "cpu",
        "backbones": ["augreg/tiny/r0"], "analyse": ["photographs"],
        "datasets": {
            "photographs": {
                "type": "imagefolder", "path": str(photographs), "labels": "folders",
                "images": "all", "seed": 0,
            }
        },
    }  # fmt: skip
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study))
    return file


@pytest.mark.slow
def test_a_script_runs_alone_and_writes_beside_the_study(config, tmp_path):
    target, into = tmp_path / "results/data/photographs/manifest.csv", tmp_path / "aside"
    printed = alone(target, config, "--into", str(into))
    assert "rule index: workflow_scripts/data/index.py" in printed
    assert len(pd.read_csv(into / "data/photographs/manifest.csv")) == 12
    assert (into / "logs/index/photographs.log").exists()
    assert not Path(tmp_path, "results").exists()

    alone(target, config, "--in-place")
    assert target.read_bytes() == (into / "data/photographs/manifest.csv").read_bytes()


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("data/photographs/sample.csv", "needs"),
        ("data/photographs/nothing.csv", "Snakemake cannot make"),
    ],
)
def test_a_job_without_inputs_or_without_a_rule_is_refused(config, tmp_path, target, answer):
    printed = alone(tmp_path / "results" / target, config, ok=False)
    assert answer in printed and "Traceback" not in printed


def test_a_measurement_alone_gives_the_bytes_of_the_study(study):
    target = RESULTS / "measures/norms/scenes" / f"{PLANTED}.csv"
    alone(target, "tests/mini/mini.yaml", folder=study)
    assert (study / "results/alone/mini" / target.relative_to(RESULTS)).read_bytes() == (
        study / target
    ).read_bytes()
