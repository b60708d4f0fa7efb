"""Run the script of one job alone, in this process: for breakpoints, profilers and second looks.

    python workflow_scripts/run_script.py \\
      results/demo/measures/norms/scenes/control/tiny/r0-content-10x.csv --config config/demo.yaml

Snakemake says which rule makes the file, and with which inputs and parameters; these inputs must
be there. What the script writes goes below ``results/alone/<study>``, under the names it has in the
study, which stays as it is. Run from the project's root.
"""

import argparse
import asyncio
import os
import runpy
import shutil
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.dag import DAG
from snakemake.exceptions import RuleException, WorkflowError
from snakemake.iocontainers import Log, OutputFiles, Params, Snakemake
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)

from tokenscope.errors import StudyError

# Parameters that name a place to write to: unfinished work, and what was seen of a data set.
WRITTEN = ("partial", "record")


def main(target: str, config: str, into: str = "", in_place: bool = False) -> dict:
    """Run the script behind one file.

    Args:
        target: a file that a rule of the workflow makes, as Snakemake would be given it.
        config: the study's config file.
        into: folder that takes the place of the study's results; ``results/alone/<study>``
            without it.
        in_place: write over the study's own files instead, as Snakemake does. It keeps no record
            of that: what depends on these files is made again by the next run.

    Returns:
        the script's global names, as it leaves them.

    Raises:
        StudyError: no script makes the target, or an input is missing.
    """
    for file in ("Snakefile", config):
        if not Path(file).is_file():
            raise StudyError(f"there is no {file} here: run this from the project's root")
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        job, script, settings = _job_of(api, target, config)
        if lacking := [path for path in job.input if not Path(path).exists()]:
            raise StudyError(
                f"rule {job.rule.name} needs {lacking[0]}, which is not there "
                f"({len(lacking)} of {len(job.input)} inputs are missing): make them first"
            )
        results = settings["results"]
        scratch = into or Path("results", "alone", settings["study"])
        context = _context(job, settings, results, results if in_place else scratch)
    _prepare(context)
    print(f"rule {context.rule}: {script} writes to", *context.output, sep="\n  ")
    return runpy.run_path(script, init_globals={"snakemake": context}, run_name="__main__")


def _job_of(api, target, config):
    """Snakemake's job that makes a file, the path of its script, and the study's whole config."""
    configs = ConfigSettings(configfiles=[Path(config)], config={"forecast": "none"})
    resources = ResourceSettings(cores=os.cpu_count())
    try:
        workflow = api.workflow(resource_settings=resources, config_settings=configs)._workflow
        workflow.dag_settings = DAGSettings()
        # Rules alone: the graph behind the target is neither built nor looked at.
        dag = workflow._dag = DAG(workflow, workflow.rules, targetfiles=set(), targetrules=set())
        jobs = asyncio.run(dag.file2jobs(target))
    except (RuleException, WorkflowError) as error:
        raise StudyError(f"Snakemake cannot make {target}: {error}") from error
    names = [job.rule.name for job in jobs]
    if len(jobs) > 1 or not jobs[0].rule.script:
        raise StudyError(f"{target} comes from {' or '.join(names)}: not from one script")
    rule = jobs[0].rule
    script = rule.basedir.join(rule.script).get_path_or_uri(secret_free=True)
    return jobs[0], os.path.relpath(script), workflow.config


def _context(job, settings, results, folder):
    """The object ``snakemake`` of a script, whose outputs lie in ``folder``, not in ``results``."""

    def moved(path):
        return str(Path(folder, Path(path).relative_to(results)))

    params = dict(job.params.items())
    for name in params.keys() & set(WRITTEN):
        params[name] = moved(params[name])
    return Snakemake(
        job.input,
        OutputFiles(toclone=job.output, custom_map=moved),
        Params(fromdict=params),
        job.wildcards,
        job.threads,
        job.resources,
        Log(toclone=job.log, custom_map=moved),
        settings,
        job.rule.name,
        None,
    )


def _prepare(context):
    """Folders to write to, and nothing left there of an earlier run, as Snakemake does it."""
    for path in map(Path, [*context.output, *context.log]):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", help="a file that a rule of the workflow makes")
    parser.add_argument("--config", default="config/config.yaml", help="the study's config")
    parser.add_argument("--into", default="", help="folder to write to")
    parser.add_argument("--in-place", action="store_true", help="write over the study's files")
    try:
        main(**vars(parser.parse_args()))
    except StudyError as error:
        sys.exit(f"error: {error}")
