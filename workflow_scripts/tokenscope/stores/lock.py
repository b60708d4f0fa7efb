"""The lock of unfinished work: a folder has one owner, and a successor takes the ownership over.

Two jobs may work on one thing when a node is given up for lost while its job runs on. The folder
therefore carries its owner in its name, and a successor takes over by renaming it: from then on
the old job writes into nothing, notices, and ends. The rename is the lock; there is no clock and no
lock file.
"""

import glob
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from tokenscope.errors import Superseded


def claim(partial: str | Path, fingerprint: str, fill: Callable[[Path], None]) -> Path:
    """A folder of this job's own, beside ``partial``: what an earlier attempt left, or a new one.

    An earlier attempt is continued if its fingerprint (weights, images, settings, code) is the
    same, and removed otherwise. ``fill`` prepares a new folder.
    """
    partial = Path(partial)
    job = os.environ.get("SLURM_JOB_ID", str(os.getpid()))
    own = partial.with_name(f"{partial.name}.{job}-{secrets.token_hex(4)}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    for closed in partial.parent.glob(f"closed-{glob.escape(partial.name)}.*"):
        shutil.rmtree(closed, ignore_errors=True)  # its job died while it moved its work
    for left in sorted(partial.parent.glob(f"{glob.escape(partial.name)}.*")):
        mark = left / "fingerprint"
        same = mark.exists() and mark.read_text() == fingerprint
        if same and not own.exists():
            os.rename(left, own)
        else:
            shutil.rmtree(left, ignore_errors=True)
    if not own.exists():
        # Made under another name: a folder that successors can see is complete.
        new = own.with_name(f"new-{own.name}")
        new.mkdir()
        fill(new)
        (new / "fingerprint").write_text(fingerprint)
        os.rename(new, own)
    return own


def check(folder: Path, what: str | Path) -> None:
    """Raise Superseded when a successor has renamed ``folder``."""
    if not (folder / "fingerprint").exists():
        # A library may have made the folder anew when it wrote into nothing.
        shutil.rmtree(folder, ignore_errors=True)
        raise Superseded(f"{what}: another job has taken over; this one leaves it alone")
