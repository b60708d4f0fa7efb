"""On what a table rests, by the table of weights and images behind it: of the jobs that measured.

Never of the machine that gathers or draws: its versions and its name decide no number.
"""

import pandas as pd

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
    return f"Measured by {', '.join(parts)}; weights of {count} backbone{'s' * (count != 1)}."


def _few(hosts: list[str]) -> str:
    return ", ".join(hosts) if len(hosts) < 6 else f"{len(hosts)} hosts"
