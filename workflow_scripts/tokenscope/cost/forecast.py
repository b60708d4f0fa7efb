"""What is still to do will cost: hours, energy, CO2, service units, storage and wall time.

``config: forecast`` is ``summary`` (a few lines after a dry run), ``full`` (tables as well, also as
files) or ``none``. A real run notes its forecast job by job, so that the accounting can compare.
"""

import csv
import math
import os
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from tokenscope.cost import job_graph
from tokenscope.cost.carbon import Site
from tokenscope.cost.schedule import Machine
from tokenscope.cost.totals import COLUMNS, Totals
from tokenscope.jobs.records import RUN
from tokenscope.study.study import Study

FOLDER = "accounting/forecast"
LATENCY = 45.0  # Snakemake asks Slurm every 40 s and more whether a job has ended
GPU_COUNTS = (1, 4, 16)
MOST_LINES = 12  # backbones of the crossed table on a terminal
STORES = {
    "extract": "tokens", "gallery": "gallery", "decode": "images", "obtain": "weights",
    "train": "weights", "plant": "weights", "render": "scenes", "features": "features",
}  # fmt: skip


def machines(workflow, cluster: bool) -> dict[str, Machine]:
    """What to simulate: numbers of GPUs on a cluster, the cores and GPUs of one machine."""
    given = workflow.global_resources.get("gpu")
    cap = given.value if given else None  # of a run without a profile it is there, and None
    if not cluster:
        cores, gpus = workflow._cores or os.cpu_count(), 1 if cap is None else cap
        several = f", {gpus} GPUs" if gpus > 1 else ""
        return {f"{cores} cores{several}": Machine(cores=cores, gpus=gpus)}
    # The profile's cap on GPUs in flight is what will happen; the others show what it costs.
    counts = sorted({*GPU_COUNTS, cap} if cap else GPU_COUNTS)
    return {
        f"{n} GPU{'s' * (n > 1)}": Machine(
            gpus=n, jobs=workflow.nodes, beside_cores=2, latency=LATENCY
        )
        for n in counts
    }


def lines(forecast: Totals, study: Study, walls: dict, plausible: list | None) -> list[str]:
    """The summary."""
    f, site, row = forecast, forecast.site, forecast.row(forecast.tasks)
    if not f.todo:
        return [f"Forecast of {study.config['study']}: nothing to do."]
    jobs = f"{len(f.todo):,} of {len(f.tasks):,} jobs to do"
    kind = "GPU" if any(t.gpus for t in f.tasks) else "core"
    done = f"{f.done_share():.0%} of {kind} time done"
    text = [f"Forecast of {study.config['study']}: {jobs}, {done}"]
    if row["reserved_gpu_hours"]:
        text.append(
            f"  GPU-hours  {_short(row['expected_gpu_hours'])} expected (90 %: "
            f"{_short(row['low'])} to {_short(row['high'])}), "
            f"{_short(row['reserved_gpu_hours'], 3)} reserved by time limits: a budget must cover "
            "these"
        )
    text.append(f"  CPU        {_short(row['core_hours'])} core-hours expected")
    if row["reserved_units"]:
        text.append(
            f"  charge     {row['expected_units']:,.0f} service units expected, "
            f"{row['reserved_units']:,.0f} reserved"
        )
    text.append(
        f"  energy     {_short(row['kwh'])} kWh, {_short(row['co2_kg'])} kg CO2 "
        f"({site.intensity:g} kg/kWh, PUE {site.pue:g}, site {site.site})"
    )
    peak = max((peak for _, peak in walls.values()), default=0.0)
    sizes: dict[str, float] = defaultdict(float)
    for task in f.todo:
        sizes[STORES.get(task.rule, "other")] += task.bytes or 0
    parts = ", ".join(f"{k} {_bytes(v)}" for k, v in sorted(sizes.items(), key=_size) if v >= 5e6)
    text.append(f"  storage    {_bytes(peak)} more at the peak ({parts or 'small files only'})")
    times = ", ".join(f"{_time(seconds)} with {name}" for name, (seconds, _) in walls.items())
    text.append(f"  wall time  {times}" + (", without queueing" if f.cluster else ""))
    text += _targets(f)
    text += [f"  known by   {how}" for how in _bases(f)]
    text += [f"  note: {w}" for w in (*few_images(study), *warnings(f, study, plausible))]
    return text


def _targets(forecast: Totals) -> list[str]:
    """What each target of the study would take alone; work that they share is in each."""
    column, unit = _unit(forecast)
    hours = {name: row[column] for name, row in forecast.claims().items() if row["jobs"]}
    if len(hours) < 2:
        return []
    each = ", ".join(f"{name} {_short(value)}" for name, value in hours.items())
    return textwrap.wrap(
        f"  targets    {unit}-hours each alone: {each}; -- {' '.join(list(hours)[:3])} runs these",
        100, subsequent_indent=" " * 13, break_on_hyphens=False,
    )  # fmt: skip


def _unit(forecast: Totals) -> tuple[str, str]:
    """The column of hours that matters: of GPUs where a job has one, else of cores."""
    gpu = any(task.gpus for task in forecast.tasks)
    return ("expected_gpu_hours", "GPU") if gpu else ("core_hours", "core")


def _size(item: tuple[str, float]) -> float:
    return -item[1]


def _bases(forecast: Totals) -> list[str]:
    """How the expectations are known; rules without model or measurement are named."""
    bases = {task.rule: task.estimate.basis for task in forecast.todo}
    measured = sum("measured" in basis for basis in bases.values())
    text = [f"cost model; {measured} of {len(bases)} rules calibrated by earlier jobs"]
    if named := sorted(rule for rule, basis in bases.items() if basis == "time limit"):
        text.append(f"time limits for {', '.join(named)}: no model, never measured")
    unsized = {t.rule for t in forecast.todo if t.bytes is None and t.minutes and not t.beside}
    if unsized:
        text.append(f"not in storage: {', '.join(sorted(unsized))}")
    return text


def least_images(confidence: float) -> int:
    """Of fewer images the decision about artifacts (:mod:`tokenscope.norms.artifacts`) says no no:
    a mode that 2 % of images hold may be in none of them."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - 0.02))


def few_images(study: Study) -> list[str]:
    """Of which data sets no backbone can be said to have no artifacts."""
    confidence = study.config["statistics"]["confidence"]
    least, analysed = least_images(confidence), study.config["analyse"]
    few = {n: count for n in analysed if (count := study.planned_images(n)) < least}
    return [
        f"{name} has {count:,} images; of fewer than {least} no backbone can be said to have no "
        f"artifacts ({100 * confidence:g} % confidence): the answer is yes or cannot tell"
        for name, count in few.items()
    ]


def warnings(forecast: Totals, study: Study, plausible: list | None) -> list[str]:
    """Why the whole study's expected GPU-hours are not what arithmetic expects."""
    if not plausible:
        return []
    low, high = plausible
    hours = sum(t.gpus * forecast.hours(t) for t in forecast.tasks)
    pure = forecast.single_pass_hours()
    about = f"the whole study is expected to take {_short(hours)} GPU-hours"
    check = f"its forward passes alone are {_short(pure)} at 40 % of an H100's bf16 peak"
    if low <= hours <= high:
        return []
    if hours > high:
        why = "a backbone runs more than once, or not in bf16"
        slow = [t.rule for t in forecast.tasks if t.estimate.basis == "time limit" and t.gpus]
        if slow:
            why = f"time limits stand in for {', '.join(sorted(set(slow)))}; {why}"
        return [f"{about}, over {high:g}, while {check}. Likely: {why}."]
    claims = {task.claim for task in forecast.tasks}
    reasons = []
    if missing := [c for c in ("claim4", "claim5") if c not in claims]:
        reasons.append(f"{' and '.join(missing)} (probes, heads) are not in it")
    if not any(row.arch.input_size >= 518 for row in study.backbones):
        reasons.append("no backbone is read at 518 pixels, the native size of DINOv2")
    images = max(study.planned_images(name) for name in study.config["analyse"])
    if images < 50_000:
        reasons.append(f"only {images:,} images are read")
    return [f"{about}, under {low:g}; {check}. Likely: {'; '.join(reasons) or 'unknown'}."]


def _short(value: float, digits: int = 2) -> str:
    """A number to so many significant digits, without an exponent where it can be."""
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# Heads of the table for the terminal, where they are not those of the CSV file.
_WORDS = {
    "reserved_gpu_hours": "GPU-h reserved", "expected_gpu_hours": "expected", "low": "5 %",
    "high": "95 %", "core_hours": "core-h", "reserved_units": "units reserved",
    "expected_units": "expected", "kwh": "kWh", "co2_kg": "kg CO2", "storage_gb": "GB stored",
}  # fmt: skip


def table_lines(title: str, rows: dict[str, dict[str, float]]) -> list[str]:
    """A table for the terminal."""
    cells = [[title, *(_WORDS.get(name, name) for name in COLUMNS)]] + [
        [name, *(f"{v:,}" if isinstance(v, int) else _short(v, 3) for v in row.values())]
        for name, row in rows.items()
    ]
    return _aligned(cells)


def _aligned(cells: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]


def write(rows: dict[str, dict[str, float]], name: str, file: Path) -> None:
    """The same as CSV."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow([name, *COLUMNS])
        for key, row in rows.items():
            writer.writerow([key, *(v if isinstance(v, int) else f"{v:.6g}" for v in row.values())])


def begin(workflow, study: Study) -> list[job_graph.Task]:
    """Before a real run: note the forecast of each job; returns the jobs."""
    with _harmless():
        tasks, _, _ = job_graph.read_plan(workflow, study)
        job_graph.save(tasks, Path(study.results, FOLDER, f"{os.environ[RUN]}.json"))
        return tasks
    return []


def show(workflow, study: Study, site: Site) -> None:
    """After a dry run: the summary, and on demand the tables."""
    how = study.config["forecast"]
    if how == "none" or not workflow.dryrun or workflow.dag is None:
        return
    with _harmless():
        tasks, calibration, cluster = job_graph.read_plan(workflow, study)
        if not tasks:  # a target that nothing makes: Snakemake has said so
            return
        forecast = Totals(tasks, calibration, cluster, site)
        walls = {name: forecast.wall(m) for name, m in machines(workflow, cluster).items()}
        text = lines(forecast, study, walls, study.config["carbon"].get("plausible_gpu_hours"))
        if how == "full":
            grids = sorted(study.config["training"], key=len, reverse=True)
            text += tables(forecast, Path(study.results, FOLDER), grids)
        elif forecast.todo:
            text.append("  more       --config forecast=full (by claim and backbone)")
        print("\n".join(text), flush=True)


def tables(forecast: Totals, folder: Path, grids: Iterable[str] = ()) -> list[str]:
    """Write the tables as CSV; returns those that a terminal has room for.

    ``grids``: names of families that are trained here in many variants (``training``).
    """
    by_key = {
        "rule": forecast.table(lambda task: task.rule),
        "claim": forecast.table(lambda task: task.claim),
        "claim_alone": forecast.claims(),
        "backbone": forecast.table(lambda task: task.backbone or "none"),
    }
    text = []
    for name, rows in by_key.items():
        write(rows, name, folder / f"by_{name}.csv")
        if name == "claim":
            text += ["", *table_lines(name, rows)]
    crossed = forecast.crossed()
    write({",".join(key): row for key, row in crossed.items()}, "claim,backbone",
          folder / "by_claim_and_backbone.csv")  # fmt: skip
    text += ["", *crossed_lines(crossed, *_unit(forecast), grids)]
    return [*text, "", f"More by rule, backbone and what a claim takes alone: {folder}/by_*.csv"]


def crossed_lines(
    crossed: dict[tuple[str, str], dict[str, float]], column: str, unit: str, grids: Iterable[str]
) -> list[str]:
    """Hours by backbone (line) and claim (column); of many, by family, or by grid of families."""
    names = {backbone for _, backbone in crossed}
    families = {name: name.split("/")[0] for name in names}
    if len(names) <= MOST_LINES:
        families = {name: name for name in names}
    elif len(set(families.values())) > MOST_LINES:
        families = {
            n: next((g for g in grids if f.startswith(f"{g}-")), f) for n, f in families.items()
        }
    claims = list(dict.fromkeys(claim for claim, _ in crossed))
    hours: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(claims, 0.0))
    for (claim, backbone), row in crossed.items():
        hours[families[backbone]][claim] += row[column]
    cells = [[f"{unit}-hours", *claims]]
    cells += [[name, *(_short(v) for v in row.values())] for name, row in hours.items()]
    return _aligned(cells)


@contextmanager
def _harmless():
    """A forecast that fails says so in a line; it never stops a run or hides a dry run."""
    try:
        yield
    except Exception as error:
        print(f"no forecast: {type(error).__name__}: {error}", file=sys.stderr)
