"""Check every store, receipt and weights file of a study against the checksums of its writing.

    python workflow_scripts/verify.py config/demo.yaml

Behind `make verify`. Prints what is damaged, and what to remove so that the next run makes it anew.
"""

import shlex
import sys

from tokenscope.config_file import strict_yaml
from tokenscope.errors import StudyError
from tokenscope.stores.verification import verify


def main(config):
    """Print the faults of a study and return how many there are.

    Args:
        config: path of the study's config.
    """
    results = strict_yaml.load(config)["results"]
    found = verify(results)
    for fault in found.faults:
        print(fault.what)
    what = f"{found.stores} stores, {found.files:,} files, {found.gigabytes:.2f} GB of {results}"
    if not found.faults:
        print(f"Whole: {what}.")
        return 0
    remove = dict.fromkeys(path for fault in found.faults for path in fault.remove)
    count = len(found.faults)
    print(f"{count} fault{'s' * (count > 1)} in {what}. To have that made again, remove and run:")
    print(f"    rm -r {' '.join(map(shlex.quote, remove))}")
    return count


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python workflow_scripts/verify.py <config of a study>")
    try:
        sys.exit(1 if main(sys.argv[1]) else 0)
    except StudyError as error:
        sys.exit(f"error: {error}")
