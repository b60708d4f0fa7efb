"""The sections of `make bench` and the programs beside ours can at least be begun.

What they measure takes minutes, so no test runs them; a name that moved would be seen at the bench.
"""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
BEGIN = """
import importlib, pkgutil
import bench
names = [m.name for m in pkgutil.walk_packages(bench.__path__, "bench.")]
loaded = {name: importlib.import_module(name) for name in names}
print(len(names))
assert {f"bench.{section}" for section in loaded["bench.__main__"].SECTIONS} <= set(names)
"""


def test_every_module_loads():
    paths = (TESTS.parent / "workflow_scripts", TESTS, TESTS / "helpers")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, "-c", BEGIN], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(list((TESTS / "bench").rglob("[!_]*.py"))) + 2  # peers, __main__
