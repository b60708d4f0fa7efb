"""Dry runs of the paper study, and of studies 10 and 100 times as large, against Snakemake's floor.

The floor is a workflow of one rule with as many jobs, and nothing but an output and a command. The
second floor has what a job on a cluster needs: log, benchmark, environment, threads, memory, time,
a script and a parameter, all constant, and half of the jobs need another. All under profiles/slurm.
Ten times: ten copies of every backbone; a hundred times: each in ten times as many shards as well
(with --full; minutes). Seconds are processor time, which others disturb less than the clock.
"""

import csv
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.harness import scratch

ROOT = Path(__file__).parents[2]
SCALES = {"1": (1, 1), "10": (10, 1), "100": (10, 10)}  # copies of backbones, times as many shards
PATTERNS = (("backbones",), ("probes", "backbones"), ("heads", "backbones"), ("heads", "retrain"),
            ("discovery", "backbones"), ("dense", "backbones"))  # fmt: skip
FLOOR = """
rule all:
    input: [f"out/{i}.txt" for i in range(int(config["many"]))]
rule one:
    output: "out/{i}.txt"
    shell: "touch {output}"
"""
DRESSED = """
many = int(config["many"])
wildcard_constraints: i=r"\\d+"
rule all:
    input: [f"out/b/{i}.txt" for i in range(many - many // 2)]
""" + "".join(
    f"""
rule {name}:
    {needs}
    output: "out/{name}/{{i}}.txt"
    log: "out/log/{name}/{{i}}.log"
    benchmark: "out/benchmark/{name}/{{i}}.tsv"
    conda: "environment.yaml"
    threads: 2
    resources: mem_mb=1000, runtime=10
    params: code="{name}"
    script: "script.py"
"""
    for name, needs in (
        ("a", "input: []"),
        ("b", 'input: lambda w: f"out/a/{w.i}.txt" if int(w.i) < many // 2 else []'),
    )
)
FLOORS = {"floor": FLOOR, "floor with all a job needs": DRESSED}


@dataclass
class Run:
    jobs: int
    cpu: float
    wall: float
    memory_mb: float


def main(report, device):
    slope = {}
    for scale, (copies, shards) in SCALES.items():
        if scale == "100" and not report.full:
            continue
        rounds = report.rounds if scale == "1" else 1
        with scratch() as folder:
            runs_of = one_scale(Path(folder), copies, shards, rounds)
        jobs = runs_of["ours"][0].jobs
        setting = f"{scale} x: {jobs:,} jobs"
        cpu = {name: [run.cpu for run in runs] for name, runs in runs_of.items()}
        report.add(setting, "s", cpu, "floor", {"ours": "<= 1.5"})
        with_all = {name: cpu[name] for name in ("floor with all a job needs", "ours")}
        report.add(setting, "s again", with_all, "floor with all a job needs", {"ours": "<= 1.5"})
        memory = {name: [run.memory_mb for run in runs] for name, runs in runs_of.items()}
        report.add(setting, "MB", memory, "floor")
        for name, seconds in cpu.items():
            slope.setdefault(name, []).append((jobs, min(seconds)))
    for name, points in slope.items():
        for (few, short), (many, long) in zip(points, points[1:], strict=False):
            report.note(
                f"from {few:,} to {many:,} jobs", "ms per job", name,
                1e3 * (long - short) / (many - few),
            )  # fmt: skip


def one_scale(folder: Path, copies: int, shards: int, rounds: int) -> dict[str, list[Run]]:
    """Dry runs of the study and of both floors, in turns; the study first says how many jobs."""
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(larger(folder, copies, shards)))
    runs_of = {"ours": [], **{name: [] for name in FLOORS}}
    for name, text in FLOORS.items():
        place = folder / name.replace(" ", "-")
        place.mkdir()
        (place / "Snakefile").write_text(text)
        (place / "script.py").write_text('print("nothing")\n')
        (place / "environment.yaml").write_text((ROOT / "envs" / "tokenscope.yaml").read_text())
    profile = str(ROOT / "profiles" / "slurm")
    for _ in range(rounds):
        runs_of["ours"].append(
            dry_run(ROOT, ["--profile", profile, "--configfile", str(config), "--", "all"])
        )
        many = runs_of["ours"][0].jobs
        for name in FLOORS:
            flags = ["--profile", profile, "--config", f"many={many}"]
            runs_of[name].append(dry_run(folder / name.replace(" ", "-"), flags))
    return dict(sorted(runs_of.items(), key=lambda item: item[0] == "ours"))


def dry_run(folder: Path, flags: list[str]) -> Run:
    """One dry run and what it took, by the system's account of the process."""
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    command = [snakemake, "-n", "--quiet", "all", *flags]
    watch = [sys.executable, str(Path(__file__).with_name("usage.py")), *command]
    done = subprocess.run(watch, cwd=folder, check=True, stdout=subprocess.PIPE)
    usage = json.loads(done.stdout)
    if usage["code"]:
        sys.exit(f"{' '.join(command)} failed:\n{usage['said']}")
    jobs = re.search(r"of ([\d,]+) jobs to do", usage["said"])
    count = int(jobs[1].replace(",", "")) if jobs else 0
    return Run(count, usage["cpu"], usage["wall"], usage["mb"])


def larger(folder: Path, copies: int, shards: int) -> dict:
    """The paper study with copies of its backbones and more, equally large, shards."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["results"] = str(folder / "results")
    tables = config.get("backbone_tables", ["config/backbones.csv"])
    copied = folder / "copies.csv"
    with open(ROOT / tables[0], newline="") as handle:
        reader = csv.DictReader(handle)
        rows = [row for row in reader if not row["recipe"]]
    with copied.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, reader.fieldnames)
        writer.writeheader()
        for n in range(1, copies):
            writer.writerows({**row, "size": f"{row['size']}-x{n}"} for row in rows)
    config["backbone_tables"] = [*tables, str(copied)]
    for *place, last in PATTERNS if copies > 1 else ():
        section = config
        for key in place:
            section = section[key]
        section[last] = [form for pattern in section[last] for form in _with_copies(pattern)]
    for dataset in config["datasets"].values():
        if shards > 1:
            dataset.setdefault("shard_images", dataset["images"])
            dataset["images"] *= shards
    return config


def _with_copies(pattern: str) -> list[str]:
    family, size, registers = pattern.split("/")
    return [pattern] if size.endswith("*") else [pattern, f"{family}/{size}-x*/{registers}"]
