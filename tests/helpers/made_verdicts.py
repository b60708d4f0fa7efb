"""Criteria and evidence made up for tests of verdicts, in the words of their file."""

from tokenscope.verdicts import criteria
from tokenscope.verdicts.conditions import Facts
from tokenscope.verdicts.evidence import Evidence
from tokenscope.verdicts.subjects import Study

NAN = float("nan")
DECIDE = {"error": 0.05, "seeds": 3, "images_seen": 1e6, "majority": 0.5}
EFFECTS = {"top1": {"size": 0.2, "unit": "points", "why": "made up"}}
STATEMENT = {
    "id": "x", "said": "x", "sources": [{"paper": "p"}], "table": "t", "groups": ["head"],
    "metric": "gain", "backbones": ["*/*/r4"], "holds": {"more": "top1"},
}  # fmt: skip


def made(**changes):
    """The criteria that hold one statement, and that statement."""
    of = criteria.of({
        "decide": DECIDE, "effects": EFFECTS,
        "simulation": {"seed": 0, "draws": 20, "backbones": 2, "power": 0.8},
        "statements": {"claim": [STATEMENT | changes]},
    })  # fmt: skip
    return of, next(iter(of))


def row(key, value, low=NAN, high=NAN, group="head", metric="gain", dataset="d", unit="points",
        n=1000):  # fmt: skip
    """One tidy row as a dictionary."""
    family, size, registers = key.split("/")
    return {
        "family": family, "size": size, "registers": registers, "dataset": dataset, "group": group,
        "metric": metric, "value": value, "low": low, "high": high, "unit": unit, "n": n,
    }  # fmt: skip


def answer(key, yes, group="artifacts", metric="has_artifacts", dataset="d"):
    """A row that is itself an answer: yes (1), no (0) or neither (NaN)."""
    return row(key, yes, group=group, metric=metric, dataset=dataset, unit="verdict")


def study(of, rows, planned=None, facts=None, **tables):
    """A study whose table ``t`` has these rows; planned is what they are about."""
    about = [(r["dataset"], "/".join((r["family"], r["size"], r["registers"]))) for r in rows]
    planned = {"t": list(dict.fromkeys(about if planned is None else planned))}
    return Study(of, Evidence({"t": rows, **tables}), planned, facts or Facts())
