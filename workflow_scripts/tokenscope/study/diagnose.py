"""Who is diagnosed, on a page of its own: the section ``diagnose``."""

from tokenscope.config_file import references
from tokenscope.errors import StudyError, nearest
from tokenscope.study import zoo

FAMILIES = ("mine", "other")


def diagnosed(study) -> list[zoo.Backbone]:
    """The one or two backbones that the section ``diagnose`` names.

    Raises:
        StudyError: one of them is not in the study, or the data set is not analysed.
    """
    section = study.config.get("diagnose")
    if not section:
        return []
    references.check_among("diagnose: dataset", section["dataset"], study.config["analyse"])
    known = {row.key: row for row in study.named}
    for key in section["backbones"]:
        if key not in known:
            raise StudyError(
                f"diagnose: backbones: '{key}' is none of this study's: {', '.join(known)}"
                f"{nearest(key, known)}"
            )
    return [known[key] for key in section["backbones"] if known[key] in study.backbones]


def name_of(who: dict[str, str]) -> str:
    """What a page calls a backbone, from the columns that name it."""
    named = "/".join(who[column] for column in ("family", "size", "registers"))
    return who["size"] if who["family"] in FAMILIES else named
