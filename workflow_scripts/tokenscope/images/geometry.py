"""The name of a preprocessing: how a photograph becomes the square that a backbone sees."""

import math
import re
from dataclasses import dataclass

from tokenscope.errors import StudyError

_KEY = re.compile(
    r"(?P<size>\d+)px-(?P<interpolation>[a-z]+)-(?P<mode>center|squash)(?P<resize>\d+)"
)


@dataclass(frozen=True)
class Geometry:
    """Resize the shorter side to ``resize`` pixels, then crop the central ``size`` x ``size``.

    ``mode="squash"`` resizes to the square without keeping the aspect ratio (timm's ``crop_mode``).
    Backbones of equal geometry share one decoded copy of a data set; mean and standard deviation
    are applied on the device and are no part of it.
    """

    size: int
    resize: int
    interpolation: str = "bicubic"
    mode: str = "center"

    @property
    def key(self) -> str:
        """Name used in paths, e.g. ``224px-bicubic-center248``."""
        return f"{self.size}px-{self.interpolation}-{self.mode}{self.resize}"

    @property
    def whole(self) -> bool:
        """Whether a square image is seen whole, nothing of it cropped away."""
        return self.size == self.resize

    @classmethod
    def parse(cls, key: str) -> "Geometry":
        """Inverse of :attr:`key`."""
        match = _KEY.fullmatch(key)
        if not match:
            raise StudyError(
                f"'{key}' is no image geometry; one reads like 224px-bicubic-center248"
            )
        return cls(int(match["size"]), int(match["resize"]), match["interpolation"], match["mode"])

    @classmethod
    def evaluation(
        cls, size: int, crop_pct: float, interpolation: str, mode: str = "center"
    ) -> "Geometry":
        """timm's evaluation geometry: the crop takes ``crop_pct`` of the resized shorter side."""
        resize = size if mode == "squash" else math.floor(size / crop_pct)
        return cls(size, resize, interpolation, mode)
