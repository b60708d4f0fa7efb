"""Check every store, receipt and weights file of a study against the checksums of its writing.

    python workflow_scripts/verify.py config/demo.yaml [--mend]

Behind `make verify`; of a study that was fetched, every file that was packed. Prints what is
damaged; with --mend it is taken away, and the next run makes it anew: of a store in which chunks
alone are damaged only these.
"""

import argparse
import sys
from pathlib import Path

from tokenscope.config_file import strict_yaml
from tokenscope.errors import StudyError
from tokenscope.packing.archive import LIST
from tokenscope.packing.unpacking import compare
from tokenscope.stores.mending import mend
from tokenscope.stores.verification import verify


def main(config, mended=False):
    """Print the faults of a study and return how many there are left.

    Args:
        config: path of the study's config.
        mended: whether what is damaged is taken away.
    """
    results = strict_yaml.load(config)["results"]
    found = verify(results)
    fetched, changed = compare(Path(results))
    for fault in [fault.what for fault in found.faults] + changed:
        print(fault)
    what = f"{found.stores} stores, {found.files:,} files, {found.gigabytes:.2f} GB of {results}"
    if fetched:
        what = f"{fetched:,} files as they were packed" + (f"; {what}" if found.stores else "")
    if changed:
        print(
            f"{len(changed)} of {fetched:,} files of the pack are others now. Where the study was "
            f"run here since it was fetched that is so: delete {results}/{LIST} then."
        )
    if not (found.faults or found.stores or fetched):
        print(f"{results}: holds nothing to compare, no store and no list of a pack.")
        return 0
    if not found.faults:
        print(f"Whole: {what}." if not changed else "Everything else is whole.")
        return len(changed)
    count = len(found.faults)
    print(f"{count} fault{'s' * (count > 1)} in {what}.")
    if not mended:
        print(f"To have that made again: make verify CONFIG={config} MEND=yes takes away")
        for path in dict.fromkeys(path for fault in found.faults for path in fault.remove):
            print(f"    {path}")
        print("(of a store whose chunks alone are damaged, only these), and the next run makes it.")
        return count + len(changed)
    print("\n".join(mend(found.faults)))
    print("The next run makes that again.")
    return len(changed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Is everything still what was written?")
    parser.add_argument("config", help="YAML file of a study")
    parser.add_argument("--mend", action="store_true", help="take away what is damaged")
    options = parser.parse_args()
    try:
        sys.exit(1 if main(options.config, options.mend) else 0)
    except StudyError as error:
        sys.exit(f"error: {error}")
