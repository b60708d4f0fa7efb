"""Rules that name the light environment import nothing that it lacks; all others need more."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from projects import HEAVY, ROOT, copy_project

from tokenscope.code_hash import modules

RULE = re.compile(r"^rule (\w+):.*?(?=^(?:use )?rule |\Z)", re.M | re.S)


def rules():
    """Name, conda environment and script of each rule that runs a script."""
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for rule in RULE.finditer(file.read_text()):
            script = re.search(r'script:\s*"\.\./([^"]+)"', rule[0])
            if script:
                yield rule[1], re.search(r"conda:\s*(\w+)", rule[0])[1], ROOT / script[1]


def imported(file):
    """Top-level names that a file imports anywhere, within functions as well."""
    for node in ast.walk(ast.parse(Path(file).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize(
    "name, environment, script", list(rules()), ids=lambda v: str(v).split("/")[-1]
)
def test_a_rule_has_the_environment_that_it_needs(name, environment, script):
    needs = {one for file in (script, *modules(script)) for one in imported(file)} & set(HEAVY)
    assert environment == ("ENV" if needs else "LIGHT_ENV"), (name, needs)


def test_what_draws_a_figure_and_the_report_is_light():
    found = {name: environment for name, environment, _ in rules()}
    for name in ("fig_norms", "fig_cosine", "fig_maps", "fig_gains", "report", "gather"):
        assert found[name] == "LIGHT_ENV"


PROGRAMS = ["fetch", "pack", "publish", "verify", "status", "compare"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_of_the_light_environment_import_nothing_else(program):
    script = ROOT / "workflow_scripts" / f"{program}.py"
    assert not {one for file in (script, *modules(script)) for one in imported(file)} & set(HEAVY)


WINDOWS = """import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource", "pwd", "grp", "termios", "pty", "syslog"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules.pop(name, None)
"""
DRAW = """import os, runpy, signal, sys
import jinja2, jsonschema, matplotlib.pyplot, numpy, pandas, scipy.stats, xarray, yaml, zarr
def symlink(*words, **options):
    raise OSError("a required privilege is not held by the client")
if "windows" in "{here}":  # the libraries know their system, what is ours must not ask
    os.symlink = symlink
    for name in ("getuid", "geteuid", "getgid", "getpgid", "setsid", "killpg", "uname",
                 "getloadavg", "sched_getaffinity", "statvfs", "fchmod", "chown", "mkfifo"):
        delattr(os, name)
    for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXFSZ", "SIGALRM"):
        delattr(signal, name)
for script in sys.argv[1:]:
    runpy.run_path(script)
from tokenscope.jobs.job import job
draw = runpy.run_path("workflow_scripts/calibration/fig_calibration.py")["main"]
with job("{here}/logs/figure.log", "figure"):
    draw(table="config/calibration.csv", outputs=["{here}/a.png", "{here}/a.svg", "{here}/a.pdf"])
"""


def drawn(folder, before=""):
    """A figure of a table of the project: its files. ``before``: run by Python as it starts; then
    all else that is light is imported as well."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(before)
    scripts = {str(script) for _, environment, script in rules() if environment == "LIGHT_ENV"}
    scripts |= {str(ROOT / "workflow_scripts" / f"{name}.py") for name in PROGRAMS}
    if not before:
        scripts.clear()
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'workflow_scripts'}"}
    env |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"} if before else {}
    done = subprocess.run(
        [sys.executable, "-c", DRAW.format(here=folder.as_posix()), *sorted(scripts)],
        cwd=ROOT, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {file.name: file.read_bytes() for file in folder.glob("a.*")}


def test_drawing_needs_nothing_that_windows_lacks(tmp_path):
    """Nor text files that are UTF-8 unless one says so; and draws the same."""
    here = drawn(tmp_path / "windows", WINDOWS)
    assert len(here) == 3 and here == drawn(tmp_path / "linux")


OLD = """#!/bin/sh
if [ "$1" = "-c" ]; then exec {python} -c "import sys; sys.version_info = (3, 9, 2); $2"; fi
exec {python} "$@"
"""


def test_a_python_that_is_too_old_is_named_and_leaves_nothing_behind(tmp_path):
    folder = copy_project(tmp_path / "clone")
    old = tmp_path / "python3.9"
    old.write_text(OLD.format(python=sys.executable))
    old.chmod(0o755)
    for target in ("setup", "figure FIG=fig3 STUDY=demo"):
        done = subprocess.run(
            ["make", *target.split(), f"PYTHON={old}"], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode != 0 and "This is Python 3.9, and 3.11 or newer" in done.stderr
        assert not list(folder.glob(".venv*"))


def test_another_build_of_torch_takes_the_place_of_the_one_that_is_there(tmp_path):
    """Also in an environment that is complete; no other target touches it."""
    folder = copy_project(tmp_path / "clone")
    stub, said = folder / ".venv" / "bin" / "python", tmp_path / "said"
    stub.parent.mkdir(parents=True)
    stub.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    stub.chmod(0o755)
    (folder / ".venv" / "complete").touch()
    env = {**os.environ, "TORCH_INDEX": "there"}
    subprocess.run(["make", "check", "CONFIG=config/demo.yaml"], cwd=folder, env=env, check=True)
    assert "pip" not in said.read_text()
    subprocess.run(["make", "setup"], cwd=folder, env=env, check=True, capture_output=True)
    pip = [line for line in said.read_text().splitlines() if "pip" in line]
    assert "uninstall -q -y torch torchvision" in pip[0]
    assert re.search(r"--index-url there torch==\S+ torchvision==", pip[1])
    assert "-r envs/requirements-dev.txt" in pip[2]
