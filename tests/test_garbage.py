"""A job looks for no garbage while it imports; a notebook that imports the library does as ever."""

import subprocess
import sys

import pytest
from projects import ROOT

REPORT = "print(gc.isenabled(), gc.get_freeze_count() > before)\n"
IMPORT = "import gc\nbefore = gc.get_freeze_count()\nimport tokenscope\n" + REPORT
WORK = (
    "from tokenscope.jobs.job import job\n"
    "class Knot: pass\n"
    "def tie(): knot = Knot(); knot.itself = knot; weakref.finalize(knot, print, 'untied')\n"
    "import weakref\n"
    f"with job({{log!r}}, 'work'):\n    {REPORT}    gc.disable(); tie(); gc.enable()\n"
    "print('left')\n"
)


def lines(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "workflow_scripts", capture_output=True, text=True
    )
    assert not done.returncode and not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_a_notebook_keeps_its_own_ways():
    assert lines(IMPORT) == ["True False"]


def test_a_job_looks_when_it_works_and_never_among_what_it_imported(tmp_path):
    """What ended with the work is gone before the process is: files that it held are closed."""
    found = lines("snakemake = None\n" + IMPORT + WORK.format(log=str(tmp_path / "log")))
    assert found == ["False False", "True True", "untied", "left"]


@pytest.mark.slow
def test_a_job_that_loaded_a_compiler_ends_without_words(tmp_path):
    found = lines(
        "snakemake = None\n" + IMPORT
        + "import torch._dynamo, torch\n" + WORK.format(log=str(tmp_path / "log"))
    )  # fmt: skip
    assert found[:2] == ["False False", "True True"]
