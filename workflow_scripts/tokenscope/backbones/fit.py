"""Do weights files fit their architectures? Asked before a study is started.

``python -m tokenscope.backbones.fit`` reads pairs of spec and file as JSON and says what does not
fit, in a sentence.
"""

import json
import subprocess
import sys

from tokenscope.errors import StudyError
from tokenscope.paths import SCRIPTS

MARK = "StudyError: "


def check(pairs: list[tuple[dict, str]]) -> None:
    """Raise a StudyError, a line a file, unless each fits the backbone that its spec describes.

    In a process of its own: to open weights takes torch, and turns the hub's client offline.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tokenscope.backbones.fit"], input=json.dumps(pairs), cwd=SCRIPTS,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        told = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
        raise StudyError("\n".join(told or lines[-1:]))


def main() -> None:
    from tokenscope.backbones.loading import check_weights

    unfit = []
    for spec, file in json.load(sys.stdin):
        try:
            check_weights(spec, file)
        except StudyError as error:
            unfit.append(f"{MARK}{error}")
    if unfit:
        sys.exit("\n".join(unfit))


if __name__ == "__main__":
    main()
