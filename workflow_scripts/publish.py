"""Write what a data repository and a hub want of a study: pack, tables, card, licence, citation.

    python workflow_scripts/publish.py config/demo.yaml

Behind ``make publish``. All of it lies in ``<results>/publish``, to be looked through and uploaded
by hand; nothing is sent anywhere.
"""

import argparse
import hashlib
import json
import shutil
import sys

import pandas as pd

from tokenscope.errors import StudyError
from tokenscope.jobs.software import this_code
from tokenscope.packing import card
from tokenscope.packing.study_files import citation, pack
from tokenscope.paths import PROJECT, of_project
from tokenscope.report.contents import load
from tokenscope.verdicts import criteria

VERDICTS = "config/verdicts.yaml"


def main(config):
    """Write the folder and print what to do with it.

    Args:
        config: path of the study's config.

    Returns:
        path of the folder.

    Raises:
        StudyError: there is nothing to pack, or no verdicts yet.
    """
    study, archive, _ = pack(config)
    results = archive.parent
    tables = {path.stem: path for path in sorted((results / "tables").glob("*.csv"))}
    for name, how in (("verdicts", f"make report STUDY={study['study']}"), ("backbones", "run it")):
        if name not in tables:
            raise StudyError(f"{results}/tables/{name}.csv is not there: {how}, then publish")
    about = {"study": study["study"], **this_code()}
    cited = citation()
    rest_on = [file for name, file in tables.items() if name.startswith(("backbones", "bank"))]
    folder, aside = results / "publish", results / ".publish"
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "tables").mkdir(parents=True)
    for path in tables.values():
        shutil.copyfile(path, aside / "tables" / path.name)
    shutil.copyfile(archive, aside / archive.name)
    shutil.copyfile(PROJECT / "LICENSE", aside / "LICENSE")
    texts = {
        "README.md": card.card(
            about, cited, _text(tables["verdicts"]), _said(study),
            pd.concat(map(_text, rest_on)).fillna("").drop_duplicates(), list(tables),
        ),
        "CITATION.cff": card.citation_of(about, cited),
        "deposit.json": json.dumps(card.deposit(about, cited), indent=1) + "\n",
    }  # fmt: skip
    for name, text in texts.items():
        (aside / name).write_text(text, encoding="utf-8")
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(aside).as_posix()}"
        for path in sorted(aside.rglob("*"))
        if path.is_file()
    ]
    (aside / "checksums.sha256").write_text("\n".join(sums) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    print(f"{folder}: {len(sums) + 1} files. Look through README.md, then, as you like:")
    print(
        f"  a data repository: upload {archive.name}, README.md and CITATION.cff; deposit.json is"
    )
    print("    the record's metadata; write the DOI into CITATION.cff (commented lines)")
    print(f"  a hub: hf upload --repo-type dataset <name>/{about['study']} {folder}")
    print(f"Others then: make fetch FROM=<DOI or address> STUDY={about['study']}")
    return folder


def _text(file):
    """A table as it is written."""
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def _said(study):
    """What each statement says, by its id."""
    named = study.get("report", {}).get("verdicts", "") or of_project(VERDICTS)
    return {one.id: one.said for one in criteria.of(load(named, "verdicts.schema.yaml"))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write what a data repository and a hub want")
    parser.add_argument("config", help="YAML file of a study")
    try:
        main(parser.parse_args().config)
    except StudyError as error:
        sys.exit(f"publish: {error}")
