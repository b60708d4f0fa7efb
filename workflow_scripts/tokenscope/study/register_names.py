"""Names of register counts: ``r4``, or ``r4-scratch`` where a backbone was not released so.

Registers added at test time are named last, after what the backbone itself is: ``r1-testtime`` is
made from ``r0``, ``r1-corners-testtime`` from ``r0-corners``.
"""

import re
from functools import cache

# The phantoms, ViTs whose answer is known; what it is: tokenscope.phantoms.answers.
CONTROLS = (
    "clean", "content-10x", "content-3x", "content-2.5x", "corners", "tied", "fading", "heavy-tail",
    "scaled-images", "sink-cls", "sink-patch", "attended-corner", "fixed-pattern", "cls-corner",
    "global-patches", "channel", "registered", "read-register", "finer-grid",
)  # fmt: skip
# The controls of testtime: as many neurons drawn at random are moved; the same neurons are silenced
# at the patches and moved nowhere.
ATTACHED_CONTROLS = ("random", "zeroed")
ATTACHED = ("testtime", *ATTACHED_CONTROLS)
REGISTERS = re.compile(
    rf"r(?P<count>\d+)(-(?P<made>scratch|finetuned|{'|'.join(map(re.escape, CONTROLS))}))?"
    rf"(-(?P<attached>{'|'.join(ATTACHED)}))?"
)


@cache  # asked for each backbone at every look through a study
def kind(registers: str) -> str:
    """Where the registers of a name come from: none, trained, scratch ...; or which control."""
    match = REGISTERS.fullmatch(registers)
    released = "trained" if register_count(registers) else "none"
    return match["attached"] or match["made"] or released


@cache
def register_count(registers: str) -> int:
    """How many registers a name says there are; ``r0``: none."""
    return int(REGISTERS.fullmatch(registers)["count"])


@cache
def base(registers: str) -> str:
    """The name without registers that a name with registers is to be compared with."""
    made = REGISTERS.fullmatch(registers)["made"]
    return f"r0-{made}" if made else "r0"


def is_control(kind: str) -> bool:
    """Whether a kind, or a register name that ends in it, is that of a control."""
    return kind.endswith(CONTROLS)
