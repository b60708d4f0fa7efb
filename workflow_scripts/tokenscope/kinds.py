"""Names of register counts: ``r4``, or ``r4-scratch`` where a backbone was not released so."""

import re

CONTROLS = ("planted", "clean")
REGISTERS = re.compile(
    rf"r(?P<count>\d+)(-(?P<kind>scratch|finetuned|testtime|{'|'.join(CONTROLS)}))?"
)


def is_control(kind: str) -> bool:
    """Whether a kind, or a register name that ends in it, is that of a control."""
    return kind.endswith(CONTROLS)
