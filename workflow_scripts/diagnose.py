"""Diagnose a backbone: write the study that answers the question, and run it.

    python workflow_scripts/diagnose.py --model vit_base_patch16_224.dino --images my/photographs

A thin front to the workflow: what it writes is a config and a table of backbones like any other,
in ``results/diagnose-<name>``; what runs is the Snakemake command that it prints.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tokenscope.config_file.references import check_word
from tokenscope.diagnosis import setup
from tokenscope.errors import StudyError
from tokenscope.paths import snakemake
from tokenscope.study.paths import Paths

CACHE = "results/weights"


def prepare(options) -> str:
    """Check what was given and write the study; returns its config file.

    Raises:
        StudyError: images or a backbone that are not there or not usable.
    """
    check_word("BAD", options.bad, ("fail", "skip"))
    images = setup.Images.of(options.images)
    models = [setup.Model.of(options.model, options.arch, CACHE)]
    if options.against:
        other = setup.Model.of(options.against, options.against_arch or options.arch, CACHE)
        models.append(other)
    facts = setup.facts_of(models, CACHE)
    rows = setup.rows_of(models, facts, options.classes)
    setup.check_weights(rows, facts, options.weights, CACHE)
    name = options.name or "-against-".join(model.name for model in models)
    wanted = f"results/diagnose-{re.sub('[^A-Za-z0-9_-]+', '-', name)}"
    results = setup.own_folder(wanted, rows, images)
    if results != wanted:
        print(f"{wanted} is of other images or weights and stays; this one goes to {results}")
    settings = {"device": options.device, "batch": options.batch, "weights": options.weights,
                "threads": cores(), "bad": options.bad}  # fmt: skip
    config = setup.config_of(results, rows, facts, images, settings)
    Path(results).mkdir(parents=True, exist_ok=True)
    setup.write_tables(results, rows, facts)
    file = Path(results, "study.yaml")
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    for row in rows:
        if row["note"]:
            print(f"note: {row['note']}")
    if images.files > setup.MOST_IMAGES:
        print(f"{images.files:,} images: a seeded sample of {setup.MOST_IMAGES} is used")
    return str(file)


def cores() -> int:
    """Cores that this process may use; macOS and Windows know only how many there are."""
    may = getattr(os, "sched_getaffinity", None)
    return len(may(0)) if may else os.cpu_count() or 1


def failures(results: Path, since: float) -> list[str]:
    """What jobs that failed after a moment say was wrong, a sentence each."""
    sentences = []
    for log in sorted(results.glob("logs/**/*.log")):
        if log.stat().st_mtime >= since:
            lines = log.read_text(errors="replace").splitlines()
            said = [line.partition("error: ")[2] for line in lines if "] error: " in line]
            sentences += [_in_own_words(sentence) for sentence in said]
    return list(dict.fromkeys(sentences))


def _in_own_words(sentence: str) -> str:
    """A job's sentence in the words of `make diagnose`: of files, not of tables of a study."""
    return sentence.replace(
        "or name a file in the column 'weights' of the backbone's row",
        "name their folder (WEIGHTS=), or give a file (MODEL=<file> ARCH=<timm id>)",
    ).replace("set on_bad_image: skip to go on", "say BAD=skip to go on")


def left_out(results: Path) -> list[str]:
    """The images that could not be read, a sentence each."""
    receipt = Path(Paths(str(results)).receipt("sample", setup.DATASET))
    return [image["problem"] for image in json.loads(receipt.read_text())["skipped"]]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description="Does this backbone have artifacts?")
    parser.add_argument("--model", required=True, help="timm id, weights file, or HF folder")
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument("--arch", default="", help="timm id of a weights file's architecture")
    parser.add_argument("--against", default="", help="a second backbone, compared on the images")
    parser.add_argument("--against-arch", default="", help="its architecture, if another")
    parser.add_argument("--weights", help="folder with <timm id>/model.safetensors, if offline")
    parser.add_argument("--name", default="", help="of the result, else that of the model")
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--classes", default="", help="list of the classes of its own head")
    parser.add_argument("--bad", default="fail", help="broken images: fail, or skip")
    options = parser.parse_args(arguments)
    try:
        file = prepare(options)
    except StudyError as error:
        print(f"diagnose: {error}", file=sys.stderr)
        return 1
    command = [*snakemake(), "--configfile", file, "--", "diagnose"]
    print(" ".join(command), flush=True)
    results = Path(file).parent
    begun = results.joinpath("study.yaml").stat().st_mtime
    if status := subprocess.run([sys.executable, "-m", *command]).returncode:
        for sentence in failures(results, begun):
            print(f"diagnose: {sentence}", file=sys.stderr)
        return status
    for problem in left_out(results):
        print(f"left out: {problem}")
    for file in sorted(results.glob(f"figures/data/diagnosis/{setup.DATASET}/*/*/*.json")):
        print(f"{file.parent.name}: {json.loads(file.read_text())['sentence']}")
    print(f"The page: {Paths(str(results)).page()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
