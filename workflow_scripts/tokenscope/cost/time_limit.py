"""Time limits: how many minutes a job asks for."""

import math

from tokenscope.cost.time_model import MODEL, Job
from tokenscope.study.study import Study

REQUEST = 2  # time asked for, in expectations


def minutes(study: Study, rule: str, wildcards, threads: int = 1, attempt: int = 1) -> int:
    """Minutes to request: twice the expectation, whole ones, more on each attempt.

    ``requests: minimum_minutes`` is the least a site's noise (a cold file system) allows for,
    ``longest_minutes`` the most that the site grants, whatever the attempt.
    """
    seconds = MODEL[rule][0](Job(study, rule, dict(wildcards.items()), threads))
    least = study.config["requests"]["minimum_minutes"]
    return granted(study, max(least, math.ceil(REQUEST * seconds / 60)) * attempt)


def granted(study: Study, minutes: int) -> int:
    """So many minutes, or the most that the site grants a job."""
    return int(min(minutes, study.config["requests"].get("longest_minutes") or math.inf))
