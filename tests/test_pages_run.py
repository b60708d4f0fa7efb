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
from printed import commands, printed, spoken
from projects import ROOT, copy_project

PAGES = ("README.md", "config/README.md", "profiles/README.md", "workflow_scripts/README.md")
ELSEWHERE = {  # what is not run here, and the test that runs it
    "make setup": "installs 6 GB; .ci/run does so on a clean clone",
    "make setup TORCH_INDEX=<address>": "the repository names no address",
    "make setup LOCKED=yes": "installs 6 GB; what it installs from: tests/test_locks.py",
    "source .venv/bin/activate": "the tests run in it",
    "snakemake --profile slurm": "needs a Slurm: tests/slurm",
    "snakemake --profile slurm -- claim1 claim2 claim3": "needs a Slurm; README's dry run",
    "snakemake --profile slurm --config 'only=[dinov2/*/*, openclip/*/*]' "
    "-- claim1 claim2 claim3": "needs a Slurm; README's dry run",
    "sbatch --nodes=1 --exclusive --gres=gpu:4 --time=1-0 --wrap '.venv/bin/snakemake --profile "
    "profiles/local --resources gpu=4 --configfile my.yaml -- all'": "needs a Slurm: tests/slurm",
    "scp cluster:.../results/paper/paper.tar.gz .": "needs a second machine",
    "make fetch FROM=results/demo/demo.tar.gz STUDY=demo": "in another clone: .ci/run",
    "make fetch FROM=paper.tar.gz STUDY=paper": "in another clone: tests/packing/test_fetching.py",
    "make doctor STUDY=paper": "needs a Slurm: tests/cluster/test_sites.py, tests/slurm",
    "make controller STUDY=paper": "needs a Slurm: tests/cluster/test_controller.py, tests/slurm",
    "make weights STUDY=paper": "needs the hub: tests/backbones/test_hub.py",
    "make weights": "needs the hub: tests/backbones/test_hub.py",
    "make accept": "minutes: tests/acceptance/test_acceptance.py",
    "make conformance": "minutes: tests/backbones/test_conformance.py",
    "pip install .": "changes the environment: tests/test_elsewhere.py",
    "pip install -e .": "changes the environment: tests/test_elsewhere.py",
    "tokenscope diagnose MODEL IMAGES": "an installed package: tests/test_elsewhere.py",
    "tokenscope --help": "an installed package: tests/test_elsewhere.py",
    "snakemake -s ~/tokenscope/Snakefile -d elsewhere --profile ~/tokenscope/profiles/local "
    "--configfile ~/tokenscope/config/demo.yaml -- all": "a second folder: tests/test_elsewhere.py",
    'snakemake -s "$(tokenscope snakefile)" --profile "$(tokenscope profile)" --configfile my.yaml '
    "-- all": "an installed package: tests/test_elsewhere.py",
    "make resume": "needs a Slurm: tests/slurm",
    "make resume STUDY=paper": "needs a Slurm: tests/slurm",
    "snakemake --sdm conda --profile slurm": "needs a Slurm and conda",
    "sbatch --test-only": "is asked by the doctor: tests/cluster/test_sites.py",
}
# Named in a sentence without what they need; a page prints them with it, and that is run.
NAMED = ("new", "check", "study", "report", "diagnose", "figure", "pack", "fetch", "status")
PLANNED = ("make phantoms", "make small-vits", "make calibrate")  # minutes to hours: their dry run
BASE = "vit_small_patch16_224.dino"


def runnable(page):
    """What of a page is run, in its order."""
    named = [f"make {target}" for target in NAMED]
    return [c for c in printed(page) if c not in ELSEWHERE and c not in named]


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


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "config/stores.md"])
def test_pages_print_commands_that_this_test_knows(page):
    """Targets of make exist; what cannot be run here is named above, with its reason."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for command in printed(page):
        program, *words = command.split()
        if program == "make":
            assert words[0] in targets or "=" in words[0], command
    if page == "README.md":
        assert len(runnable(page)) >= 20


def test_what_is_not_run_here_is_printed_and_run_elsewhere():
    all_printed = [command for page in PAGES for command in printed(page)]
    assert [command for command in ELSEWHERE if command not in all_printed] == []
    for reason in ELSEWHERE.values():
        for named in re.findall(r"(?:tests/|\.ci/)[\w./]+", reason):
            assert (ROOT / named).exists(), reason
    for target in NAMED:
        assert any(command.startswith(f"make {target} ") for command in all_printed), target


def test_every_command_of_a_page_is_found():
    """Blocks and sentences in turn; what a block or a fence holds is in no sentence."""
    page = """Set up, `make
setup` (in a clone):

    make new NAME=mine        # then `make never`
    snakemake -n \\
      -- all
    GPU-hours  120 expected

then `make check`, `python` or `study.yaml`. In a notebook:

```python
    make nothing  # `make neither`
```

| a | `make diagnose`, `snakemake --profile slurm -n` |

    make

`make new NAME=mine` again, `make-believe`, `pip install .`"""
    assert commands(page) == ["make new NAME=mine", "snakemake -n -- all", "make"]
    assert spoken(page) == [
        "make setup", "make check", "make diagnose", "snakemake --profile slurm -n",
        "make new NAME=mine", "pip install .",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_readme_runs_from_the_first_command_to_the_last(clone):
    for command in runnable("README.md"):
        prepare(clone, command)
        said = run(clone, as_run(clone, command))
        if command.startswith("make check"):
            assert "would run" in said and "Forecast of mine" in said
        if command.startswith("make study"):
            assert said.strip().endswith("Open results/mine/report/index.html.")
        if "--profile slurm -n" in command or command == "make forecast":
            assert len(said.splitlines()) < 60, command
    assert (clone / "results/mine/report/index.html").exists()
    assert (clone / "results/demo/report/index.html").exists()
    assert "Does it have artifacts?" in (clone / diagnosed() / "diagnosis.html").read_text()
    assert len((clone / "results/compare/table.csv").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("TOKENSCOPE_PAGES") != "all",
    reason="TOKENSCOPE_PAGES=all runs what config/README.md and profiles/README.md print",
)
def test_the_other_pages_run_after_it(clone):
    if not (clone / "results/demo/report/index.html").exists():
        run(clone, "make demo")
        run(clone, f"make diagnose MODEL={BASE} IMAGES=my/photographs")
    # What scp would bring, of a study that has run on a cluster.
    small(clone, "paper", "config/config.yaml")
    shutil.copytree(clone / "results/demo", clone / "results/paper", dirs_exist_ok=True)
    for command in [c for page in PAGES[1:] for c in runnable(page)]:
        prepare(clone, command)
        run(clone, as_run(clone, command))


def diagnosed():
    return f"results/diagnose-{BASE}".replace(".", "-")


def as_run(clone, command):
    """A command with the name that stands for any; what would take long is planned alone."""
    if command in PLANNED:
        recipe = run(clone, f"make -n {command.removeprefix('make ')}")
        planned = next(line for line in recipe.splitlines() if "/snakemake " in line)
        return planned.replace(" -- ", " -n -- ")
    return command.replace("results/diagnose-<name>", diagnosed())


def prepare(clone, command):
    """What the sentence around a command takes as given."""
    if command.startswith("make compare"):
        for name in ("mine", "another"):
            shutil.copytree(
                clone / diagnosed(), clone / f"results/diagnose-{name}", dirs_exist_ok=True
            )
    if command.startswith("make new"):
        shutil.rmtree(clone / "studies", ignore_errors=True)
    if "CONFIG=my.yaml" in command:
        shutil.copy(clone / "studies/mine/study.yaml", clone / "my.yaml")
