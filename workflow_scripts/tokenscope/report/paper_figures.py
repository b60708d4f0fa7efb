"""Which backbones the main paper's figures show, under its own numbers (config key ``figures``).

"Do All Vision Transformers Need Registers?" (https://arxiv.org/abs/2603.25803), Figures 1 to 7.
Pure arithmetic on a study, because Snakemake asks for it while it builds the graph.
"""

from tokenscope.study import zoo
from tokenscope.study.zoo import Backbone

FOUR = ["dinov2/small/r0", "dinov2/giant/r0", "deit3/medium/r0", "openclip/base/r0"]
# The paper's backbones, and how many of its own a study shows where it has none of them.
PAPER = {
    "fig1": (["dino/*-p16/r0", "deit3/*/r0", "openclip/base/r0", "openclip/large/r0",
              "openclip/huge/r0", "openclip/gigantic/r0", "dinov2/*/r0"], 8),
    "fig2": (["dinov2/large/r0", "dinov2/giant/r0"], 2),
    "fig3": (FOUR, 4),
    "fig4": (["openclip/base/r0", "openclip/huge/r0"], 2),
    "fig5": (["dinov2/giant/r[04]"], 2),
    "fig6": (FOUR, 4),
    "fig7": (["dinov2/large/r0"], 1),
}  # fmt: skip


def check(study) -> None:
    """Raise a StudyError where the config names backbones for a figure that the study lacks."""
    for name, patterns in study.config["figures"].items():
        zoo.check_patterns(f"figures: {name}", patterns, study.named)


def selected(study, name: str) -> list[Backbone]:
    """The study's backbones that a figure is about, in the order of its patterns.

    Args:
        study: a tokenscope.study.study.Study.
        name: of the figure, ``fig4`` or with what it shows, ``fig4_norms``.
    """
    patterns = study.config["figures"].get(_number(name), PAPER[_number(name)][0])
    rows = [row for pattern in patterns for row in zoo.matching(study.backbones, [pattern])]
    return list(dict.fromkeys(rows))


def shown(study, name: str) -> list[Backbone]:
    """The same, or where there is none of them the first of the study's own.

    Figure 5 compares: of one size, the backbone without registers and those with some.
    """
    return selected(study, name) or _own(study, _number(name))


def _own(study, number: str) -> list[Backbone]:
    rows = study.backbones
    if number == "fig5":
        sizes = [study.of_size(row.family, row.size) for row in rows if not row.register_count]
        rows = next((size for size in sizes if any(r.register_count for r in size)), rows)
    return rows[: PAPER[number][1]]


def _number(name: str) -> str:
    return name.split("_")[0]
