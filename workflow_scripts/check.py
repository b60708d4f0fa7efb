"""Say in seconds whether a config would run, what it would cost, and what it needs.

    python workflow_scripts/check.py config/demo.yaml

Behind `make check`. Nothing is computed: a file that is no YAML is answered here, the rest is a dry
run, and at its end all that the study reads and that is not on this machine. One's own weights are
opened, to see whether they fit.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tokenscope.backbones import fit
from tokenscope.cards import hub_folder
from tokenscope.config_file import needs, project_files, strict_yaml
from tokenscope.config_file.answers import Answers
from tokenscope.config_file.lines import Source
from tokenscope.errors import StudyError, some
from tokenscope.paths import snakemake
from tokenscope.study.study import Study


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description="Would this config run?")
    parser.add_argument("config", help="YAML file of a study")
    parser.add_argument("--profile", default="profiles/local", help="where it would run")
    parser.add_argument("--syntax", action="store_true", help="look at the file alone")
    options = parser.parse_args(arguments)
    try:
        Source(options.config).content()  # first: it says more of what is no YAML
        strict_yaml.load(options.config)
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    if options.syntax:
        return 0
    command = [*snakemake(options.profile), "-n", "--configfile", options.config]
    dry = subprocess.run(
        [sys.executable, "-m", *command, "--config", "check=True", "--", "all"],
        capture_output=True, text=True,
    )  # fmt: skip
    if dry.returncode:
        print(_told(dry.stderr) or _told(dry.stdout), file=sys.stderr)
        return dry.returncode
    lines = dry.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Forecast of")), len(lines))
    print("\n".join(lines[start:]))
    lacking = sum(line.startswith("not here: ") for line in lines)
    if lacking:
        print(f"It would not run on this machine: {lacking} of what it reads is not here.")
        return 1
    try:
        check_weights(options.config)
    except StudyError as error:
        print(f"It would not run on this machine:\n{error}")
        return 1
    print(f"{options.config} would run: make study CONFIG={options.config}")
    return 0


def check_weights(config: str) -> None:
    """Whether a study's own weights files fit, and whether released ones are here or can be had.

    Raises:
        StudyError: all that is wrong with them, a line each.
    """
    answers = Answers([config])
    study = answers.study(strict_yaml.load(config), lambda c: Study(project_files.find(c)))
    own = [row for row in study.rows.values() if Path(row.weights).is_file() and not row.attached]
    repos = [repo for row in study.rows.values() if (repo := needs.fetched(study, row))]
    absent = [repo for repo in repos if not hub_folder.kept(repo)]
    told = []
    if absent and (why := hub_folder.why_not(absent[0])):
        told.append(
            f"weights: {some(absent, 3)}: to be fetched, and {why}; put them into "
            f"{study.config['weights']['folder'] or study.config['weights']['cache']} "
            "(<timm id>.safetensors), or name their folder in weights: folder"
        )
    try:
        remarks = fit.check([(row.spec, str(Path(row.weights).resolve())) for row in own])
        for row, remark in zip(own, remarks, strict=True):
            if remark:
                print(f"note: {row.key}: {remark}")
    except StudyError as error:
        told += str(error).splitlines()
    if told:
        raise StudyError(answers.located("\n".join(told)))


def _told(text: str) -> str:
    """What Snakemake printed, without its own remarks on how it was called."""
    remarks = ("Using profile", "Assuming", "Config file", "Building DAG")
    return "\n".join(line for line in text.splitlines() if not line.startswith(remarks)).strip()


if __name__ == "__main__":
    sys.exit(main())
