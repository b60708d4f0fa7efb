"""Commit, config and versions of the jobs that measured, and no others; no git is no mistake."""

import hashlib
import json
import subprocess
import sys

import pandas as pd
import pytest
from projects import ROOT
from tables import provenance

from tokenscope.jobs import job, records, software
from tokenscope.stores.receipts import Stopwatch, write_receipt
from tokenscope.tables import rests_on


@pytest.fixture
def unannounced(monkeypatch):
    for name in (software.COMMIT, software.REMOTE, software.CONFIG):
        monkeypatch.delenv(name, raising=False)
    software._of_git.cache_clear()
    yield
    software._of_git.cache_clear()


@pytest.fixture
def clone(tmp_path, unannounced, monkeypatch):
    """A repository of one commit, in the place of this project's."""

    def git(*words):
        done = subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *words],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "CITATION.cff").write_text("version: 0.1.0\n")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(software, "PROJECT", tmp_path)
    return tmp_path, git


def test_commit_tag_and_what_is_not_committed(clone):
    folder, git = clone
    head = git("rev-parse", "HEAD")
    assert software.this_code() == {"commit": head[:12], "remote": "", "version": "0.1.0"}
    git("tag", "v0.1.0")
    git("remote", "add", "origin", "https://user:secret@example.org/a/b.git")
    (folder / "CITATION.cff").write_text("version: 0.1.0\n\n")
    software._of_git.cache_clear()
    found = software.this_code()
    assert found["commit"] == "v0.1.0-dirty" and found["remote"] == "https://example.org/a/b.git"


def test_where_there_is_no_git_or_the_repository_is_anothers(clone, monkeypatch):
    folder, _ = clone
    inside = folder / "site-packages"
    inside.mkdir()
    monkeypatch.setattr(software, "PROJECT", inside)
    assert software._of_git() == {"commit": "", "remote": ""}
    software._of_git.cache_clear()
    monkeypatch.setattr(software, "PROJECT", folder)
    monkeypatch.setenv("PATH", str(folder))
    assert software._of_git() == {"commit": "", "remote": ""}


@pytest.mark.parametrize(
    "remote, shown",
    [
        ("git@example.org:a/b.git", "https://example.org/a/b.git"),
        ("ssh://git@example.org:22/a/b", "https://example.org/a/b"),
        ("https://token@example.org/a/b", "https://example.org/a/b"),
        ("/home/me/b", ""),
        ("file:///home/me/b", ""),
        ("../b", ""),
        ("", ""),
    ],
)
def test_a_remote_as_others_may_see_it(remote, shown):
    assert software.public(remote) == shown


def test_jobs_inherit_what_their_controller_announced(tmp_path, unannounced, monkeypatch):
    """A job's record and receipt name commit and config of the run, its own host and versions."""
    config = tmp_path / "demo.yaml"
    config.write_text("study: x\n")
    monkeypatch.setenv(software.COMMIT, "abc-dirty")
    monkeypatch.setenv(software.CONFIG, "")
    software.announce([config], {"device": "cpu"})
    with job.job(tmp_path / "results/x/logs/rule/a.log", "rule"):
        pass
    (record,) = records.read_records(tmp_path / "results/x/accounting/jobs/rule/a.jsonl")
    assert record["code"]["commit"] == "abc-dirty"
    digest = hashlib.sha256(b"study: x\n").hexdigest()[:12]
    assert record["code"]["config"] == f"demo.yaml sha256:{digest}, device=cpu"
    assert record["versions"]["numpy"] and record["host"]
    facts = Stopwatch().facts()
    assert facts["code"] == record["code"] and facts["versions"] == record["versions"]


def test_a_commit_alone_reruns_nothing():
    """Parameters of rules hold no commit: the environment carries it past Snakemake."""
    for file in [*ROOT.glob("rules/*.smk"), ROOT / "Snakefile"]:
        text = file.read_text()
        assert "of_job" not in text and "this_code" not in text, file


@pytest.mark.parametrize(
    "wrote, commit, remote",
    [
        ({"url": "https://me:key@example.org/a/b", "vcs_info": {"commit_id": "abcdef0123456789"}},
         "abcdef012345", "https://example.org/a/b"),
        ({"url": "file:///home/me/clone", "dir_info": {}}, "", ""),
        (None, "", ""),
    ],
)  # fmt: skip
def test_an_installed_package_knows_the_commit_that_pip_took(
    unannounced, monkeypatch, wrote, commit, remote
):
    class Package:
        def read_text(self, name):
            assert name == "direct_url.json"
            return wrote and json.dumps(wrote)

    monkeypatch.setattr(software, "PROJECT", software.INSTALLED)
    monkeypatch.setattr(software, "distribution", lambda name: Package())
    monkeypatch.setattr(software, "version", lambda: "0.1.0")
    assert software.this_code() == {"commit": commit, "remote": remote, "version": "0.1.0"}


def receipt(folder, shard, **more):
    facts = {
        "name": "a/b/r0", "geometry": "80px", "params": 1, "device": "cpu", "precision": "float32",
        "images": 10, "seconds": 1.0, "protocol": "1", "host": "n1",
        "versions": {"torch": "2.0", "timm": "1.0"}, **more,
    }  # fmt: skip
    path = folder / f"receipts/extract/scenes/a/b/r0/{shard}.json"
    write_receipt(path, **facts)
    return str(path)


def test_the_table_of_weights_says_who_measured(tmp_path):
    write_receipt(tmp_path / "card.json", name="a/b/r0", timm_id="t", origin="o", sha256="f" * 64)
    write_receipt(tmp_path / "scenes.json", listed=20, skipped=[])
    code = {"commit": "abc", "config": "demo.yaml sha256:1", "remote": "", "version": "0.1.0"}
    receipts = [
        receipt(tmp_path, "0000", code=code),
        receipt(tmp_path, "0001", code={**code, "commit": "abd"}, host="n2"),
        receipt(tmp_path, "0002"),  # of before commits were written down
    ]
    output = tmp_path / "backbones.csv"
    provenance.main([tmp_path / "card.json"], receipts, [tmp_path / "scenes.json"], output)
    table = pd.read_csv(output, dtype=str)
    row = table.iloc[0]
    assert (row["commit"], row["host"], row["images"]) == ("abc; abd", "n1; n2", "30")
    assert rests_on.sentence(table) == (
        "Measured by commit abc and abd, config demo.yaml sha256:1, on n1, n2, with torch 2.0, "
        "timm 1.0; weights of 1 backbone."
    )
    old = table.drop(columns=["commit", "config", "host"])
    assert rests_on.sentence(old).startswith("Measured by no recorded commit, with torch 2.0")


def test_a_figure_says_what_it_rests_on_and_stays_equal(tmp_path, monkeypatch):
    from matplotlib import pyplot as plt
    from PIL import Image

    from tokenscope.figures import style

    monkeypatch.setenv(software.COMMIT, "abc")
    monkeypatch.setenv(software.CONFIG, "demo.yaml sha256:1")

    def draw(folder):
        files = [tmp_path / folder / f"f.{kind}" for kind in ("png", "pdf", "svg")]
        style.save(plt.figure(figsize=(1, 1)), files)
        return files

    first, second = draw("a"), draw("b")
    said = "drawn by commit abc, config demo.yaml sha256:1"
    assert said in Image.open(first[0]).info["Description"] and said in first[2].read_text()
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]
    assert "tables/backbones.csv" in style.describe("results/x/figures/scenes/fig3_cosine.png")
    named = {
        "carbon/energy": "accounting", "scenes-bank/probe_norms": "bank",
        "kinds/matrix": "backbones",
        "calibration/answers": "calibration", "voc/discovery/dino/small": "backbones_discovery",
        "ade20k/dense/dino": "backbones_dense",
    }  # fmt: skip
    for figure, table in named.items():
        assert f"tables/{table}.csv" in style.describe(f"results/x/figures/{figure}.svg"), figure


def test_drawing_works_where_there_is_no_module_resource(tmp_path):
    """As on Windows: jobs record what can be known there."""
    code = (
        "import sys; sys.modules['resource'] = None\n"
        "from tokenscope.jobs import energy, job, records\n"
        "with job.job('results/x/logs/fig/a.log', 'fig'): pass\n"
        "assert records.peak_mb() == 0 and energy._own_seconds() > 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT / "workflow_scripts"), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = (tmp_path / "results/x/accounting/jobs/fig/a.jsonl").read_text()
    assert json.loads(line)["outcome"] == "finished"
