"""Copies of the project in which tests run Snakemake, and a look at what a study left behind."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
MINI = ["--configfile", "tests/mini/mini.yaml", "--"]
RESULTS = Path("results/mini")
PLANTED = "control/tiny/r0-content-10x"


def copy_project(folder):
    """The project's files, without what it produced."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name, follow_symlinks=False)
    return folder


# What envs/requirements.txt adds to the light environment, by the names it is imported by.
HEAVY = ("torch", "torchvision", "timm", "simplejpeg", "pyarrow", "h5py", "safetensors",
         "huggingface_hub", "pynvml")  # fmt: skip
BLOCK = """import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def light(folder):
    """Environment variables in which Python finds nothing that the light environment lacks."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BLOCK.format(heavy=HEAVY))
    return {**os.environ, "PYTHONPATH": str(folder)}


def snakemake(folder, *arguments, ok=True, env=None):
    """Run Snakemake in a copy of the project; returns all it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments], cwd=folder, capture_output=True, text=True,
        env=env,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, output[-4000:]
    return output


def planned(output):
    """Jobs by rule in a dry run."""
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[1].split("total")[0]
    return {m[1]: int(m[2]) for m in re.finditer(r"\b([a-z]\w*)\s+(\d+)\b", table)}


def table(study, name):
    return pd.read_csv(study / RESULTS / "tables" / f"{name}.csv")


def value(rows, **where):
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1, rows
    return rows.iloc[0]
