# What a job asks for, and the code it stands on.
from tokenscope import planning
from tokenscope.cost import memory_model, time_limit
from tokenscope.paths import LIBRARY
import snakemake.common
import snakemake.dag
import snakemake.rules
import snakemake.workflow

planning.remember_signatures((snakemake.common, snakemake.rules))
planning.find_by_suffix(snakemake.dag)
planning.look_once(getattr(snakemake.workflow, "JobScheduler", None))


def code(*scripts, reads=()):
    """Parameter that changes when these files change, the library code behind them, or files of
    the project that they read: such inputs are ``ancient``, a clone dates them anew.

    A function, so that a job on a node, which parses all rules, reads the code of one of them.
    """
    return lambda wildcards: planning.hash_of(*map(script_file, scripts), *map(Path, reads))


def counted_by(script):
    """The code that kept counts name as theirs: the library alone."""
    return lambda wildcards: planning.counted_by(script_file(script))


def script_file(name):
    # The library of an installed package does not lie beside its scripts.
    return Path(LIBRARY.parent if name.startswith("tokenscope/") else SCRIPTS, name)


def gpu(wildcards=None):
    """GPUs of a job that runs a backbone."""
    return int(STUDY.gpu)


def minutes(rule):
    """Reserved minutes by the cost model, twice the expectation, more on each attempt."""
    return lambda wildcards, threads, attempt: time_limit.minutes(
        STUDY, rule, wildcards, threads, attempt
    )


def megabytes(rule):
    """Reserved host memory in MB by tokenscope.cost.memory_model, more on each attempt."""
    return lambda wildcards, threads, attempt: memory_model.megabytes(
        STUDY, rule, wildcards, threads, attempt
    )


def check_site():
    """Refuse to start jobs that the site's Slurm would refuse, or in an image that is not there."""
    try:
        before_start.check_image(workflow)
        before_start.check(workflow)
    except StudyError as error:
        raise WorkflowError(str(error))
