"""Where a study stands: hours done and to do, what runs, what failed and why, who controls it.

    python workflow_scripts/status.py config/config.yaml [--watch=60]

Behind `make status`, beside a controller or without one. Prints a page and writes the same as
`<results>/accounting/status.json`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from tokenscope.config_file import strict_yaml
from tokenscope.errors import StudyError
from tokenscope.status.summary import as_json, look
from tokenscope.status.text import lines

FILE = "accounting/status.json"


def main(config, most=20):
    """Print the status of a study once, and write it.

    Args:
        config: path of the study's config.
        most: jobs and attempts that are printed of each kind.

    Raises:
        StudyError: the config names no study.
    """
    if not Path(config).is_file():
        raise StudyError(f"the config {config} does not exist")
    study = strict_yaml.load(config)
    status = look(study["study"], study["results"])
    text = "\n".join(lines(status, most))
    if status.jobs:
        file = Path(study["results"], FILE)
        aside = file.with_suffix(".new")
        aside.write_text(json.dumps(as_json(status), indent=1))
        aside.replace(file)
        text += f"\n\nAll of it: {file}"
    print(text, flush=True)


def watch(config, seconds, most):
    """Print it again and again, until somebody stops it."""
    while True:
        print("\033[2J\033[H", end="")
        main(config, most)
        time.sleep(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config of a study")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="print it every so often")
    parser.add_argument("--most", type=int, default=20, help="jobs of a kind (%(default)s)")
    args = parser.parse_args()
    if args.watch is not None and not args.watch >= 1:
        sys.exit(f"error: WATCH={args.watch:g}: give seconds, at least 1")
    try:
        watch(args.config, args.watch, args.most) if args.watch else main(args.config, args.most)
    except StudyError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(0)
