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

from tokenscope.jobs import controllers
from tokenscope.jobs.squeue import PREFIX, Queued, ask


def processes(folder: Path) -> list[int]:
    """Process ids of controllers of this folder on this host, also of those that only begin."""
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


def alive(folder: Path, queued: list[Queued]) -> str:
    """A controller of this folder that lives, on whatever host, in words; empty where none does."""
    own = controllers.OWN_JOB
    for controller in controllers.read(folder):
        if controller.lives(queued):
            return controller.who()
    for job in queued:
        if job.controller and job.id != own:
            where = f"on {job.nodes}" if job.nodes else f"in the queue ({job.reason})"
            return f"the controller that was submitted as Slurm job {job.id}, {where}"
    return f"process {found[0]} on this host" if (found := processes(folder)) else ""


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
    parser.add_argument("--prefix", default=PREFIX, help="slurm-jobname-prefix (%(default)s)")
    parser.add_argument("--minutes", type=float, default=1440, help="longest wait (%(default)g)")
    args = parser.parse_args()
    folder = args.directory.resolve()
    queued = ask(folder, args.prefix)
    if lives := alive(folder, queued):
        sys.exit(
            f"{lives} still runs for {folder}: nothing was done. Leave it to its work (make status "
            f"shows it), or end it first; one that died silently is taken for dead "
            f"{controllers.SILENT / 60:.0f} minutes after its last heartbeat"
        )
    left = [job for job in queued if not job.controller]
    for job in left:
        print(job.id, job.state, job.reason, job.comment)
    print(f"{len(left)} jobs of earlier runs in {folder}", flush=True)  # a controller's log says it
    if left and args.cancel:
        subprocess.run(["scancel", *(job.id for job in left)], check=True, timeout=60)
    deadline = time.monotonic() + 60 * args.minutes
    while left and (args.cancel or args.wait):
        if time.monotonic() > deadline:
            break
        time.sleep(2)
        left = [job for job in ask(folder, args.prefix) if not job.controller]
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
