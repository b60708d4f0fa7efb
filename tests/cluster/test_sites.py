"""The recipes of profiles/README.md: each is what Snakemake's plugin makes of it for a site."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from projects import ROOT

from tokenscope.cluster import at_end
from tokenscope.cluster.requests import Request, grouped

PAGE = (ROOT / "profiles" / "README.md").read_text()
PROFILE = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.v9+.yaml").read_text())
GPU_RULES = set(PROFILE["set-resources"])
# What sbatch is told of an extraction and of a job on CPUs, and what it is not told.
RECIPES = {
    "Snellius": ("-p gpu_h100 --gpus=h100:1 --cpus-per-task=16", "-p rome", "--gres"),
    "Leonardo": ("-p boost_usr_prod --gres=gpu:1 -A my_project --cpus-per-task=8",
                 "-p dcgp_usr_prod -A my_project", "--gpus"),
    "GPUs without a type": ("-p gpu --gpus=1", "-p cpu", "h100"),
    "MIG": ("-p gpu_mig --gpus=1g.10gb:1", "-p cpu", "h100"),
    "QOS, constraint, reservation": (
        "-p gpu --gpus=a100:1 -C 80gb&nvlink --qos=gpu_long --mail-type=NONE --exclude=n13",
        "-p cpu --qos=normal", "h100"),
    "GPUs by a constraint": ("--qos=shared -C gpu -A my_project_g --gpus=1",
                             "--qos=shared -C cpu -A my_project ", "-p "),
    "Memory that comes with cores": ("-p gpu --gpus=h100:1", "-p cpu", "--mem"),
}  # fmt: skip


def recipe(name):
    """The lines that a recipe changes."""
    block = re.search(rf"^\*\*{re.escape(name)}\*\*.*?```yaml\n(.*?)```", PAGE, re.M | re.S)
    return yaml.safe_load(block[1])


def adapted(name):
    """The project's profile with a recipe's lines; ``&gpu`` stands for all rules with a GPU."""
    changes = recipe(name)
    gpu = changes.get("set-resources", {}).get("extract", PROFILE["set-resources"]["extract"])
    profile = {**PROFILE, **changes}
    profile["default-resources"] = PROFILE["default-resources"] | changes.get(
        "default-resources", {}
    )
    profile["set-resources"] = {rule: gpu for rule in GPU_RULES}
    if name == "GPUs by a constraint":  # says: delete the line
        del profile["default-resources"]["slurm_partition"]
    return profile


def asks_as_wanted(request, words, never):
    """Whether sbatch is told these options, and nothing of what it must not be told."""
    text = " ".join(request.command())
    assert all(word in text for word in re.findall(r"-[pAC] \S+|--\S+", words)), text
    assert never not in text


def test_the_profile_knows_all_rules_with_a_gpu():
    """One that is missing would ask the partition for CPUs for a GPU."""
    text = "\n".join(file.read_text() for file in sorted(ROOT.glob("rules/*.smk")))
    rules = re.split(r"^\s*rule (\w+):", text, flags=re.M)
    asking = {
        n for n, body in zip(rules[1::2], rules[2::2], strict=True) if "\n        gpu=" in body
    }
    assert asking == GPU_RULES and "extract" in asking


def test_every_block_of_the_page_is_tried():
    section = PAGE.partition("## Sites")[2].partition("\n## ")[0]
    assert section.count("```yaml") == len(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_asks_as_the_site_wants_it(name):
    profile = adapted(name)
    of_gpu, of_cpu, never = RECIPES[name]
    for rule, own, words in (("extract", {"gpu": 1}, of_gpu), ("norms", {}, of_cpu)):
        resources = {"runtime": 30, "mem_mb": 4000} | profile["default-resources"] | own
        resources |= profile["set-resources"].get(rule, {})
        extra = resources.pop("slurm_extra", "").strip("'")  # Snakemake takes one pair away
        resources |= {"slurm_extra": extra} if extra else {}
        threads = profile.get("set-threads", {}).get(rule, 2)
        (request,) = grouped([(rule, resources, threads)])
        asks_as_wanted(request, words, never)
        assert request.gpus == (rule == "extract")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_snakemake_reads_a_recipe(tmp_path, name):
    """A dry run with the recipe in the profile, down to the calls of sbatch."""
    folder, note = tmp_path / "site", tmp_path / "requests.json"
    folder.mkdir()
    profile = adapted(name)
    (folder / "profile.v9+.yaml").write_text(yaml.safe_dump(profile))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", folder, "-n", "-p", "--nolock",
         "--configfile", "tests/mini/mini.yaml", "--config", f"results={tmp_path}/results",
         "forecast=none", "small_jobs=cluster", "device=cuda",
         f"requests={{memory: {name != 'Memory that comes with cores'}}}", "--", "claim1"],
        cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"TOKENSCOPE_REQUESTS": str(note)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    noted = json.loads(note.read_text())
    by_rule = {rule: Request(**one) for one in noted["last"] for rule in one["rules"]}
    of_gpu, of_cpu, never = RECIPES[name]
    asks_as_wanted(by_rule["extract"], of_gpu, never)
    asks_as_wanted(by_rule["norms"], of_cpu, never)
    assert by_rule["extract"].gpus == 1 and by_rule["norms"].gpus == 0
    # Rules of seconds go to the cluster too, when they shall.
    assert "fig_blocks" in by_rule and "localrule" not in done.stdout
    first = {rule: one for one in noted["first"] for rule in one["rules"]}
    asked = first["extract"]["resources"]["runtime"]
    assert by_rule["extract"].get("runtime") == 3 * asked


def test_a_word_at_the_end(tmp_path, monkeypatch, capfd):
    said = tmp_path / "said"
    monkeypatch.setenv(at_end.COMMAND, f"cat > {said}")
    at_end.tell("paper", "failed", ["the disk is full"])
    assert re.fullmatch(r"Study paper has failed on .*\nthe disk is full\n", said.read_text())
    monkeypatch.setenv(at_end.COMMAND, "echo no mail here >&2; exit 1")
    at_end.tell("paper", "finished")
    assert "TOKENSCOPE_AT_END did not work: no mail here" in capfd.readouterr().err
    monkeypatch.delenv(at_end.COMMAND)
    at_end.tell("paper", "finished")
