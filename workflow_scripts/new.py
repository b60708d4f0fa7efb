"""Write a study of one's own, commented, that runs as it is: a config and a table of backbones.

    python workflow_scripts/new.py --name mine --model vit_base_patch16_224.dino --images photos

Behind `make new`. The study lies in ``studies/<name>``; nothing is run, and nothing written over.
"""

import argparse
import re
import sys
from pathlib import Path

from tokenscope.config_file.references import check_word
from tokenscope.diagnosis import setup
from tokenscope.diagnosis.new_study import text_of
from tokenscope.errors import StudyError

CACHE = "results/weights"


def write(options) -> str:
    """Check what was given and write the study; returns its config file.

    Raises:
        StudyError: a study of that name, images or a backbone that are not there or not usable.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", options.name):
        raise StudyError(f"NAME={options.name}: make it of letters, digits, _ and - alone")
    folder = Path("studies", options.name)
    if folder.exists():
        raise StudyError(f"NAME={options.name}: {folder} is there already; take another name")
    check_word("BAD", options.bad, ("fail", "skip"))
    images = setup.Images.of(options.images)
    model = setup.Model.of(options.model, options.arch, CACHE)
    facts = setup.facts_of([model], CACHE)
    rows = setup.rows_of([model], facts)
    setup.check_weights(rows, facts, options.weights, CACHE)
    folder.mkdir(parents=True)
    setup.write_tables(folder, rows, facts)
    file = folder / "study.yaml"
    given = (options.name, str(folder), rows[0], images, facts[0], options.weights, options.bad)
    file.write_text(text_of(*given))
    if rows[0]["note"]:
        print(f"note: {rows[0]['note']}")
    return str(file)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description="Write a study of your own")
    parser.add_argument("--name", required=True, help="of the study")
    parser.add_argument("--model", required=True, help="timm id, weights file, or HF folder")
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument("--arch", default="", help="timm id of a weights file's architecture")
    parser.add_argument("--weights", default="", help="folder with <timm id>/model.safetensors")
    parser.add_argument("--bad", default="fail", help="broken images: fail, or skip")
    options = parser.parse_args(arguments)
    try:
        file = write(options)
    except StudyError as error:
        print(f"new: {error}", file=sys.stderr)
        return 1
    print(f"Written: {file}, with its table {Path(file).parent}/backbones.csv")
    print(f"Next: make check CONFIG={file}, then make study CONFIG={file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
