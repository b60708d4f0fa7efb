"""Who is judged: the section ``diagnose``, on a page of its own, and ``phantoms``, by the truth."""

from tokenscope.errors import StudyError
from tokenscope.study import zoo
from tokenscope.study.register_names import is_control

FAMILIES = ("mine", "other")


def diagnosed(study) -> list[zoo.Backbone]:
    """The one or two backbones that the section ``diagnose`` names.

    Raises:
        StudyError: one of them is not in the study, or the data set is not analysed.
    """
    section = study.config.get("diagnose")
    if not section:
        return []
    if section["dataset"] not in study.config["analyse"]:
        raise StudyError(f"diagnose: dataset: '{section['dataset']}' is not among analyse")
    known = {row.key: row for row in study.backbones}
    for key in section["backbones"]:
        if key not in known:
            raise StudyError(
                f"diagnose: backbones: '{key}' is none of this study's: {', '.join(known)}"
            )
    return [known[key] for key in section["backbones"]]


def phantoms(study) -> list[tuple[str, zoo.Backbone]]:
    """What the section ``phantoms`` adds: a data set and a phantom that is judged on it, no more.

    Those that go through the claims on that data set anyhow are judged there.

    Raises:
        StudyError: no such data set, or a backbone whose answer nobody knows.
    """
    config, pairs = study.config, []
    through = {row.key for row in study.backbones}
    for dataset, patterns in config.get("phantoms", {}).items():
        if dataset not in study.datasets:
            have = ", ".join(study.datasets)
            raise StudyError(f"phantoms: '{dataset}' is no data set of this study, only: {have}")
        for row in zoo.matching(list(study.rows.values()), patterns):
            if not is_control(row.kind):
                raise StudyError(
                    f"phantoms: {dataset}: {row.key} is no phantom, its answer is not known; name "
                    "rows such as control/tiny/r0-clean"
                )
            if dataset not in config["analyse"] or row.key not in through:
                pairs.append((dataset, row))
    return pairs


def name_of(who: dict[str, str]) -> str:
    """What a page calls a backbone, from the columns that name it."""
    named = "/".join(who[column] for column in ("family", "size", "registers"))
    return who["size"] if who["family"] in FAMILIES else named
