"""Say in seconds whether a config would run, what it would cost, and what it needs.

    python workflow_scripts/check.py config/demo.yaml

Behind `make check`. Nothing is computed: a file that is no YAML is answered here, the rest is a dry
run, and at its end all that the study reads and that is not on this machine.
"""

import argparse
import subprocess
import sys

from tokenscope.config_file import strict_yaml
from tokenscope.config_file.lines import Source
from tokenscope.errors import StudyError
from tokenscope.paths import snakemake


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
    lacking = [line for line in lines if line.startswith("not here: ")]
    if lacking:
        print(f"It would not run on this machine: {len(lacking)} of what it reads is not here.")
        return 1
    print(f"{options.config} would run: make study CONFIG={options.config}")
    return 0


def _told(text: str) -> str:
    """What Snakemake printed, without its own remarks on how it was called."""
    remarks = ("Using profile", "Assuming", "Config file", "Building DAG")
    return "\n".join(line for line in text.splitlines() if not line.startswith(remarks)).strip()


if __name__ == "__main__":
    sys.exit(main())
