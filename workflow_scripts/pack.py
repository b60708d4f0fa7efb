"""Pack what a laptop needs to draw the figures and write the report: tables, data, configs.

    python workflow_scripts/pack.py config/demo.yaml

Unpacked in a clone of the project (``tar xf paper.tar.gz``), ``make figure`` and ``make report``
work there without weights, images and tokens. Partial results are packed as they are.
"""

import os
import sys
import tarfile
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tokenscope.config_file import strict_yaml
from tokenscope.errors import StudyError
from tokenscope.paths import CONFIG

# Below the folder of results; receipts of samples name the images that were skipped.
PARTS = ("tables", "figures/data", "receipts/sample")
SCHEMA = CONFIG / "schemas" / "config.schema.yaml"


def main(config):
    """Write ``<results>/<study>.tar.gz`` and print what is in it.

    Args:
        config: path of the study's config.

    Returns:
        path of the archive.

    Raises:
        StudyError: the config is none or names files elsewhere, or its results are not there.
    """
    file = Path(config)
    if not file.is_file():
        raise StudyError(f"the config {file} does not exist")
    study = strict_yaml.load(file)
    rules = yaml.safe_load(SCHEMA.read_text())
    if problem := best_match(Draft202012Validator(rules).iter_errors(study)):
        where = ": ".join(map(str, problem.absolute_path))
        raise StudyError(f"{file}: {where}{': ' * bool(where)}{problem.message}")
    results = _inside(Path(study["results"]), "results")
    packed = {part: _files(results / part) for part in PARTS}
    if not any(packed.values()):
        raise StudyError(f"{results} holds no tables and no figure data: run the study first")
    packed["configs"] = _configs(file, study)
    archive = results / f"{study['study']}.tar.gz"
    aside = Path(f"{archive}.partial")
    # Snakemake goes by times: they are kept to less than a second.
    with tarfile.open(aside, "w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as tar:
        tar.dereference = True  # else a file of two names would be packed as a link
        for name in (name for files in packed.values() for name in files):
            tar.add(name, filter=_of_nobody)
    aside.replace(archive)
    for part, files in packed.items():
        size = sum(name.stat().st_size for name in files) / 1e6
        print(f"{part:16} {len(files):5} files {size:9.2f} MB")
    print(f"{archive}: {archive.stat().st_size / 1e6:.2f} MB")
    return archive


def _inside(path, key):
    """A path relative to this folder, so that it is in its place where the archive is unpacked."""
    plain = Path(os.path.relpath(path))
    if ".." in plain.parts:
        raise StudyError(
            f"{key}: '{path}' lies outside of this folder; only what is in it is packed"
        )
    return plain


def _files(folder):
    return sorted(_no_link(path) for path in folder.rglob("*") if path.is_file())


def _no_link(path):
    if path.is_symlink():
        raise StudyError(f"{path} is a link; put the file itself there, or remove it")
    return path


def _of_nobody(member):
    """A member without the names and numbers of whoever packs it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _configs(file, study):
    """The config and the files it names that decide which figures there are."""
    named = [file, *map(Path, study.get("backbone_tables", []))]
    named += [table.with_name("architectures.csv") for table in named[1:]]
    named += [Path(f) for f in study.get("report", {}).values() if isinstance(f, str)]
    recipes = study.get("recipes")
    named += sorted(Path(recipes).glob("*.yaml")) if recipes else []
    named = [_no_link(_inside(path, "packed configs")) for path in named if path.is_file()]
    return list(dict.fromkeys(named))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python workflow_scripts/pack.py <config of a study>")
    try:
        main(sys.argv[1])
    except StudyError as error:
        sys.exit(f"error: {error}")
