"""A packed study described for machines: ``ro-crate-metadata.json``, RO-Crate 1.1 in JSON-LD.

Each file of the results is a data entity with its checksum; what measured them are actions: by
which commit of this workflow, from which config and weights, with which software, on which hosts
(https://www.researchobject.org/ro-crate/specification/1.1/, sections Root Data Entity, Data
Entities, Provenance). The folder of results is the root of the crate.
"""

import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath

import pandas as pd

from tokenscope.packing.archive import CRATE
from tokenscope.tables.rests_on import SOFTWARE, values

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
PROFILE = "https://w3id.org/ro/crate/1.1"
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
FORMATS = {".csv": "text/csv", ".md": "text/markdown", ".json": "application/json",
           ".nc": "application/netcdf", ".gz": "application/gzip"}  # fmt: skip
LICENCES = {"MIT": "https://spdx.org/licenses/MIT"}
# Results that rest on another table than that of the claims' backbones, by their path.
BEHIND = {
    "bank": r"tables/(claim4|sensitivity|bank)\b|figures/data/probe_",
    "backbones_discovery": r"(tables|figures/data)/(backbones_)?discovery",
    "backbones_dense": r"(tables|figures/data)/(backbones_)?dense",
}


def crate(
    about: dict, citation: dict, title: str, files: dict[str, dict], rests: dict[str, pd.DataFrame],
    published: str,
) -> str:  # fmt: skip
    """The metadata file of a packed study.

    Args:
        about: ``study``, ``config`` and code (``version``, ``commit``, ``remote``) that packed it.
        citation: the project's CITATION.cff.
        title: of the results.
        files: ``bytes`` and ``sha256`` of files by their path below the folder of results.
        rests: tables of weights and images that results rest on, by name.
        published: date of the results, ``YYYY-MM-DD``.
    """
    by_id: dict[str, dict] = {}

    def add(entity: dict) -> dict:
        """Put an entity into the graph once; what points to it."""
        by_id.setdefault(entity["@id"], entity)
        return {"@id": entity["@id"]}

    address = {"url": about["remote"]} if about.get("remote") else {}
    authors = [
        add({"@id": f"#author-{number}", "@type": "Organization" if "name" in one else "Person",
             "name": one.get("name") or f"{one['given-names']} {one['family-names']}",
             **(address if "name" in one else {})})
        for number, one in enumerate(citation["authors"], 1)
    ]  # fmt: skip
    publishers = [one for one in authors if by_id[one["@id"]]["@type"] == "Organization"]
    licence = str(citation["license"])
    licence_id = LICENCES.get(licence, f"#licence-{licence}")
    licensed = add({
        "@id": licence_id, "@type": "CreativeWork", "name": licence, "description": licence,
    })  # fmt: skip
    parts = [add(_file(path, entry)) for path, entry in sorted(files.items())]
    config = add({
        "@id": "#config", "@type": "CreativeWork", "name": about["config"],
        "description": "the study's config, packed beside the results",
    })  # fmt: skip
    actions = [
        add(
            _measured(
                name, table, config, [p for p in files if behind(p, rests) == name], add, about
            )
        )
        for name, table in rests.items()
    ]
    add({
        "@id": CRATE, "@type": "CreativeWork", "conformsTo": {"@id": PROFILE},
        "about": {"@id": "./"},
    })  # fmt: skip
    add({
        "@id": "./", "@type": "Dataset", "name": title,
        "description": f"Tables and figure data of the study {about['study']} of "
        f"{citation['title']}.",
        "datePublished": published, "license": licensed, "author": authors,
        "publisher": publishers, "hasPart": parts,
        "mentions": actions,
    })  # fmt: skip
    graph = [_plain(entity) for entity in by_id.values()]
    graph.sort(key=lambda entity: (entity["@id"] != CRATE, entity["@id"] != "./"))
    return json.dumps({"@context": [CONTEXT, TERMS], "@graph": graph}, indent=1) + "\n"


def _plain(entity: dict) -> dict:
    """An entity without lists of nothing, and with one value in the place of a list of it."""
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in entity.items()
        if value != []
    }


def _file(path: str, entry: dict) -> dict:
    """A data entity: one file of the results."""
    return {
        "@id": path, "@type": "File", "name": PurePosixPath(path).name,
        "contentSize": str(entry["bytes"]), "sha256": entry["sha256"],
        "encodingFormat": FORMATS.get(PurePosixPath(path).suffix, "application/octet-stream"),
    }  # fmt: skip


def _measured(
    name: str, table: pd.DataFrame, config: dict, results: list[str], add: Callable, about: dict
) -> dict:
    """The action by which results were measured, and what it used."""
    code = [
        add(_code(commit, about)) for commit in values(table, "commit") or [about.get("commit", "")]
    ]
    weights = [add(_weights(row)) for row in table.to_dict("records")]
    software = [
        add({"@id": f"#{package}-{version}", "@type": "SoftwareApplication", "name": package,
             "version": version})
        for package in SOFTWARE
        for version in values(table, package)
    ]  # fmt: skip
    configs = ", ".join(values(table, "config")) or "not recorded"
    hosts = ", ".join(values(table, "host")) or "not recorded"
    return {
        "@id": f"#measured-{name}", "@type": "CreateAction", "name": f"measured: {name}",
        "description": f"config {configs}; hosts {hosts}",
        "instrument": code + software, "object": [config, *_once(weights)],
        "result": [{"@id": path} for path in sorted(results)],
    }  # fmt: skip


def _code(commit: str, about: dict) -> dict:
    """This workflow at one commit."""
    entity = {
        "@id": f"#workflow-{commit or about['version']}", "@type": "SoftwareSourceCode",
        "name": "tokenscope", "version": about["version"],
        "programmingLanguage": "Snakemake, Python",
    }  # fmt: skip
    if commit:
        entity["identifier"] = commit
    if about.get("remote"):
        entity["codeRepository"] = about["remote"]
    return entity


def _weights(row: dict) -> dict:
    """Weights that were measured, by their checksum: they are in no pack."""
    name = "/".join(str(row[column]) for column in ("family", "size", "registers"))
    return {
        "@id": f"#weights-{str(row['weights_sha256'])[:16]}", "@type": "CreativeWork",
        "name": f"weights of {name}", "alternateName": str(row["timm_id"]),
        "description": f"from {row['origin']}", "sha256": str(row["weights_sha256"]),
    }  # fmt: skip


def behind(path: str, rests: dict[str, pd.DataFrame]) -> str:
    """The table of weights and images that a file of the results rests on."""
    found = (name for name, like in BEHIND.items() if name in rests and re.match(like, path))
    return next(found, "backbones")


def _once(references: list[dict]) -> list[dict]:
    return [{"@id": name} for name in dict.fromkeys(one["@id"] for one in references)]
