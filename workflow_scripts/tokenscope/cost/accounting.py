"""What a study has cost, attempt by attempt: records of jobs, Slurm's accounting, or the formula.

A record says what the job measured itself; sacct says how long it held what, and knows of attempts
that were killed. Where both exist, hours are sacct's and energy the record's. An energy that nobody
measured is power x time, and its method says so.
"""

import json
from collections import defaultdict
from math import exp, hypot
from pathlib import Path
from typing import TYPE_CHECKING

from tokenscope.cost.calibration import Z90
from tokenscope.cost.carbon import JOULES_PER_KWH, Site
from tokenscope.cost.claims import claim_of
from tokenscope.jobs import sacct
from tokenscope.jobs.records import read_records

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = [
    "job", "rule", "claim", "family", "size", "registers", "dataset", "attempt", "state", "work",
    "run", "source", "host", "slurm_job_id", "started", "seconds", "queue_seconds", "gpus", "cores",
    "gpu_hours", "core_hours", "images", "gpu_kwh", "gpu_method", "cpu_kwh", "cpu_method", "kwh",
    "co2_kg", "units", "forecast_seconds", "forecast_low", "forecast_high", "forecast_basis",
    "asked_minutes", "asked_mb", "peak_mb", "commit", "config",
]  # fmt: skip
DONE = {"finished", "COMPLETED"}


def collect(folder: Path, ask=sacct.ask) -> tuple[list[dict], str]:
    """All attempts known below ``<results>/accounting``, oldest first, and a word on sacct.

    ``ask``: the question to Slurm; it is put once, and only if a job ran under Slurm.
    """
    attempts = []
    for file in sorted((folder / "jobs").rglob("*.jsonl")):
        name = file.relative_to(folder / "jobs").with_suffix("").as_posix()
        attempts += [_from_record(name, record) for record in read_records(file)]
    _share_gpus(attempts)
    problem = _ask_slurm(attempts, folder, ask) if any(a["slurm_job_id"] for a in attempts) else ""
    attempts.sort(key=lambda a: a["started"])
    number: dict[str, int] = defaultdict(int)
    for attempt in attempts:
        number[attempt["job"]] += 1
        attempt["attempt"] = number[attempt["job"]]
    return attempts, problem


def _ask_slurm(attempts: list[dict], folder: Path, ask) -> str:
    """Complete attempts by what sacct says, and add those that left no record."""
    by_id: dict[str, list[dict]] = defaultdict(list)
    for attempt in attempts:
        if attempt["slurm_job_id"]:
            by_id[attempt["slurm_job_id"]].append(attempt)
    # Inside one allocation (salloc, a controller that runs jobs itself) hours are the jobs' own.
    single = {job_id: own[0] for job_id, own in by_id.items() if len(own) == 1}
    rows, problem = ask(min(own[0]["started"] for own in by_id.values()))
    names = {
        sacct.comment_of(job["rule"], job["wildcards"]): (name, job)
        for plan in forecasts(folder).values()
        for name, job in plan.items()
    } | {sacct.comment_of(a["rule"], a["wildcards"]): (a["job"], a) for a in attempts}
    rows, runs = sacct.of_study(rows, set(single)), {}
    for row in list(rows):
        record = single.get(row["slurm_job_id"])
        # A requeued job has a row for each time it ran; the record is of one of them.
        if record and row["started"] - 5 <= record["started"] <= row["ended"] + 5:
            runs[row["run_name"]] = record["run"]
            _join(record, row)
            rows.remove(row)
    attempts += [_from_sacct(row, names, runs) for row in rows]
    return problem


def _from_record(name: str, record: dict) -> dict:
    gpus, cpu = record["gpus"], record["cpu"]
    known = bool(gpus) and all(g["joules"] is not None for g in gpus)
    share = sum(g["share"] for g in gpus)
    return {
        "job": name, "rule": record["rule"], "wildcards": record["wildcards"],
        "state": record["outcome"], "run": record["run"], "source": "record",
        "host": record["host"], "slurm_job_id": record["slurm_job_id"],
        "started": record["started"], "ended": record["ended"], "seconds": record["seconds"],
        "queue_seconds": float("nan"), "gpus": share if share % 1 else int(share),
        "gpu_share": share, "cores": record["threads"],
        "images": record["work"].get("images"), "devices": [g["gpu"] for g in gpus],
        "gpu_joules": sum(g["joules"] for g in gpus) if known else None,
        "gpu_method": _methods(gpus), "cpu_joules": cpu["joules"], "cpu_method": cpu["method"],
        "asked_minutes": record.get("asked", {}).get("runtime"),
        "asked_mb": record.get("asked", {}).get("mem_mb") or None, "peak_mb": record.get("peak_mb"),
        "reason": record.get("reason", ""),
        **{name: record.get("code", {}).get(name, "") for name in ("commit", "config")},
    }  # fmt: skip


def _methods(gpus: list[dict]) -> str:
    """The methods of all devices; one that had to use the formula puts all on it."""
    names = list(dict.fromkeys(g["method"] for g in gpus))
    formula = [name for name in names if name.startswith("formula")]
    return "; ".join(formula or names)


def _share_gpus(attempts: list[dict]) -> None:
    """Divide a counter among jobs that used one GPU at the same time: each reads all of it."""
    users = defaultdict(list)
    for attempt in attempts:
        for device in attempt["devices"]:
            users[attempt["host"], device].append(attempt)
    for sharing in users.values():
        for attempt in sharing:
            begin, end = attempt["started"], attempt["ended"]
            others = [a for a in sharing if a["started"] < end and a["ended"] > begin]
            if attempt["gpu_joules"] is None or len(others) < 2 or end <= begin:
                continue
            edges = sorted({begin, end, *(
                t for a in others for t in (a["started"], a["ended"]) if begin < t < end
            )})  # fmt: skip
            seconds = sum(
                (b - a) / sum(o["started"] <= a and o["ended"] >= b for o in others)
                for a, b in zip(edges, edges[1:], strict=False)
            )
            attempt["own"] = seconds / (end - begin)
    for attempt in attempts:
        if own := attempt.pop("own", None):
            attempt["gpu_joules"] *= own
            attempt["gpu_method"] += f", {own:.0%} of a shared GPU"


def _join(record: dict, row: dict) -> None:
    """Slurm's hours and allocation in place of the job's own."""
    record |= {k: row[k] for k in ("seconds", "queue_seconds", "started", "ended", "gpus")}
    record |= {"cores": row["cores"] or record["cores"], "source": "record, sacct"}
    record["host"] = row["host"] or record["host"]
    if record["gpus"] and not record["gpu_method"]:
        record |= {"gpu_method": "formula (the job asked for no GPU)", "gpu_share": row["gpus"]}


def _from_sacct(row: dict, names: dict[str, tuple[str, dict]], runs: dict[str, str]) -> dict:
    """An attempt that left no record: killed, or ended before its script began."""
    name, known = names.get(row["comment"], (row["comment"], {}))
    method = "formula (no record of the job)"
    return {
        "job": name, "rule": known.get("rule") or row["comment"].removeprefix("rule_"),
        "wildcards": known.get("wildcards", {}), "run": runs.get(row["run_name"], ""),
        "source": "sacct", "images": None, "devices": [], "reason": "", "gpu_share": row["gpus"],
        "gpu_joules": None, "gpu_method": method if row["gpus"] else "", "cpu_joules": None,
        "cpu_method": method,
        **{k: row[k] for k in ("state", "host", "slurm_job_id", "started", "ended", "seconds",
                               "queue_seconds", "gpus", "cores")},
    }  # fmt: skip


def forecasts(folder: Path) -> dict[str, dict]:
    """Forecasts noted before each run: run -> job -> what was expected."""
    files = sorted((folder / "forecast").glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files}


def table(attempts: list[dict], site: Site, run: str, expected: dict[str, dict]) -> "pd.DataFrame":
    """One row an attempt, columns :data:`COLUMNS`.

    ``run``: the run whose work counts as new; of earlier work, the last success of a job is
    ``reused``, the rest ``spent`` (superseded or failed). Its energy counts all the same.
    """
    import pandas as pd  # takes a second; who only collects needs none

    stands = {a["job"]: id(a) for a in attempts if a["state"] in DONE}
    rows = []
    for a in attempts:
        hours, share = a["seconds"] / 3600, a["gpu_share"]
        new = a["run"] == run
        work = "new" if new else "reused" if stands.get(a["job"]) == id(a) else "spent"
        measured = a["gpu_joules"] is not None
        gpu = a["gpu_joules"] / JOULES_PER_KWH if measured else site.kwh(share * hours, 0)
        measured = a["cpu_joules"] is not None
        cpu = a["cpu_joules"] / JOULES_PER_KWH if measured else site.kwh(0, a["cores"] * hours)
        forecast = expected.get(a["run"], {}).get(a["job"], {})
        w = a["wildcards"]
        rows.append({
            **{k: a[k] for k in COLUMNS if k in a},
            "claim": claim_of(a["rule"], a["wildcards"]),
            **{k: w.get(k, "") for k in ("family", "size", "registers", "dataset")},
            "work": work, "started": pd.Timestamp(a["started"], unit="s").isoformat("T", "seconds"),
            "gpu_hours": a["gpus"] * hours, "core_hours": hours * _cores(a, site),
            "gpu_kwh": gpu, "cpu_kwh": cpu, "kwh": gpu + cpu, "co2_kg": site.co2(gpu + cpu),
            # A site charges what it allocated; beside the controller nothing was.
            "units": site.units(hours, a["gpus"], a["cores"]) if a["slurm_job_id"] else 0.0,
            **_expected(forecast),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _cores(attempt: dict, site: Site) -> float:
    """Cores that were held: as sacct says, else no fewer than the site's smallest allocation."""
    if "sacct" in attempt["source"] or not attempt["slurm_job_id"]:
        return attempt["cores"]
    return site.allocated(attempt["gpus"], attempt["cores"])


def _expected(forecast: dict) -> dict:
    """A job's forecast with its 90 % interval."""
    if not forecast:
        return {}
    spread = exp(Z90 * hypot(forecast["bias"], forecast["scatter"]))
    return {
        "forecast_seconds": forecast["seconds"], "forecast_low": forecast["seconds"] / spread,
        "forecast_high": forecast["seconds"] * spread, "forecast_basis": forecast["basis"],
    }  # fmt: skip
