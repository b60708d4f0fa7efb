"""Locks hold what is pinned and all that it needs, with hashes; the container is made from one."""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from projects import MINI, RESULTS, ROOT, copy_project, snakemake

ENVS = ROOT / "envs"
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
MACHINES = [
    {"sys_platform": system, "platform_system": name, "platform_machine": machine,
     "python_version": python, "python_full_version": f"{python}.0", "os_name": os}
    for system, name, machine, os in (
        ("linux", "Linux", "x86_64", "posix"), ("darwin", "Darwin", "arm64", "posix"),
        ("win32", "Windows", "AMD64", "nt"),
    )
    for python in ("3.11", "3.13")
]  # fmt: skip


def pins(name):
    """Version by package of the pins of an environment, with those it stands on."""
    found = {}
    for line in (ENVS / f"{name}.txt").read_text().splitlines():
        if base := re.fullmatch(r"-r (\S+)\.txt", line):
            found |= pins(base[1])
        elif re.match(r"\w", line):
            pin = Requirement(line)
            found[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    return found


def locked(name):
    """(requirement, number of hashes) of each entry of a lock."""
    text = (ENVS / f"{name}.lock").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            yield Requirement(line.partition("--hash")[0].strip()), len(HASH.findall(line))


@pytest.mark.parametrize("name", ["requirements-light", "requirements"])
def test_a_lock_holds_every_pin_on_every_machine_and_names_no_address(name):
    entries = list(locked(name))
    assert all(count for _, count in entries)
    for machine in MACHINES:
        here = [r for r, _ in entries if not r.marker or Marker(str(r.marker)).evaluate(machine)]
        versions = {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in here}
        assert len(versions) == len(here)  # one version of each
        assert {n: versions.get(n) for n in pins(name)} == pins(name), machine  # make locks
    assert not re.search(r"://|--(extra-)?index|--find-links", (ENVS / f"{name}.lock").read_text())


def test_the_light_lock_is_part_of_the_whole_and_has_no_torch():
    light, whole = ({str(r) for r, _ in locked(n)} for n in ("requirements-light", "requirements"))
    assert light < whole
    assert not [entry for entry in light if re.match("torch|timm|nvidia|cuda|triton", entry)]


def sections():
    """Head and sections of the container's definition, as Apptainer reads them."""
    head, *parts = re.split(r"^%(\w+).*\n", (ENVS / "tokenscope.def").read_text(), flags=re.M)
    lines = [line for line in head.splitlines() if line and not line.startswith("#")]
    return dict(line.split(": ") for line in lines), dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_container_is_made_from_the_lock():
    head, parts = sections()
    assert head["Bootstrap"] == "docker" and re.match(r"python:3\.1[1-3]-slim", head["From"])
    assert set(parts) <= {"labels", "files", "post", "environment", "test", "runscript"}
    source, target = parts["files"].split()
    assert (ROOT / source) == ENVS / "requirements.lock" and target in parts["post"]
    assert "--require-hashes" in parts["post"] and "http" not in parts["post"]


def test_the_image_is_where_the_rules_look_for_it_and_the_profile_has_its_line():
    built = re.search(r"apptainer build (\S+) (\S+)", (ENVS / "tokenscope.def").read_text())
    assert f'container: of_project("{built[1]}")' in (ROOT / "rules/common.smk").read_text()
    assert (ROOT / built[2]).is_file()
    assert lines_of_the_profile()["software-deployment-method"] == "apptainer"


def lines_of_the_profile():
    """What the Slurm profile has for the container, in comments."""
    profile = (ROOT / "profiles/slurm/profile.v9+.yaml").read_text()
    lines = re.findall(r"^# ((?:software-deployment|apptainer)\S+: .*)", profile, re.M)
    return yaml.safe_load("\n".join(lines))


APPTAINER = """#!/bin/sh
test "$1" = --version && echo apptainer version 1.3.4 && exit
echo "$@" >> calls
while case $1 in *.sif) false;; esac; do shift; done
test -f "$1" || { echo "FATAL: could not open image $1"; exit 255; }
shift
exec "$@"
"""


@pytest.mark.slow
def test_jobs_run_in_the_image_as_the_profile_says(tmp_path):
    """With a program in the place of Apptainer, which runs what it is given as it is."""
    clone, program = copy_project(tmp_path / "clone"), tmp_path / "bin/apptainer"
    program.parent.mkdir()
    program.write_text(APPTAINER)
    program.chmod(0o755)
    profile = yaml.safe_load((ROOT / "profiles/local/profile.v9+.yaml").read_text())
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(yaml.safe_dump(profile | lines_of_the_profile()))
    path = f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = ["--profile", str(tmp_path / "profile"), *MINI, f"{RESULTS}/tables/coverage.csv"]
    env = {**os.environ, "PATH": path}
    snakemake(clone, "--profile", "profiles/local", *words[2:], env=env)  # without these lines
    said = snakemake(clone, *words, env=env, ok=False)
    assert "apptainer build envs/tokenscope.sif envs/tokenscope.def" in said
    assert not (clone / "calls").exists()  # before any job
    (clone / "envs/tokenscope.sif").touch()
    snakemake(clone, *words, env=env)
    assert (clone / RESULTS / "tables/coverage.csv").stat().st_size > 100
    call = (clone / "calls").read_text().splitlines()[-1]
    assert "--nv --bind /data" in call and "envs/tokenscope.sif" in call and "coverage.py" in call
