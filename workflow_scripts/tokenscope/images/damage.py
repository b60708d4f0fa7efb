"""Damage inside an image file that PIL decodes without a word: grey, shifted or smeared pixels.

The decoder of JPEG knows of most of it and goes on with a warning, which PIL does not pass on;
simplejpeg, a binding of the same libjpeg-turbo, does. PNG carries checksums that PIL skips.
"""

import io
import re

import simplejpeg
from PIL import Image

# Left over behind the picture; a few bytes are how some encoders end, many are a lost place.
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
MOST_LEFT_OVER = 16
# A hole in a file, left by a disk or a copy, reads as zeros; a picture of one colour may, too.
HOLE = bytes(64)


def examine(content: bytes) -> tuple[str, str]:
    """What is wrong inside an image that can be decoded, and what merely looks so.

    Returns:
        why it is damaged, and why it is suspicious: a JPEG that decodes and may be damaged all the
        same. Both empty where nothing points to it.
    """
    if content.startswith(b"\x89PNG"):
        return _broken_png(content), ""
    if not content.startswith(b"\xff\xd8"):
        return "", ""
    warning = _warning(content)
    few = (left := _LEFT_OVER.search(warning)) and int(left[1]) <= MOST_LEFT_OVER
    if warning and not few:
        return f"is damaged inside ({warning})", ""
    if HOLE in content[content.rfind(b"\xff\xda") :]:
        return "", f"{len(HOLE)} zeros in a row within its picture"
    return "", warning


def _broken_png(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            image.verify()
    except Exception as error:  # what decoders make of damaged bytes has no common class
        return f"is damaged inside ({error})"
    return ""


def _warning(content: bytes) -> str:
    """The first warning of libjpeg-turbo, from the smallest picture that it can decode."""
    try:
        simplejpeg.decode_jpeg(
            content, "GRAY", fastdct=True, fastupsample=True,
            min_height=1, min_width=1, min_factor=8, strict=True,
        )  # fmt: skip
    except ValueError as warning:
        return str(warning).strip()
    return ""
