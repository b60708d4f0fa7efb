"""Every command that a page prints runs as it is printed, or says here why it cannot.

A clone in which a stranger's files lie where the pages say: a checkpoint, photographs, weights as
they were downloaded. The demo and the paper study are the mini study under their names, which asks
for the same rules and takes a few minutes.
"""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import yaml
from PIL import Image
from printed import commands, spoken
from projects import ROOT, copy_project

PAGES = ("README.md", "config/README.md", "profiles/README.md")
ELSEWHERE = {
    "make setup": "installs 6 GB; .ci/run does so on a clean clone",
    "make setup TORCH_INDEX=<address>": "the repository names no address",
    "source .venv/bin/activate": "the tests run in it",
    "snakemake --profile slurm": "needs a Slurm: tests/slurm",
    "make fetch FROM=paper.tar.gz STUDY=paper": "its results are there already: tests/packing",
    "scp cluster:.../results/paper/paper.tar.gz .": "needs a second machine",
    "make fetch FROM=results/demo/demo.tar.gz STUDY=demo": "its results are there already",
    "make doctor STUDY=paper": "needs a Slurm: tests/cluster, tests/slurm",
    "make weights STUDY=paper": "needs the hub: tests/backbones",
    "make accept": "minutes: tests/acceptance",
    "pip install .": "changes the environment: tests/test_elsewhere.py",
    "make resume": "needs a Slurm: tests/slurm",
    "make resume HOW=--cancel": "needs a Slurm: tests/slurm",
    "snakemake --sdm conda --profile slurm": "needs a Slurm and conda",
    "make test": "this is it",
    "make": "a program, not a command",
}
BASE = "vit_small_patch16_224.dino"


def printed(page):
    """What a reader may copy from a page, once each."""
    return list(dict.fromkeys([*commands(page), *spoken(page)]))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with a stranger's files in it, and small studies in place of the large ones."""
    from safetensors.torch import save_file

    from tokenscope.backbones.loading import create

    folder = copy_project(tmp_path_factory.mktemp("clone"))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for file in (folder / "envs").iterdir():  # the environment is newer than what it is made of
        os.utime(file, (0, 0))
    rng = np.random.default_rng(0)
    (folder / "my/photographs").mkdir(parents=True)
    for i in range(24):
        pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"my/photographs/{i:02d}.png")
    weights = create({"timm_id": BASE, "registers": 0, "model": {}}).state_dict()
    (folder / "results/weights").mkdir(parents=True)
    for file in ("my/checkpoint.safetensors", f"results/weights/{BASE}.safetensors"):
        save_file(weights, folder / file)
    small(folder, "demo", "config/demo.yaml")
    return folder


def small(folder, name, file):
    """The mini study under another name."""
    config = yaml.safe_load((folder / "tests/mini/mini.yaml").read_text())
    config |= {"study": name, "results": f"results/{name}"}
    (folder / file).write_text(yaml.safe_dump(config, sort_keys=False))


def run(folder, command):
    """A command as a reader's shell runs it; what it printed."""
    environment = {**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,  # in the order of a screen
    )  # fmt: skip
    said = done.stdout
    assert done.returncode == 0, f"{command}\n{said[-3000:]}"
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("page", PAGES)
def test_pages_print_commands_that_this_test_knows(page):
    """Targets of make exist; what cannot be run here is named above, with its reason."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for command in printed(page):
        program, *words = command.split()
        if program == "make" and words:
            assert words[0] in targets, command
    if page == "README.md":
        assert len(printed(page)) >= 12


@pytest.mark.slow
def test_the_readme_runs_from_the_first_command_to_the_last(clone):
    ran = []
    for command in printed("README.md"):
        if command in ELSEWHERE:
            continue
        ran.append(command)
        said = run(clone, command)
        if command.startswith("make check"):
            assert "would run" in said and "Forecast of mine" in said
        if command.startswith("make study"):
            assert said.strip().endswith("Open results/mine/report/index.html.")
        if "--profile slurm -n" in command:
            assert len(said.splitlines()) < 60, command
    assert (clone / "results/mine/report/index.html").exists()
    assert (clone / "results/demo/report/index.html").exists()
    assert (
        "has artifacts" in next((clone / "results").glob("diagnose-*/diagnosis.html")).read_text()
    )
    assert len(ran) >= 10


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("TOKENSCOPE_PAGES") != "all",
    reason="TOKENSCOPE_PAGES=all runs what config/README.md and profiles/README.md print",
)
def test_the_other_pages_run_after_it(clone):
    if not (clone / "results/demo/report/index.html").exists():
        run(clone, "make demo")
        run(clone, "make diagnose MODEL=vit_small_patch16_224.dino IMAGES=my/photographs")
    if not (clone / "studies/mine").exists():
        run(clone, f"make new NAME=mine MODEL=my/checkpoint.safetensors ARCH={BASE} "
            "IMAGES=my/photographs")  # fmt: skip
    for command in printed("profiles/README.md"):
        if command not in ELSEWHERE:
            run(clone, command)
    # What scp would bring, of a study that has run on a cluster.
    small(clone, "paper", "config/config.yaml")
    shutil.copytree(clone / "results/demo", clone / "results/paper", dirs_exist_ok=True)
    shutil.copy(clone / "studies/mine/study.yaml", clone / "my.yaml")
    for command in printed("config/README.md"):
        if command in ELSEWHERE or re.fullmatch(r"make (report|figure|study|check|new)", command):
            continue
        run(clone, command.replace("diagnose-<name>", f"diagnose-{BASE}".replace(".", "-")))
        if command.startswith("make pack"):
            shutil.copy(clone / "results/paper/paper.tar.gz", clone)
