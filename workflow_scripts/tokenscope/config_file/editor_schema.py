"""The schema as editors read it: JSON, each key with its explanation from ``config/README.md``.

python -m tokenscope.config_file.editor_schema
"""

import json
import re

import yaml

from tokenscope.config_file.answers import SCHEMA
from tokenscope.paths import CONFIG

FILE = SCHEMA.with_suffix(".json")
# Headings of config/README.md whose tables explain the keys of one section.
SECTIONS = {"Data sets": "datasets", "Probes": "probes", "Heads (claim 5)": "heads",
            "Training": "training"}  # fmt: skip


def explained(page: str) -> dict[tuple[str, ...], str]:
    """Meaning of each key by its path, out of the tables of ``config/README.md``."""
    meanings: dict[tuple[str, ...], str] = {}
    for part in re.split(r"^## ", page, flags=re.M):
        heading, _, text = part.partition("\n")
        above = (SECTIONS[heading],) if heading in SECTIONS else ()
        if part is not page and not above and heading != "Configuration" and meanings:
            continue
        for keys, meaning in re.findall(r"^\| (`.+?`) \| (.*?) \|", text, re.M):
            names = [name.split(": ") for name in re.findall(r"`([^`]+)`", keys)]
            for name in names:
                path = (*names[0][:-1], *name) if len(name) == 1 else tuple(name)
                meanings[(*above, *path)] = meaning.replace("`", "")
    return meanings


def _described(schema: dict, meanings: dict, path: tuple[str, ...] = ()) -> dict:
    """The schema with a description for each key that has a meaning."""
    schema = dict(schema)
    if path in meanings and "description" not in schema:
        schema["description"] = meanings[path]
    if "properties" in schema:
        schema["properties"] = {
            key: _described(below, meanings, (*path, key))
            for key, below in schema["properties"].items()
        }
    if "patternProperties" in schema:
        schema["patternProperties"] = {
            key: _described(below, meanings, path)
            for key, below in schema["patternProperties"].items()
        }
    if "oneOf" in schema:
        schema["oneOf"] = [_described(below, meanings, path) for below in schema["oneOf"]]
    return schema


def text() -> str:
    """What the file holds."""
    meanings = explained((CONFIG / "README.md").read_text())
    schema = _described(yaml.safe_load(SCHEMA.read_text()), meanings)
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
