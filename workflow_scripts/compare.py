"""Put many diagnoses into one table: a page and a CSV. Needs no torch.

    python workflow_scripts/compare.py mine another results/diagnose-third --to results/compare

Behind `make compare`. Each is a name of `make diagnose`, a folder, or a `diagnosis.json`; without
any it takes all below results/.
"""

import argparse
import sys
from pathlib import Path

from tokenscope.diagnosis import many
from tokenscope.errors import StudyError
from tokenscope.kinds.answers import KINDS, NO, NOT_ABOUT, UNDECIDED, YES
from tokenscope.paths import SCRIPTS
from tokenscope.report.html import render
from tokenscope.tables import tidy

ANSWERS = (YES, NO, UNDECIDED, NOT_ABOUT)


def main(given, to):
    """Write ``index.html`` and ``table.csv``; returns the page.

    Args:
        given: names, folders or files of diagnoses; none: all below results/.
        to: folder to write into.

    Raises:
        StudyError: a diagnosis that is not there, damaged, or of another version.
    """
    frame = many.table(many.find(given))
    head, lines = many.lines(frame)
    page, templates = Path(to, "index.html"), SCRIPTS / "templates"
    tidy.write(frame, Path(to, "table.csv"))
    render(
        templates / "compare.html", page, style=(templates / "style.css").read_text(), head=head,
        lines=lines, backbones=frame.to_dict("records"), answers=ANSWERS,
        kinds={kind: KINDS[kind] for kind in many.kinds_in(frame) if kind in KINDS},
    )  # fmt: skip
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Many diagnoses, one table")
    parser.add_argument("given", nargs="*", help="names, folders or files of diagnoses")
    parser.add_argument("--to", default="results/compare", help="folder of the page and the CSV")
    options = parser.parse_args()
    try:
        written = main(options.given, options.to)
    except StudyError as error:
        sys.exit(f"error: {error}")
    print(f"The page: {written}\nThe table: {written.with_name('table.csv')}")
