# What a job asks for, and the code it stands on.
from tokenscope.code_hash import code_hash
from tokenscope.cost import memory_model, time_model
from tokenscope.paths import LIBRARY


def code(*scripts):
    """Parameter that changes when the library code behind these files changes.

    A function, so that a job on a node, which parses all rules, reads the code of one of them.
    """
    # The library of an installed package does not lie beside its scripts.
    files = [Path(LIBRARY.parent if s.startswith("tokenscope/") else SCRIPTS, s) for s in scripts]
    return lambda wildcards: code_hash(*files)


def gpu(wildcards=None):
    """GPUs of a job that runs a backbone."""
    return int(STUDY.gpu)


def minutes(rule):
    """Reserved minutes by the cost model, twice the expectation, more on each attempt."""
    return lambda wildcards, threads, attempt: time_model.minutes(
        STUDY, rule, wildcards, threads, attempt
    )


def megabytes(rule):
    """Reserved host memory in MB by tokenscope.cost.memory_model, more on each attempt."""
    return lambda wildcards, threads, attempt: memory_model.megabytes(
        STUDY, rule, wildcards, threads, attempt
    )


def check_site():
    """Refuse to start jobs that the site's Slurm would refuse."""
    try:
        before_start.check(workflow)
    except StudyError as error:
        raise WorkflowError(str(error))
