"""Files that a config names and the project brings along: tables, recipes, criteria.

A study may be run from any folder (``snakemake -s <clone>/Snakefile -d elsewhere``). What it names,
or gets by default, is looked for there first and then in the project.
"""

import os

from tokenscope.paths import of_project

# Keys that name a file or folder, as paths in a config.
NAMED = (("recipes",), ("heads", "released", "table"), ("carbon", "sites"),
         ("report", "sections"), ("report", "verdicts"))  # fmt: skip


def find(config: dict) -> dict:
    """Write into a config where its files of the project are; returns it.

    A path that exists from the folder one works in stays, and so does one that is nowhere.
    """
    for *above, key in NAMED:
        section = config
        for name in above:
            section = section.get(name) or {}
        if section.get(key):
            section[key] = _found(section[key])
    config["backbone_tables"] = [_found(table) for table in config["backbone_tables"]]
    return config


def _found(path: str) -> str:
    ours = of_project(path)
    return ours if not os.path.exists(path) and os.path.exists(ours) else path
