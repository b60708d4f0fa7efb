"""What must be said of each phantom, and the truth about its tokens, read off the pixels alone.

The rows of the table are those of the phantoms' names. ``other`` is for measures of artifacts that
norms do not show; an instrument that looks at norms alone owes nothing there.
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
        said: the phantom in words.
    """

    artifacts: tuple[str, ...] = NO
    last_block: tuple[str, ...] = NO
    about: str = ""
    when_shifted: str = ""
    other: str = ""
    said: str = ""

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


def _content(times: str) -> Answer:
    said = f"patches of one colour, their norm {times} times the median"
    return Answer(YES, YES, CONTENT, CONTENT, said=said)


ANSWERS: dict[str, Answer] = {
    "clean": Answer(said="nothing"),
    "content-10x": _content("10"),
    "content-3x": _content("3"),
    "content-2.5x": _content("2.5"),
    "corners": Answer(
        YES, YES, POSITION, POSITION, said="the four corners, whatever the image"
    ),
    "tied": Answer(
        YES, YES, TIED, CONTENT,
        said="patches of one colour, in images where these are always the sky above",
    ),
    "fading": Answer(
        YES, NOT_YES, CONTENT, CONTENT,
        said="patches of one colour, from block 2 on and gone before the last",
    ),
    "heavy-tail": Answer(
        NOT_YES, NOT_YES,
        said="norms times a log-normal factor that depends smoothly on the patch: no second mode",
    ),
    "scaled-images": Answer(NOT_YES, NOT_YES, said="a few images with all their norms scaled"),
    "sink-cls": Answer(
        other="sink on CLS, broadcast", said="CLS receives nearly all attention, norms ordinary"
    ),
    "sink-patch": Answer(
        other="sink on a patch, NOP",
        said="one patch receives nearly all attention and gives nothing, norms ordinary",
    ),
    "fixed-pattern": Answer(
        other="fixed pattern", said="the same vector added at fixed places, norms kept"
    ),
    "channel": Answer(other="channel", said="one channel large in all tokens"),
    "registered": Answer(
        other="register", said="outliers of content held by a register, patches ordinary"
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
    mask[:, corner_patches((pixels.shape[1] // patch, pixels.shape[2] // patch))] = True
    return mask
