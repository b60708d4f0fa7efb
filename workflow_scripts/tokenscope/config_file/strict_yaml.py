"""YAML read strictly: each key once, a word; numbers finite, as they look; nothing runs or grows.

YAML itself takes the last of two equal keys, knows infinite numbers, reads 0500 as 320 and 1:30 as
90, and Snakemake runs expressions of a config that says ``__use_yte__``: a study would differ from
what one reads.
"""

import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from tokenscope.errors import StudyError

MOST_VALUES = 100_000  # aliases written out; a study has some hundreds
NO_WORDS = [f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null")]
TEMPLATE = "__use_yte__"
_Base: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """PyYAML's safe loader, which refuses a key that a mapping has already."""

    def construct_mapping(self, node, deep=False):
        seen = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                mark = key.start_mark
                raise yaml.constructor.ConstructorError(
                    problem="a key is no word", problem_mark=mark
                )
            if key.tag in NO_WORDS:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key.value}' is no word to YAML: put it in quotation marks",
                    problem_mark=key.start_mark,
                )
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key.value}' is there twice, first in line "
                    f"{seen[key.value] + 1}; keep one",
                    problem_mark=key.start_mark,
                )
            seen[key.value] = key.start_mark.line
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node):
        value = super().construct_yaml_int(node)
        if re.match(r"[-+]?0[0-7]|.*:", node.value.replace("_", "")):
            raise yaml.constructor.ConstructorError(
                problem=f"YAML reads {node.value} as {value}: write {value}, or the number meant",
                problem_mark=node.start_mark,
            )
        return value

    def construct_yaml_float(self, node):
        value = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise yaml.constructor.ConstructorError(
                problem=f"the number {node.value} is not finite; write an ordinary one",
                problem_mark=node.start_mark,
            )
        return value


for kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{kind}", getattr(_Loader, f"construct_yaml_{kind}"))


def load(file: str | Path) -> dict:
    """The mapping that a YAML file holds.

    Raises:
        StudyError: no such file, no YAML mapping, a key that is there twice, a number that is not
            finite, an expression to be run.
    """
    try:
        content = yaml.load(Path(file).read_bytes(), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StudyError(f"{file}{line}: {error.problem or error.context}") from None
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StudyError(f"{file}: cannot be read as YAML ({first})") from None
    if not isinstance(content, dict):
        raise StudyError(f"{file}: holds no keys with values")
    check(content, file)
    return content


def check(content: dict, file: str | Path) -> None:
    """Raise a StudyError where values read from YAML are not finite, run something, or grow."""
    if TEMPLATE in content:
        raise StudyError(f"{file}: {TEMPLATE}: configs hold values, nothing that is run; remove it")
    if _size(content, f"{file}: ", {}) > MOST_VALUES:
        raise StudyError(f"{file}: its aliases stand for more than {MOST_VALUES:,} values")


def _size(value: object, where: str, known: dict[int, int]) -> int:
    """Number of values with all aliases written out."""
    if isinstance(value, float) and not math.isfinite(value):
        raise StudyError(f"{where}the number {value} is not finite; write an ordinary one")
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = -1
        items = value.items() if isinstance(value, dict) else enumerate(value, 1)
        known[id(value)] = 1 + sum(
            _size(below, f"{where}{'item ' * isinstance(value, list)}{key}: ", known)
            for key, below in items
        )
    if known[id(value)] < 0:
        raise StudyError(f"{where}stands within itself, by an alias")
    return known[id(value)]


def check_config(files: Iterable[str | Path], config: dict) -> None:
    """Raise a StudyError unless config files, and what Snakemake made of them, can be relied on."""
    for file in files:
        load(file)
    check(config, "the config")


def main(files: list[str]) -> None:
    """Check config files before a program is given them; ends with a sentence and status 1."""
    try:
        check_config(files, {})
    except StudyError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
