"""The workflow from another folder, as a module of another one, and as an installed package."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from projects import RESULTS, ROOT, copy_project, planned, snakemake

from tokenscope import command
from tokenscope.config_file.project_files import find
from tokenscope.paths import of_project

MODULE = """configfile: "{config}"
module registers:
    snakefile: "{snakefile}"
    config: config
use rule * from registers
"""
MINI, DEMO = ROOT / "tests/mini/mini.yaml", ROOT / "config/demo.yaml"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_demo_from_elsewhere_and_as_a_module(tmp_path):
    """Same jobs; what the project brings along is found there, and nothing is written into it."""
    there, module = tmp_path / "there", tmp_path / "module"
    there.mkdir()
    known = ["-n", "--configfile", str(DEMO)]
    elsewhere = snakemake(
        ROOT, "-s", str(ROOT / "Snakefile"), "-d", str(there), *known, "--", "all"
    )
    as_module(module, ROOT / "Snakefile", DEMO)
    jobs = planned(elsewhere)
    assert jobs == planned(snakemake(module, "-n"))
    assert (jobs["report"], jobs["train"], jobs["fig_norms"]) == (1, 4, 1) and jobs["extract"] > 9
    assert not (there / "config").exists()


def as_module(folder, snakefile, config):
    """A folder with a Snakefile of six lines that uses this workflow."""
    folder.mkdir(exist_ok=True)
    text = MODULE.format(config=config, snakefile=snakefile)
    assert len(text.splitlines()) < 7
    (folder / "Snakefile").write_text(text)


def test_a_part_is_run_from_elsewhere_and_as_a_module(study, tmp_path):
    """From the tokens of a backbone on, by one way, and from its measures on, by the other: claim
    1, its figure and the report of what there is. Tables and figures are those of the clone."""
    config, who = study / "tests/mini/mini.yaml", "scenes/control/tiny/r0-clean"
    made = ["tables/claim1.csv", "figures/scenes/norms.svg"]
    gone = [*made, "report/index.html", f"measures/norms/{who}.csv"]
    for way in ("elsewhere", "module"):
        there = tmp_path / way
        shutil.copytree(study / RESULTS, there / RESULTS)
        shutil.copytree(study / ".snakemake/metadata", there / ".snakemake/metadata")
        for name in gone + [f"receipts/extract/{who}/0000.json"] * (way == "elsewhere"):
            (there / RESULTS / name).unlink()
        words = ["--profile", str(study / "profiles/local"), "--rerun-triggers", "mtime"]
        if way == "elsewhere":
            words += ["-s", str(study / "Snakefile"), "-d", str(there), "--configfile", str(config)]
        else:
            as_module(there, study / "Snakefile", config)
        at = study if way == "elsewhere" else there
        said = snakemake(at, *words, "--", *(f"{RESULTS}/{name}" for name in made))
        assert ("rule extract:" in said) == (way == "elsewhere") and "rule norms:" in said
        only = ["--allowed-rules", "report", "--force", "--config", "partial=True"]
        snakemake(at, *words, *only, "--", "report")
        assert "Vision Transformers" in (there / RESULTS / "report/index.html").read_text()
        for name in made:
            assert (there / RESULTS / name).read_bytes() == (study / RESULTS / name).read_bytes()


def test_files_of_the_project_are_found_from_any_folder(tmp_path, monkeypatch):
    given = {
        "backbone_tables": ["config/backbones.csv", "mine.csv"], "recipes": "config/recipes",
        "report": {"sections": "config/report.yaml", "verdicts": "absent.yaml"},
    }  # fmt: skip
    assert find(yaml.safe_load(yaml.safe_dump(given))) == given  # at home they stay as they are
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").touch()
    found = find(yaml.safe_load(yaml.safe_dump(given)))
    assert found["backbone_tables"] == [str(ROOT / "config/backbones.csv"), "mine.csv"]
    assert found["recipes"] == str(ROOT / "config/recipes")
    assert found["report"] == {
        "sections": str(ROOT / "config/report.yaml"), "verdicts": "absent.yaml"
    }  # fmt: skip
    (tmp_path / "config/recipes").mkdir(parents=True)  # one's own go before
    assert find({**given, "report": {}})["recipes"] == "config/recipes"


def test_an_installed_package_needs_what_the_environment_pins():
    pins = {}
    for file in ("requirements-light.txt", "requirements.txt"):
        for line in (ROOT / "envs" / file).read_text().splitlines():
            if re.match(r"\w", line):
                pin = Requirement(line)
                pins[pin.name] = str(pin.specifier).removeprefix("==")
    wanted = {r.name: r.specifier for r in map(Requirement, PYPROJECT["project"]["dependencies"])}
    assert set(wanted) == set(pins)
    assert [name for name, range_ in wanted.items() if pins[name] not in range_] == []
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == PYPROJECT["project"]["version"]


def test_a_package_holds_all_that_rules_and_scripts_read():
    """The library at its top, the rest in tokenscope/workflow, where paths.py looks for it."""
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    packed = {**wheel["sources"], **wheel["force-include"]}
    assert packed.pop("workflow_scripts/tokenscope") == "tokenscope"
    assert wheel["exclude"] == ["workflow_scripts/tokenscope"]
    assert packed == {name: f"tokenscope/workflow/{name}" for name in packed}
    assert set(wheel["only-include"]) == set(wheel["sources"])
    read = re.findall(
        r'of_project\("(\w+)', "".join(f.read_text() for f in ROOT.glob("rules/*.smk"))
    )
    assert {"Snakefile", "rules", "profiles", "envs", *read} <= set(packed)


def test_an_installed_package_plans_the_same_study(tmp_path, monkeypatch):
    """Laid out as the wheel's table says, with nothing of the clone in reach."""
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    site, skip = tmp_path / "site", shutil.ignore_patterns("__pycache__")
    without = shutil.ignore_patterns("__pycache__", "tokenscope")
    for source, target in {**wheel["sources"], **wheel["force-include"]}.items():
        if (ROOT / source).is_dir():
            ignored = without if source == "workflow_scripts" else skip
            shutil.copytree(ROOT / source, site / target, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, site / target)
    env = {**os.environ, "PYTHONPATH": str(site)}
    (tmp_path / "mini.yaml").write_text(
        MINI.read_text().replace("tests/mini/recipes", str(ROOT / "tests/mini/recipes"))
    )
    program = "import sys; from tokenscope.command import main; sys.exit(main(['snakefile']))"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    snakefile = found.stdout.strip()
    assert snakefile == str(site / "tokenscope/workflow/Snakefile")
    said = snakemake(
        tmp_path, "-s", snakefile, "-n", "--configfile", "mini.yaml", "--", "all", env=env
    )
    jobs = planned(said)
    assert jobs["train"] == 3 and jobs["report"] == 1 and str(ROOT / "config") not in said


@pytest.mark.slow
def test_a_wheel_holds_every_file_and_runs_from_anywhere(tmp_path):
    """Built as `pip install .` builds it, but for the download of what builds it."""
    pytest.importorskip("hatchling")
    clone = copy_project(tmp_path / "clone")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    how = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run([*pip, "wheel", "-q", *how, str(clone)], check=True, cwd=tmp_path)
    [wheel] = tmp_path.glob("tokenscope-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    folders = ("config", "envs", "profiles", "rules", "workflow_scripts")
    for file in (f for name in folders for f in (clone / name).rglob("*") if f.is_file()):
        name = file.relative_to(clone).as_posix()
        below = name.removeprefix("workflow_scripts/")
        place = below if below.startswith("tokenscope/") else f"tokenscope/workflow/{name}"
        assert (site / place).read_bytes() == file.read_bytes(), name
    shutil.rmtree(clone)
    entry = (next(site.glob("*.dist-info")) / "entry_points.txt").read_text()
    module, function = re.search(r"tokenscope = ([\w.]+):(\w+)", entry).groups()
    program = f"import sys; from {module} import {function} as run; sys.exit(run(sys.argv[1:]))"
    for words, status, said in (
        (["--help"], 0, "tokenscope diagnose MODEL IMAGES"),
        (["snakefile"], 0, str(site / "tokenscope/workflow/Snakefile")),
        (["diagnose", "vit_tiny_patch16_224", "nowhere"], 1, "there is no folder 'nowhere'"),
        *(([name, "--help"], 0, f"usage: tokenscope {name}") for name in command.PROGRAMS),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(site)},
        )  # fmt: skip
        assert done.returncode == status and said in done.stdout + done.stderr, done


def test_files_of_the_project_are_named_through_it_in_rules():
    """A path written as it is would be looked for in the folder one works in."""
    folders = "|".join(p.name for p in ROOT.iterdir() if p.is_dir() and p.name != "results")
    for file in ROOT.glob("rules/*.smk"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            bare = re.search(rf'(?<!of_project\()"({folders})/', line)
            assert not bare, f"{file}, line {number}: {line}"


@pytest.mark.parametrize(
    "given, meant",
    [
        (["m", "i"], ["--model", "m", "--images", "i"]),
        (["m", "i", "--arch", "a"], ["--model", "m", "--images", "i", "--arch", "a"]),
        (["--help"], ["--help"]),
        (["m"], ["--model", "m"]),
        (["m", "i", "more"], ["--model", "m", "--images", "i", "more"]),
    ],
)
def test_words_of_a_command_by_place(given, meant):
    assert command.by_name(command.PROGRAMS["diagnose"], given) == meant


@pytest.mark.parametrize(
    "made, here",
    [
        ("say which, e.g. ARCH=vit_x (a timm id)", "say which, e.g. --arch vit_x (a timm id)"),
        ("name their folder (WEIGHTS=), or", "name their folder (--weights), or"),
        ("STUDY=mine takes it", "--study mine takes it"),
        ("or replace them: REPLACE=yes", "or replace them: --replace"),
        ("again: make verify CONFIG=a.yaml MEND=yes", "again: tokenscope verify a.yaml --mend"),
        ("Next: make check CONFIG=a.yaml, then", "Next: tokenscope check a.yaml, then"),
        ("make fetch FROM=<DOI> STUDY=mine", "tokenscope fetch <DOI> --study mine"),
        ("run: make study CONFIG=a.yaml", f"run: {command.RUN} --configfile a.yaml -- all"),
        ("pack it again (make pack)", "pack it again (tokenscope pack)"),
        ("MODEL=vit_x: without a tag", "MODEL=vit_x: without a tag"),
    ],
)
def test_sentences_of_programs_in_the_words_of_the_command(made, here):
    assert command.in_words_of_the_command(made) == here


def test_the_command_runs_the_programs_of_the_project(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert {f"{name}.py" for name in command.PROGRAMS} <= {
        file.name for file in (ROOT / "workflow_scripts").glob("*.py")
    }
    assert command.main(["snakefile"]) == 0
    assert capsys.readouterr().out.strip() == str(ROOT / "Snakefile") == of_project("Snakefile")
    assert (
        command.main(["diagnosis"]) == 2 and "tokenscope diagnose MODEL" in capsys.readouterr().err
    )
    assert command.main(["diagnose", "no.such", "nowhere"]) == 1
    assert "there is no folder 'nowhere'" in capsys.readouterr().err
    (tmp_path / "a.png").write_bytes(b"x")
    assert command.main(["diagnose", "a.png", "."]) == 1
    assert "say which architecture, e.g. --arch vit_base" in capsys.readouterr().err
    for name in command.PROGRAMS:
        assert command.main([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: tokenscope {name} ")
