"""A word at the end of a run, by whatever command a person has named: mail, a web hook."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence

COMMAND = "TOKENSCOPE_AT_END"  # a shell command; what is said comes on its standard input
SECONDS = 60
_BEGUN = time.monotonic()


def tell(study: str, outcome: str, remarks: Sequence[str] = ()) -> None:
    """Run the command of the environment, if there is one; nothing that goes wrong ends the run.

    Args:
        outcome: finished or failed. remarks: sentences on what went wrong.
    """
    if not (command := os.environ.get(COMMAND)):
        return
    hours = (time.monotonic() - _BEGUN) / 3600
    lines = [
        f"Study {study} has {outcome} on {platform.node()}, after {hours:.1f} hours.",
        *remarks,
    ]
    try:
        done = subprocess.run(
            command, shell=True, input="\n".join(lines) + "\n", text=True, timeout=SECONDS,
            capture_output=True,
        )  # fmt: skip
        problem = done.stderr.strip()[-300:] if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        print(f"{COMMAND} did not work: {problem}", file=sys.stderr)
