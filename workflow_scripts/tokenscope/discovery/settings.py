"""The ways to run LOST, each by its name; what is measured of them needs no torch."""

from typing import NamedTuple

WORDS = {"k": "keys", "v": "values", "q": "queries", "output": "output"}  # of facets
FIXED = ("k", "v")  # LOST as published takes k; Darcet et al. take v for DeiT-III and OpenCLIP


class Setting(NamedTuple):
    """One way to run LOST; ``block`` is counted from 1."""

    block: int
    facet: str
    normalised: bool
    bias: float

    def __str__(self) -> str:
        norm = "normalised" if self.normalised else "as they are"
        return f"block {self.block}, {WORDS[self.facet]} {norm}, bias {self.bias:g}"


def every_setting(
    depth: int, blocks: int, facets: list[str], normalise: list[bool], biases: list[float]
) -> list[Setting]:
    """Every combination, the last block first: ties are decided in favour of what comes first."""
    return [
        Setting(block, facet, bool(normalised), float(bias))
        for block in range(depth, depth - blocks, -1)
        for facet in facets
        for normalised in normalise
        for bias in biases
    ]


def as_published(settings: list[Setting]) -> list[Setting]:
    """Those of them that are LOST as published, or that with v: last block, as they are, bias 0."""
    wanted = [(settings[0].block, facet, False, 0.0) for facet in FIXED]
    return [setting for setting in settings if setting in wanted]
