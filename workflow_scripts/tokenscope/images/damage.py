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


def damage(content: bytes) -> str:
    """What is wrong inside an image that can be decoded; empty where nothing is known."""
    if content.startswith(b"\x89PNG"):
        try:
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.verify()
        except Exception as error:  # what decoders make of damaged bytes has no common class
            return f"is damaged inside ({error})"
    if content.startswith(b"\xff\xd8") and (warning := _warning(content)):
        few = (left := _LEFT_OVER.search(warning)) and int(left[1]) <= MOST_LEFT_OVER
        return "" if few else f"is damaged inside ({warning})"
    return ""


def suspicious(content: bytes) -> str:
    """Why a JPEG that decodes may be damaged all the same; empty where nothing points to it."""
    if not content.startswith(b"\xff\xd8"):
        return ""
    if HOLE in content[content.rfind(b"\xff\xda") :]:
        return f"{len(HOLE)} zeros in a row within its picture"
    return _warning(content)


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
