"""What a config names must be there: a place for results, the data sets that sections speak of."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tokenscope.config_file.project_files import NAMED
from tokenscope.config_file.schema_words import one_of
from tokenscope.errors import StudyError, nearest
from tokenscope.paths import of_project


def check_results(config: dict) -> None:
    """``results`` can be written to.

    Raises:
        StudyError: it cannot.
    """
    results = config["results"].rstrip("/")
    place = next(p for p in (Path(results), *Path(results).parents) if p.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise StudyError(f"results: '{results}': {place} is no folder one can write to")


def check_word(key: str, word: str, words: Sequence[str]) -> None:
    """A key, or a variable of make, is one of a few words.

    Raises:
        StudyError: it is another.
    """
    if word not in words:
        raise StudyError(f"{key}={word}: it must be {one_of(words)}{nearest(word, words)}")


def check_files(config: dict) -> None:
    """Files and folders of the project that a config names instead of the usual ones are there.

    Raises:
        StudyError: some are not, a line each.
    """
    absent = []
    for place in NAMED:
        named: object = config
        for key in place:
            named = named.get(key) if isinstance(named, dict) else None
        if (
            isinstance(named, str)
            and not Path(of_project(named)).exists()
            and not Path(named).exists()
        ):
            beside = (
                Path(named).parent if Path(named).parent.is_dir() else Path(of_project("config"))
            )
            near = nearest(str(named), [str(file) for file in beside.iterdir()])
            absent.append(f"{': '.join(place)}: there is no '{named}'{near}")
    if absent:
        raise StudyError("\n".join(absent))


def check_analysed(config: dict) -> None:
    """``analyse`` names data sets of the config.

    Raises:
        StudyError: it is empty, or names another.
    """
    if not config["analyse"]:
        raise StudyError("analyse: is empty")
    for name in config["analyse"]:
        if name not in config["datasets"]:
            have = ", ".join(config["datasets"])
            near = nearest(name, config["datasets"])
            raise StudyError(f"analyse: '{name}' is no data set of this study, only: {have}{near}")


def check_among(key: str, name: str, analysed: list[str]) -> None:
    """A key names an analysed data set.

    Raises:
        StudyError: it names another.
    """
    if name not in analysed:
        have, near = ", ".join(analysed), nearest(name, analysed)
        raise StudyError(f"{key}: '{name}' is not among analyse: {have}{near}")


def check_classes(config: dict) -> None:
    """``classes`` of data sets name ImageNet's as they are known here.

    Raises:
        StudyError: one is so near that no other label space can be meant.
    """
    for name, dataset in config["datasets"].items():
        classes = dataset.get("classes", "")
        bare = re.sub(r"[^a-z0-9]", "", classes.casefold())
        if bare in ("imagenet", "imagenet1k", "imagenet1000") and classes != "imagenet-1k":
            raise StudyError(
                f"datasets: {name}: classes: '{classes}' would be a label space of its own, in "
                "which no released head is scored; ImageNet's 1,000 classes are imagenet-1k"
            )


def check_testtime(config: dict, attached: bool) -> None:
    """``testtime`` is about a data set that is analysed and about backbones of the study.

    Args:
        attached: whether any backbone gets registers by it.

    Raises:
        StudyError: it is not.
    """
    testtime = config.get("testtime")
    if testtime:
        check_among("testtime: dataset", testtime["dataset"], config["analyse"])
    if testtime and not attached:
        raise StudyError(f"testtime: backbones: {testtime['backbones']} match none of the study's")
