"""A job looks for garbage neither while it imports nor in what it has imported.

While objects become more and more, Python looks through all of them again and again, and once more
at the end. Those of modules are never garbage: a job that imports torch starts and ends a third
sooner if nobody looks there.
"""

import gc
import sys

_off = False


def put_off() -> None:
    """In a script that Snakemake runs, look for no garbage until :func:`resume`."""
    global _off
    if "snakemake" in vars(sys.modules["__main__"]):
        _off = True
        gc.disable()


def resume() -> None:
    """All is imported: look for garbage as ever, but not among what is there now."""
    if _off:
        gc.freeze()
        gc.enable()


def leave() -> None:
    """The work is done: what ends with it goes, the rest is left to the system."""
    if _off and "triton" in sys.modules:
        gc.unfreeze()  # it would report as leaks what nobody takes away at the end
    elif _off:
        gc.collect()
        gc.freeze()
