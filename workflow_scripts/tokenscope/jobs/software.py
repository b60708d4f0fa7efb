"""What computes here: the commit that git describes, the versions of packages, the config.

Commit and config are found once, where Snakemake is started, and inherited by its jobs through the
environment: a node need not have git, and no rule is run again because of them.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.metadata import version as installed
from pathlib import Path

import yaml

from tokenscope.paths import INSTALLED, PROJECT

COMMIT, REMOTE, CONFIG = "TOKENSCOPE_COMMIT", "TOKENSCOPE_REMOTE", "TOKENSCOPE_CONFIG"
PACKAGES = ("torch", "timm", "numpy", "zarr", "xarray", "pillow")


def announce(files: Iterable[str | Path], given: dict) -> None:
    """Tell all jobs to come by which commit and which config they are run.

    Args:
        files: the study's config files; named as ``demo.yaml sha256:<12 digits>``.
        given: keys set beside them, on the command line.
    """
    if COMMIT not in os.environ:
        code = _of_git()
        os.environ.update({COMMIT: code["commit"], REMOTE: code["remote"]})
    names = [
        f"{Path(file).name} sha256:{hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]}"
        for file in files
    ]
    os.environ[CONFIG] = ", ".join([*names, *(f"{key}={given[key]}" for key in sorted(given))])


def of_job() -> dict[str, str]:
    """``commit`` (``git describe --always --dirty``), ``remote`` (without credentials; empty where
    it is a folder) and ``version`` of the code that runs, and the ``config`` it runs by.

    An installed package knows the commit that pip took it from (``pip install git+https://...``);
    of a folder or an archive it knows its version alone, and the commit is empty.
    """
    return {**this_code(), "config": os.environ.get(CONFIG, "")}


def this_code() -> dict[str, str]:
    """The same without the config."""
    inherited = os.environ.get(COMMIT)
    found = _of_git() if inherited is None else {
        "commit": inherited, "remote": os.environ.get(REMOTE, "")
    }  # fmt: skip
    return {**found, "version": version()}


@cache
def version() -> str:
    """The version of this project, as ``CITATION.cff`` says it."""
    return str(yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))["version"])


def versions() -> dict[str, str]:
    """Python's and those of the packages that are installed: what only draws has no torch."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def _of_git() -> dict[str, str]:
    if PROJECT == INSTALLED:
        return _of_pip()
    top = _git("rev-parse", "--show-toplevel")
    if not top or not os.path.samefile(top, PROJECT):  # a package within somebody's repository
        return {"commit": "", "remote": ""}
    commit = _git("describe", "--always", "--dirty", "--tags", "--abbrev=12")
    return {"commit": commit, "remote": public(_git("remote", "get-url", "origin"))}


def _of_pip() -> dict[str, str]:
    """What pip wrote down of where it took this package from (PEP 610)."""
    try:
        said = json.loads(distribution("tokenscope").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        said = {}
    commit = said.get("vcs_info", {}).get("commit_id", "")[:12]
    return {"commit": commit, "remote": public(said["url"]) if commit else ""}


def _git(*words: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(PROJECT), *words],
            capture_output=True, text=True, timeout=30, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def public(remote: str) -> str:
    """A remote as others may see it: an address without user and password, or nothing."""
    if short := re.fullmatch(r"[\w.-]+@([\w.-]+):(?!/)(.+)", remote):  # git@host:owner/name
        return f"https://{short[1]}/{short[2]}"
    address = re.fullmatch(r"(?:https?|ssh|git)://(?:[^@/]*@)?([^/:]+)(?::\d+)?/(.+)", remote)
    return f"https://{address[1]}/{address[2]}" if address else ""
