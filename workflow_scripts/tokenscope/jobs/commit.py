"""Which code this is: the commit that git describes, where it can be had from, the version.

Empty where there is no git, or no clone: an installed package knows its version alone.
"""

import os
import re
import subprocess
from functools import cache

import yaml

from tokenscope.paths import PROJECT

# Set by the Snakefile, inherited by its jobs: a node may have no git, and asks for each job.
COMMIT, REMOTE = "TOKENSCOPE_COMMIT", "TOKENSCOPE_REMOTE"


def this_code() -> dict[str, str]:
    """``commit`` (``git describe --always --dirty``), ``remote`` (without credentials; empty where
    it is a folder) and ``version`` of the code that runs."""
    inherited = os.environ.get(COMMIT)
    found = (
        _of_git()
        if inherited is None
        else {"commit": inherited, "remote": os.environ.get(REMOTE, "")}
    )
    return {**found, "version": version()}


def version() -> str:
    """The version of this project, as ``CITATION.cff`` says it."""
    return str(yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))["version"])


@cache
def _of_git() -> dict[str, str]:
    top = _git("rev-parse", "--show-toplevel")
    if not top or not os.path.samefile(top, PROJECT):  # a package within somebody's repository
        return {"commit": "", "remote": ""}
    commit = _git("describe", "--always", "--dirty", "--tags", "--abbrev=12")
    return {"commit": commit, "remote": public(_git("remote", "get-url", "origin"))}


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
    address = re.fullmatch(r"(https?|ssh|git)://(?:[^@/]*@)?(.+)", remote)
    return f"https://{address[2]}" if address else ""
