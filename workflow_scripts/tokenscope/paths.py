"""Where this project keeps what the library reads, however deep a module lies."""

import os
from pathlib import Path

LIBRARY = Path(__file__).parent
SCRIPTS = LIBRARY.parent  # what PYTHONPATH names
INSTALLED = LIBRARY / "workflow"  # where `pip install` puts all but the library
# With the Snakefile, rules/, config/ and profiles/: a clone, or what was installed.
PROJECT = INSTALLED if (INSTALLED / "Snakefile").is_file() else SCRIPTS.parent
CONFIG = PROJECT / "config"


def of_project(name: str) -> str:
    """Path of a file of the project from the folder one works in.

    Relative where it lies below: a study that is moved together with its clone stays finished.
    """
    try:
        path = os.path.relpath(PROJECT / name)
    except ValueError:  # on another drive
        return str(PROJECT / name)
    return str(PROJECT / name) if path.startswith("..") else path


def snakemake(profile: str = "profiles/local") -> list[str]:
    """The words that start this workflow in the folder one works in."""
    snakefile = of_project("Snakefile")
    own = [] if snakefile == "Snakefile" else ["-s", snakefile]
    return [
        "snakemake",
        *own,
        "--profile",
        profile if os.path.exists(profile) else of_project(profile),
    ]
