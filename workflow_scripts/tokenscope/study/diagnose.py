"""The section ``diagnose``: the backbones that are judged on a page of their own."""

from tokenscope.errors import StudyError
from tokenscope.study import zoo

FAMILIES = ("mine", "other")


def diagnosed(study) -> list[zoo.Backbone]:
    """The one or two backbones that the section ``diagnose`` names.

    Raises:
        StudyError: one of them is not in the study, or the data set is not analysed.
    """
    asked = study.config.get("diagnose")
    if not asked:
        return []
    if asked["dataset"] not in study.config["analyse"]:
        raise StudyError(f"diagnose: dataset: '{asked['dataset']}' is not among analyse")
    known = {row.key: row for row in study.backbones}
    for key in asked["backbones"]:
        if key not in known:
            raise StudyError(
                f"diagnose: backbones: '{key}' is none of this study's: {', '.join(known)}"
            )
    return [known[key] for key in asked["backbones"]]


def name_of(who: dict[str, str]) -> str:
    """What a page calls a backbone, from the columns that name it."""
    named = "/".join(who[column] for column in ("family", "size", "registers"))
    return who["size"] if who["family"] in FAMILIES else named
