"""`make setup` with pretended Pythons: one that is too old is told, its venv is made anew."""

import os
import shutil
import subprocess
import sys

import pytest
from projects import ROOT

# Its venv is itself again, and its pip notes what it is asked for.
PYTHON = """#!/bin/sh
case "$1 $2" in
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") echo "$*" >> pip.log ;;
  -c*) exec {real} -c 'import sys; sys.version_info = {version}; exec(sys.argv.pop(1))' "$2" ;;
esac
"""


@pytest.fixture
def folder(tmp_path):
    """What the target reads, and a Python of each of two versions."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    for version in ((3, 9), (3, 12)):
        python(tmp_path / "python{}.{}".format(*version), version)
    return tmp_path


def python(file, version):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PYTHON.format(real=sys.executable, version=version))
    file.chmod(0o755)


def make(folder, version, *words):
    """Whether the environment was made, what was said, and what pip was asked for."""
    words = (".venv/complete", f"PYTHON={folder}/python{version}", *words)
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "LOCKED")}
    done = subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, env=env)
    pip = folder / "pip.log"
    asked = pip.read_text().splitlines() if pip.exists() else []
    return done.returncode == 0, done.stdout + done.stderr, asked


def test_a_python_that_is_too_old_leaves_nothing_behind(folder):
    made, said, asked = make(folder, "3.9")
    assert not made and not asked and not (folder / ".venv").exists()
    assert "This is Python 3.9, and 3.11 or newer is needed" in said
    assert "make setup PYTHON=python3.11" in said


@pytest.mark.parametrize("left", ["of another Python", "broken"])
def test_the_environment_of_another_python_is_made_anew(folder, left):
    old = folder / ".venv" / "bin" / "python"
    python(old, (3, 9))
    if left == "broken":  # what it was made from is gone
        old.unlink()
        old.symlink_to(folder / "gone")
    made, said, asked = make(folder, "3.9")
    assert not made and old.is_symlink() == (left == "broken") and not asked
    (folder / ".venv" / "of-old").touch()
    made, said, asked = make(folder, "3.12")
    assert made, said
    assert not (folder / ".venv" / "of-old").exists() and (folder / ".venv" / "complete").exists()
    assert [line.split()[-1] for line in asked] == ["envs/requirements-dev.txt"]
    # One that will do is kept, and not touched again.
    (folder / ".venv" / "of-now").touch()
    assert make(folder, "3.9")[0] and len(asked) == 1
    os.utime(folder / ".venv" / "complete", (0, 0))
    made, _, asked = make(folder, "3.9")  # new pins: into the environment that is there
    assert made and len(asked) == 2 and (folder / ".venv" / "of-now").exists()


def test_another_build_of_torch_comes_first_and_then_the_pins(folder):
    made, said, asked = make(folder, "3.12", "TORCH_INDEX=https://builds/cu126")
    assert made, said
    removed, torch, rest = asked
    assert removed.startswith("-m pip uninstall") and removed.endswith("torch torchvision")
    assert "--index-url https://builds/cu126 torch==" in torch and " torchvision==" in torch
    assert rest.endswith("envs/requirements-dev.txt")
