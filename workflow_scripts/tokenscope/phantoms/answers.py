"""What must be said of each phantom, and the truth about its tokens, read off the pixels alone.

The rows of the table are those of the phantoms' names. What norms do not show is known by kind
(:data:`tokenscope.kinds.answers.KINDS`): those planted, which must be found; those that hang on the
ViT that was trained, of which nothing is known; and all others, of which none may be found.
"""

from dataclasses import dataclass

import numpy as np

from tokenscope.errors import StudyError
from tokenscope.study.register_names import CONTROLS

YES, NO, NOT_YES = ("yes",), ("no",), ("no", "cannot tell")
CONTENT, POSITION, TIED = "content", "position", "cannot tell"


@dataclass(frozen=True)
class Answer:
    """What must be said of a phantom.

    Args:
        artifacts: the right answers to "does it have high-norm artifacts".
        last_block: the same of the last block alone.
        about: what they follow: ``content``, ``position``, or ``cannot tell`` from images as they
            are; empty where there are none.
        when_shifted: what they follow when images are shifted by whole patches: an experiment
            tells apart what images tie together.
        other: the kind of artifact that is there without high norms of patches.
        said: the phantom in words. corners: how many are planted, where it is about position.
        kinds: those that are there by construction, high norms apart.
        unknown: those that may be there or not.
    """

    artifacts: tuple[str, ...] = NO
    last_block: tuple[str, ...] = NO
    about: str = ""
    when_shifted: str = ""
    other: str = ""
    said: str = ""
    corners: int = 4
    kinds: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> str:
        """What is known of a kind: ``yes``, ``no``, or empty where nothing is."""
        if kind == "high-norm":
            return self.artifacts[0] if self.artifacts in (YES, NO) else "not yes"
        return "yes" if kind in self.kinds else "" if kind in self.unknown else "no"

    @property
    def text(self) -> str:
        """What must be said, in words."""
        words = ["not yes" if self.artifacts == NOT_YES else self.artifacts[0]]
        words += [f"about: {self.about}"] * bool(self.about)
        words += [f"shifted: {self.when_shifted}"] * (self.when_shifted != self.about)
        return "; ".join(words + [f"beside norms: {self.other}"] * bool(self.other))

    @property
    def high(self) -> bool:
        """Whether patches of known places or content have high norms."""
        return self.artifacts == YES


# What the trained ViT does with long tokens is its own affair.
USE = ("attention-received", "outlier-use", "qkv")
# Where the last attention is not the trained one, so are CLS and what patches have in common.
LAST = ("locality", "rank", "point-in-box")


def _content(times: str) -> Answer:
    said = f"patches of one colour, their norm {times} times the median"
    return Answer(YES, YES, CONTENT, CONTENT, said=said, kinds=("universality",), unknown=USE)


ANSWERS: dict[str, Answer] = {
    "clean": Answer(said="nothing"),
    "content-10x": _content("10"),
    "content-3x": _content("3"),
    "content-2.5x": _content("2.5"),
    "corners": Answer(
        YES, YES, POSITION, POSITION, said="the four corners, whatever the image",
        kinds=("fixed-pattern", "shift", "universality"), unknown=USE,
    ),
    "tied": Answer(
        YES, YES, TIED, CONTENT,
        said="patches of one colour, in images where these are always the sky above",
        kinds=("universality",), unknown=(*USE, "fixed-pattern"),
    ),
    "fading": Answer(
        YES, NOT_YES, CONTENT, CONTENT,
        said="patches of one colour, from block 2 on and gone before the last",
        kinds=("universality",), unknown=USE,
    ),
    "heavy-tail": Answer(
        NOT_YES, NOT_YES, unknown=LAST,
        said="norms times a log-normal factor that depends smoothly on the patch: no second mode",
    ),
    "scaled-images": Answer(NOT_YES, NOT_YES, said="a few images with all their norms scaled"),
    "sink-cls": Answer(
        other="sink on CLS, broadcast", said="CLS receives nearly all attention, norms ordinary",
        kinds=("sink",), unknown=LAST,
    ),
    "sink-patch": Answer(
        other="sink on a patch, NOP",
        said="one patch receives nearly all attention and gives nothing, norms ordinary",
        kinds=("sink",), unknown=LAST,
    ),
    "attended-corner": Answer(
        YES, YES, POSITION, POSITION, other="sink on a patch, NOP",
        said="one corner, 10 times the median; it receives nearly all attention and gives nothing",
        corners=1,
        kinds=("sink", "attention-received", "fixed-pattern", "shift", "universality",
               "outlier-use", "qkv"),
        unknown=LAST,
    ),
    "fixed-pattern": Answer(
        other="fixed pattern", said="the same vector added at fixed places, norms kept",
        kinds=("fixed-pattern",),
    ),
    "cls-corner": Answer(
        other="fixed pattern, CLS beside the objects",
        said="the same vector added at one corner and CLS, norms of patches kept",
        kinds=("fixed-pattern", "point-in-box"),
    ),
    "global-patches": Answer(
        other="locality", said="all patches hold what the whole image is, beside little of theirs",
        kinds=("locality",), unknown=("rank", "point-in-box"),
    ),
    "channel": Answer(
        other="channel, rank", said="one channel large in all tokens", kinds=("channel", "rank"),
        unknown=("point-in-box",),
    ),
    "registered": Answer(
        other="register", said="outliers of content held by a register, patches ordinary",
        kinds=("register-norm",), unknown=("register-use",),
    ),
    "read-register": Answer(
        other="register, sink on it", said="the same, and all tokens read that register",
        kinds=("sink", "register-norm", "register-use"), unknown=LAST,
    ),
    "finer-grid": Answer(
        other="high norms at a larger size",
        said="patches around one corner, long where the image is cut into more patches, else not",
        kinds=("resolution",),
    ),
}  # fmt: skip
if tuple(ANSWERS) != CONTROLS:
    raise StudyError("phantoms: names (study/register_names.py) and answers are not the same")


def constant_patches(pixels: np.ndarray, patch: int) -> np.ndarray:
    """Which patches have one single colour.

    Args:
        pixels: (image, row, column, channel) uint8.

    Returns:
        (image, patch) bool, patches row by row.
    """
    n, rows, columns, channels = pixels.shape
    if rows % patch or columns % patch:
        raise StudyError(f"images of {rows} x {columns} have no whole grid of patches of {patch}")
    tiles = pixels.reshape(n, rows // patch, patch, columns // patch, patch, channels)
    same = tiles.max(axis=(2, 4)) == tiles.min(axis=(2, 4))
    return same.all(-1).reshape(n, -1)


def corner_patches(grid: tuple[int, int]) -> list[int]:
    """Numbers of the four corner patches, counted row by row from 0."""
    rows, columns = grid
    return [0, columns - 1, (rows - 1) * columns, rows * columns - 1]


def high_norms(name: str, pixels: np.ndarray, patch: int) -> np.ndarray:
    """Which patches of a phantom have high norms: (image, patch) bool, from the pixels alone."""
    constant = constant_patches(pixels, patch)
    answer = ANSWERS[name]
    if not answer.high:
        return np.zeros_like(constant)
    if answer.when_shifted == CONTENT:
        return constant
    mask = np.zeros_like(constant)
    grid = pixels.shape[1] // patch, pixels.shape[2] // patch
    mask[:, corner_patches(grid)[-answer.corners :]] = True
    return mask
