#!/bin/bash
# The controller of a study as a job of its own, where login nodes kill long processes:
#   make controller STUDY=paper      or: sbatch profiles/slurm/controller.sh <config> [targets]
# Its name begins as those of its jobs do (slurm-jobname-prefix), so that a second one is refused.
#SBATCH --job-name=tokenscope_controller
#SBATCH --partition=cpu               # [site]
##SBATCH --account=my_project         # [site] who pays, with one #; else SBATCH_ACCOUNT is read
#SBATCH --time=1-00:00:00             # [site] when it is over, the same job goes on in the queue
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G                      # [site] delete it where memory comes with cores
#SBATCH --requeue
#SBATCH --signal=B:USR1@120           # two minutes before the end
#SBATCH --open-mode=append
#SBATCH --output=controller-%j.log
set -u
config=${1:?name the config of a study: sbatch profiles/slurm/controller.sh <config> [targets]}
shift
cd "${SLURM_SUBMIT_DIR:-.}" || exit
job=${SLURM_JOB_ID:?this is a job of Slurm: submit it with sbatch}

# A child in the background: the shell hears a signal at once, not when its child has ended.
run() { "$@" & child=$!; wait "$child"; }
# Killed, not told to end: then it would cancel its jobs. They live on, and the next start of this
# job waits for them before it goes on.
leave() { test -z "$child" || kill -KILL "$child"; }
again() {
  echo "The time of this job is nearly over: it goes on when Slurm starts it again."
  leave
  scontrol requeue "$job"
  exit
}
child=
trap again USR1
trap 'leave; exit 143' TERM           # put back into the queue: nothing of it may outlive it

run .venv/bin/python workflow_scripts/resume.py --wait || exit
.venv/bin/snakemake --unlock --configfile "$config"
run .venv/bin/snakemake --profile slurm --configfile "$config" -- "${@:-all}"
