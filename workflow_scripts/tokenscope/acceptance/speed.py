"""The ratios that the benchmarks ask for, one round each."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from tokenscope.acceptance.outcome import Said
from tokenscope.errors import StudyError
from tokenscope.paths import SCRIPTS

ROOT = SCRIPTS.parent


def section(name: str, folder: Path, rounds: int = 1) -> Said:
    """One section of `make bench`: every ratio with a target that it has."""
    path = os.pathsep.join(str(ROOT / part) for part in ("workflow_scripts", "tests",
                                                         "tests/helpers"))  # fmt: skip
    command = [sys.executable, "-m", "bench", name, "--rounds", str(rounds), "--out", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        raise StudyError(f"bench {name}: {done.stderr.strip().splitlines()[-1][:200]}")
    return judged(Path(folder, f"{name}.csv"))


def judged(file: Path) -> Said:
    """What a section's file says of its targets."""
    with file.open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["target"]]
    if not rows:
        return Said(None, "this section has no target on this device")
    lines = [f"{r['setting']}: {float(r['ratio']):.2f} ({r['target']})" for r in rows]
    return Said(all(row["met"] == "yes" for row in rows), "; ".join(lines))
