"""On what a table rests, by the table of weights and images behind it: of the jobs that measured.

Never of the machine that gathers or draws: its versions and its name decide no number.
"""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from tokenscope.jobs.records import read_records
from tokenscope.jobs.software import of_job
from tokenscope.stores.receipts import read_receipt

SOFTWARE = ("python", "torch", "timm", "numpy")


def values(provenance: pd.DataFrame, column: str) -> list[str]:
    """The different values of a column, those of several shards apart; none where it is older."""
    if column not in provenance:
        return []
    cells = provenance[column].dropna().astype(str)
    return sorted({part for cell in cells for part in cell.split("; ") if part})


def sentence(provenance: pd.DataFrame) -> str:
    """Commits, configs, hosts and software of the measuring jobs, and how many weights.

    Args:
        provenance: a table of ``tables/provenance.py``, as CSV holds it.
    """
    commits = values(provenance, "commit")
    parts = [f"commit {' and '.join(commits)}" if commits else "no recorded commit"]
    if configs := values(provenance, "config"):
        parts.append(f"config {' and '.join(configs)}")
    if hosts := values(provenance, "host"):
        parts.append(f"on {_few(hosts)}")
    software = [f"{name} {' and '.join(v)}" for name in SOFTWARE if (v := values(provenance, name))]
    if software:
        parts.append(f"with {', '.join(software)}")
    count = len(values(provenance, "weights_sha256"))
    weights = f"weights of {count} backbone{'s' * (count != 1)}" if count else "no weights"
    return f"Measured by {', '.join(parts)}; {weights}."


def page_end(said: str) -> list[str]:
    """The end of a page in Markdown: what it rests on, as :func:`sentence` or :func:`made` say."""
    return ["## What this rests on", "", *_wrapped(said, 100), ""]


def comment(said: str) -> list[str]:
    """The same as lines that TeX does not print."""
    return [f"% {line}" for line in _wrapped(said, 98)]


def _wrapped(said: str, width: int) -> list[str]:
    """Lines; commits and names of configs are never cut, at hyphens or elsewhere."""
    return textwrap.wrap(said, width, break_long_words=False, break_on_hyphens=False)


def made() -> str:
    """The same where nothing is measured: the code and the config that a table is made of."""
    code = of_job()
    commit = f"commit {code['commit']}" if code["commit"] else f"version {code['version']}"
    config = f", config {code['config']}" if code["config"] else ""
    return f"Nothing is measured here: made by {commit}{config}; no weights."


def of_tables(files: Iterable[str | Path]) -> pd.DataFrame:
    """Tables of weights and images together, those that are there."""
    found = [pd.read_csv(file, dtype=str) for file in files if Path(file).exists()]
    return pd.concat(found) if found else pd.DataFrame()


def of_receipts(files: Iterable[str | Path]) -> pd.DataFrame:
    """What receipts and cards say of the jobs that wrote them, in the columns of such a table."""
    return _said(map(read_receipt, files))


def of_records(files: Iterable[str | Path]) -> pd.DataFrame:
    """The same of jobs without a receipt, by the last attempt in each record of a job."""
    return _said(attempts[-1] for file in files if (attempts := read_records(file)))


def _said(entries: Iterable[dict]) -> pd.DataFrame:
    rows = [
        {"host": entry.get("host"), "weights_sha256": entry.get("sha256")}
        | {name: entry.get("versions", {}).get(name) for name in SOFTWARE}
        | {name: entry.get("code", {}).get(name) or None for name in ("commit", "config")}
        for entry in entries
    ]
    return pd.DataFrame(rows).astype(object)


def _few(hosts: list[str]) -> str:
    return ", ".join(hosts) if len(hosts) < 6 else f"{len(hosts)} hosts"
