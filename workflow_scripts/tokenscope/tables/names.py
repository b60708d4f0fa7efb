"""Names of groups and metrics that carry structure: composed and read here, and nowhere else.

========================  =============================================================
``head@view``             group of claim 5: a head, and how it was shown its images
``cls+patch_mean``        feature set: parts laid side by side
``normal: mean patch``    group of claim 4: what a simple guess gives on a group's tokens
``metric_minus_r0``       difference from the same backbone without registers
``metric_minus_random``   difference from a control: ``random``, ``zeroed``
``top1_gain_over_base``   difference of accuracies from a base: ``r0``, or a feature set
``after: own_head``       group before or after a training
``own_head, over seeds``  group of means over trainings that differ in their seed only
========================  =============================================================
"""

import re

NATIVE = "native"  # the view that goes without saying
BEFORE, AFTER = "before", "after"
_OVER_SEEDS = ", over seeds"
_MINUS, _R0 = "_minus_", "r0"
_MINUS_R0 = _MINUS + _R0
_GAIN_OVER = "_gain_over_"
# Tables whose rows bear another claim than the table's name.
_CLAIMS = {"controls": "control"}


def claim_of(table: str) -> str:
    """Column ``claim`` of the rows that a table holds."""
    return _CLAIMS.get(table, table)


def group_name(head: str, view: str) -> str:
    """Name of a head under a view; the native one goes without saying."""
    return head if view == NATIVE else f"{head}@{view}"


def head_and_view(group: str) -> tuple[str, str]:
    """What :func:`group_name` made a name of."""
    head, _, view = group.partition("@")
    return head, view or NATIVE


def parts_of(features: str) -> list[str]:
    """The parts of a feature set (``cls+patch_mean``); a head's name is its own only part."""
    return features.split("+")


def guess_name(group: str, guess: str) -> str:
    """Group of the rows that say what a simple guess gives on a group's tokens."""
    return f"{group}: {guess}"


def is_prefix_token(group: str) -> bool:
    """Whether a group is a prefix token (CLS, distillation, a register), one to an image each."""
    return bool(re.fullmatch(r"cls\d*|dist|reg.*", group))


def minus(metric: str, base: str) -> str:
    """The metric less that of another backbone on the same images: ``r0``, or a control's kind."""
    return metric + _MINUS + base


def minus_r0(metric: str) -> str:
    """The metric less that of the same backbone without registers."""
    return minus(metric, _R0)


def is_minus_r0(metric: str) -> bool:
    """Whether a metric is a difference from the backbone without registers."""
    return metric.endswith(_MINUS_R0)


def without_minus_r0(metric: str) -> str:
    """The metric that a difference is of; any other as it is."""
    return metric.removesuffix(_MINUS_R0)


def gain_over(base: str, accuracy: str = "top1") -> str:
    """The metric of a difference of accuracies from a base."""
    return f"{accuracy}{_GAIN_OVER}{base}"


def base_of_gain(metric: str) -> str:
    """The base that :func:`gain_over` made a name of."""
    return metric.partition(_GAIN_OVER)[2]


def of_training(when: str, group: str = "") -> str:
    """A group :data:`BEFORE` or :data:`AFTER` a training; without a group, how all such begin."""
    return f"{when}: {group}"


def without_training(group: str) -> str:
    """The group that :func:`of_training` made a name of."""
    return group.partition(": ")[2]


def over_seeds(group: str) -> str:
    """A group whose rows are means over trainings that differ in their seed only."""
    return group + _OVER_SEEDS


def is_over_seeds(group: str) -> bool:
    """Whether :func:`over_seeds` made this name."""
    return group.endswith(_OVER_SEEDS)
