"""After the controller of a run on Slurm has died: find the jobs it left behind, then end them.

    python resume.py              # show the jobs of the runs in this folder
    python resume.py --wait       # let them finish, so that no work is lost
    python resume.py --cancel     # end them now; stores go on from their last whole chunk

When no job is left, `snakemake --unlock` and the command of the first run go on from there. A
second controller beside live jobs would submit each of them again: two jobs writing one output.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path


def jobs(folder: Path, prefix: str) -> list[list[str]]:
    """Jobs of the runs in a folder: id, state, reason, comment (rule and wildcards)."""
    command = ["squeue", "-h", "-u", str(os.getuid()), "-o", "%i|%T|%r|%j|%Z|%k"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    rows = [line.strip().split("|", 5) for line in answer.splitlines()]
    return [
        [number, state, reason, comment]
        for number, state, reason, name, place, comment in rows
        if name.startswith(f"{prefix}_") and Path(place).resolve() == folder
    ]


def controllers(folder: Path) -> list[int]:
    """Process ids of live controllers of this folder, as far as this host can see."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            in_folder = Path(os.readlink(process / "cwd")) == folder
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        # A job's own Snakemake, which has --mode, is seen here when the host is a node as well.
        program = "snakemake" in [Path(word).name for word in words[:3]] and "--mode" not in words
        if in_folder and program and state != "Z":
            processes.append(int(process.name))
    return processes


def main() -> None:
    """Show, wait for or cancel the jobs; the exit status is 1 while any are left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--wait", action="store_true", help="wait until the jobs have ended")
    action.add_argument("--cancel", action="store_true", help="cancel the jobs, wait until gone")
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="where snakemake was started"
    )
    parser.add_argument("--prefix", default="tokenscope", help="slurm-jobname-prefix (%(default)s)")
    parser.add_argument("--minutes", type=float, default=1440, help="longest wait (%(default)g)")
    args = parser.parse_args()
    folder = args.directory.resolve()
    if alive := controllers(folder):
        sys.exit(f"a controller still runs in {folder}: process {alive[0]}; nothing was done")
    left = jobs(folder, args.prefix)
    for job in left:
        print(*job)
    print(f"{len(left)} jobs of earlier runs in {folder}")
    if left and args.cancel:
        subprocess.run(["scancel", *(job[0] for job in left)], check=True, timeout=60)
    deadline = time.monotonic() + 60 * args.minutes
    while left and (args.cancel or args.wait):
        if time.monotonic() > deadline:
            break
        time.sleep(2)
        left = jobs(folder, args.prefix)
    if left:
        sys.exit(f"{len(left)} jobs are left: do not start another run here")
    if args.cancel or args.wait:
        print("no job is left; now: snakemake --unlock, then the command of the first run")


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        sys.exit(f"no Slurm here: {error.filename} is not installed")
    except subprocess.SubprocessError as error:
        sys.exit(f"Slurm did not answer: {getattr(error, 'stderr', None) or error}")
