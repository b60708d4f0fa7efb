"""Pack what a laptop needs to draw the figures and write the report: tables, data, configs.

    python workflow_scripts/pack.py config/demo.yaml

Unpacked in a clone of the project (``tar xf paper.tar.gz``), ``make figure`` and ``make report``
work there without weights, images and tokens. Partial results are packed as they are.
"""

import sys
import tarfile
from pathlib import Path

import yaml

from tokenscope.errors import StudyError

# Below the folder of results; receipts of samples name the images that were skipped.
PARTS = ("tables", "figures/data", "receipts/sample")


def main(config):
    """Write ``<results>/<study>.tar.gz`` and print what is in it.

    Args:
        config: path of the study's config.

    Returns:
        path of the archive.

    Raises:
        StudyError: the config or its results are not there.
    """
    file = Path(config)
    if not file.is_file():
        raise StudyError(f"the config {file} does not exist")
    study = yaml.safe_load(file.read_text())
    results = Path(study["results"])
    packed = {part: _files(results / part) for part in PARTS}
    if not any(packed.values()):
        raise StudyError(f"{results} holds no tables and no figure data: run the study first")
    packed["configs"] = _configs(file, study)
    archive = results / f"{study['study']}.tar.gz"
    aside = Path(f"{archive}.partial")
    # Snakemake goes by times: they are kept to less than a second.
    with tarfile.open(aside, "w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as tar:
        for name in (name for files in packed.values() for name in files):
            tar.add(name)
    aside.replace(archive)
    for part, files in packed.items():
        size = sum(name.stat().st_size for name in files) / 1e6
        print(f"{part:16} {len(files):5} files {size:9.2f} MB")
    print(f"{archive}: {archive.stat().st_size / 1e6:.2f} MB")
    return archive


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _configs(file, study):
    """The config and the files it names that decide which figures there are."""
    named = [file, *map(Path, study.get("backbone_tables", []))]
    named += [table.with_name("architectures.csv") for table in named[1:]]
    named += [Path(f) for f in study.get("report", {}).values() if isinstance(f, str)]
    recipes = study.get("recipes")
    named += sorted(Path(recipes).glob("*.yaml")) if recipes else []
    return list(dict.fromkeys(path for path in named if path.is_file()))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except StudyError as error:
        sys.exit(f"error: {error}")
