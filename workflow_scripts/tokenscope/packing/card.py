"""What a data repository and a hub want beside a packed study: card, citation, metadata.

Plain text made of the study's own tables, so that it says what they say. Places for what is known
only once it is deposited (a DOI, a date) are left to fill in.
"""

import copy
from collections import Counter

import pandas as pd
import yaml

TAGS = ["vision-transformers", "registers", "artifacts", "reproducibility", "interpretability"]
FILL = "10.5281/zenodo.NNNNNNN"
RESTS_ON = ("dataset", "timm_id", "origin", "images", "geometry", "precision", "device",
            "torch", "timm", "host", "commit", "config")  # fmt: skip


def card(about: dict, citation: dict, verdicts: pd.DataFrame, said: dict[str, str],
         backbones: pd.DataFrame, tables: list[str]) -> str:  # fmt: skip
    """The README of a data set on a hub, whose head the hub reads.

    Args:
        about: the list of the pack: ``study``, ``version``, ``commit``, ``remote``.
        citation: the project's CITATION.cff.
        verdicts: the table of verdicts of the study, cells as text.
        said: what each statement says, by its id.
        backbones: the table of weights and images that measurements rest on, cells as text.
        tables: names of the tables that are published as CSV beside the pack.
    """
    study = about["study"]
    head = {
        "license": str(citation["license"]).lower(),
        "pretty_name": title(study),
        "tags": TAGS,
        "configs": [
            {"config_name": name, "data_files": f"tables/{name}.csv"} for name in sorted(tables)
        ],
    }
    code = about.get("remote") or "the project"
    commit = about.get("commit") or "of no known commit"
    lines = [
        "---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(), "---", "",
        f"# {title(study)}", "",
        f"Tables, figure data and configs of the study `{study}` of {citation['title']}: packed by "
        f"version {about['version']}, commit `{commit}`. No weights and no images are in it; those "
        "that were measured have licences of their own.", "",
        "To draw the figures and write the report from it, in a clone of "
        f"{code}:", "",
        f"    make fetch FROM={study}.tar.gz STUDY={study}",
        f"    make figure FIG=/ STUDY={study}",
        f"    make report STUDY={study}", "",
        "`sha256sum -c checksums.sha256` compares what is here; the pack compares its own files.",
        "", "## Verdicts", "", *_verdicts(verdicts, said), "", "## What it rests on", "",
        *_rests_on(backbones), "",
        "## Licence and citation", "",
        f"{citation['license']} (`LICENSE`). Cite it as `CITATION.cff` says, together with the "
        "papers that it reproduces:", "",
        *(f"- {entry['title']} ({entry['year']})" for entry in citation.get("references", [])), "",
    ]  # fmt: skip
    return "\n".join(lines)


def title(study: str) -> str:
    """What the results of a study are called where they are published."""
    return f"Artifacts and registers of Vision Transformers: results of the study {study}"


def _verdicts(verdicts: pd.DataFrame, said: dict[str, str]) -> list[str]:
    """A row for each line of a statement, without the backbones that it rests on."""
    lines = verdicts[verdicts["backbone"] == ""]
    counts = Counter(lines["answer"])
    text = ", ".join(f"{answer} {count}" for answer, count in counts.most_common())
    rows = [f"Of {len(lines)} lines: {text}. By criteria that were written down beforehand.", ""]
    rows += ["| statement | scope | source | answer | why |", "|-|-|-|-|-|"]
    for line in lines.to_dict("records"):
        source = ", ".join(filter(None, (line["source"], line["where"])))
        statement = said.get(line["statement"], line["statement"])
        cells = [statement, line["scope"], source, line["answer"], line["reason"]]
        rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return rows


def _rests_on(backbones: pd.DataFrame) -> list[str]:
    """Which weights were shown which images, where, and by which code."""
    columns = [name for name in RESTS_ON if name in backbones]
    header = ["backbone", *columns, "weights (SHA-256)"]
    rows = ["| " + " | ".join(header) + " |", "|" + "-|" * len(header)]
    for row in backbones.to_dict("records"):
        cells = ["/".join(str(row[c]) for c in ("family", "size", "registers"))]
        cells += [str(row[name]) for name in columns] + [str(row["weights_sha256"])]
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return rows


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def citation_of(about: dict, citation: dict) -> str:
    """CITATION.cff of the results: of the data set, with the software and the papers below."""
    software = {
        "type": "software", "title": citation["title"], "version": about["version"],
        "authors": citation["authors"],
    }  # fmt: skip
    if about.get("remote"):
        software["repository-code"] = about["remote"]
    if about.get("commit"):
        software["commit"] = about["commit"]
    own = {
        "cff-version": citation["cff-version"], "type": "dataset", "title": title(about["study"]),
        "message": "If you use these results, please cite them and what they rest on.",
        "license": citation["license"], "authors": copy.deepcopy(citation["authors"]),
        "references": [software, *copy.deepcopy(citation.get("references", []))],
    }  # fmt: skip
    fill = f'# When it is deposited:\n# doi: {FILL}\n# date-released: "YYYY-MM-DD"\n'
    return yaml.safe_dump(own, sort_keys=False, allow_unicode=True) + fill


def deposit(about: dict, citation: dict) -> dict:
    """Metadata of a deposit, as Zenodo's deposit API and others of its kind take them."""
    links = [{"identifier": about["remote"], "relation": "isSupplementTo",
              "resource_type": "software"}] if about.get("remote") else []  # fmt: skip
    commit = f", commit {about['commit']}" if about.get("commit") else ""
    return {
        "metadata": {
            "upload_type": "dataset",
            "title": title(about["study"]),
            "description": (
                f"Tables, figure data and configs of the study '{about['study']}' of "
                f"{citation['title']} (version {about['version']}{commit}). make fetch unpacks it; "
                "figures and report are drawn from it without weights or images."
            ),
            "creators": [
                {"name": a.get("name") or f"{a['family-names']}, {a['given-names']}"}
                for a in citation["authors"]
            ],
            "license": str(citation["license"]).lower(),
            "keywords": TAGS,
            "version": about["version"],
            "related_identifiers": links,
        }
    }
