"""Do weights files fit their architectures? Asked before a study is started.

``python -m tokenscope.backbones.fit`` reads pairs of spec and file as JSON and says what does not
fit, in a sentence.
"""

import json
import subprocess
import sys

from tokenscope.errors import StudyError
from tokenscope.paths import SCRIPTS


def check(pairs: list[tuple[dict, str]]) -> None:
    """Raise a StudyError unless each file fits the backbone that its spec describes.

    In a process of its own: to open weights takes torch, and turns the hub's client offline.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tokenscope.backbones.fit"], input=json.dumps(pairs), cwd=SCRIPTS,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise StudyError(lines[-1].removeprefix("StudyError: "))


def main() -> None:
    from tokenscope.backbones.loading import check_weights

    for spec, file in json.load(sys.stdin):
        check_weights(spec, file)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(f"StudyError: {error}")
