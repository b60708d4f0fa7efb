"""The start of a run on Slurm: what is wrong of a site's settings is told before any job is."""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from tokenscope.cluster import partitions, refusals, requests
from tokenscope.cluster.profile import Profile
from tokenscope.cluster.refusals import Problem
from tokenscope.errors import StudyError
from tokenscope.paths import of_project

NOTE = "TOKENSCOPE_REQUESTS"  # names a file in which a dry run notes its requests: make doctor


def on_slurm(workflow) -> bool:
    """Whether Snakemake submits jobs by its Slurm plugin."""
    settings = type(workflow.executor_settings).__module__
    return workflow.nodes is not None and settings.startswith("snakemake_executor_plugin_slurm")


def found(workflow, settings=None) -> list[Problem]:
    """What Slurm would refuse: of first attempts, and of last ones, which ask for more.

    Raises:
        StudyError: Slurm does not answer.
    """
    retries = int(workflow.execution_settings.retries or 0)
    last = requests.of_run(workflow, retries + 1)
    if not last:
        return []
    profile, have = Profile.of_command(sys.argv), partitions.ask()
    later = refusals.problems(last, have, profile, settings)
    if not (later and retries):
        return later
    now = refusals.problems(requests.of_run(workflow), have, profile, settings)
    changes = {problem.change for problem in now}
    return [*now, *(replace(p, late=True) for p in later if p.change not in changes)]


def check(workflow) -> None:
    """Refuse to start a run whose jobs Slurm would refuse; say what of later attempts it would.

    Raises:
        StudyError: what is wrong, a line each, with the setting to change.
    """
    if not on_slurm(workflow):
        return
    told = found(workflow, workflow.executor_settings)
    for problem in told:
        if problem.late:
            print(f"remark: {problem}", file=sys.stderr)
    if wrong := [str(problem) for problem in told if not problem.late]:
        raise StudyError("\n".join(["Slurm would refuse these jobs; none was submitted.", *wrong]))


def check_image(workflow) -> None:
    """Refuse to start jobs in an image that nobody has built.

    Raises:
        StudyError: which, and how it is built.
    """
    if "apptainer" not in map(str, workflow.deployment_settings.deployment_method):
        return
    for image in workflow.dag.container_imgs.values():
        if image.is_local and not Path(image.path).is_file():
            raise StudyError(
                f"jobs are to run in the image {image.path}, which is not there: apptainer build "
                f"{image.path} {of_project('envs/tokenscope.def')}, or take "
                "software-deployment-method out of the profile"
            )


def note(workflow, results: str) -> None:
    """At the end of a dry run: what its jobs would ask for, where :data:`NOTE` names a file."""
    if not (file := os.environ.get(NOTE)) or workflow.dag is None:
        return
    last = int(workflow.execution_settings.retries or 0) + 1
    asked = {
        name: [asdict(request) for request in requests.of_run(workflow, attempt)]
        for name, attempt in (("first", 1), ("last", last))
    }
    Path(file).write_text(json.dumps(asked | {"results": results}))
