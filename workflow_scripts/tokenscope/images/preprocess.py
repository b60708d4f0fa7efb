"""Preprocessing: from an image file to the uint8 square a backbone sees, as timm's evaluation.

Decoding, resizing and cropping in PIL; mean and standard deviation come later, on the device.
"""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tokenscope.errors import StudyError
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import ImageLocation

_RESAMPLE = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
# Named, because others start programs: PIL would hand an EPS to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
# Resized to 800 pixels, a strip of this ratio has as many as PIL takes for a bomb.
LONGEST = 200
_DIRECT = ("RGB", "L", "1", "CMYK", "YCbCr", "LAB", "HSV")
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")


class BadImage(StudyError):
    """A file that is no usable photograph; the message names it and says why."""


def load_rgb(file: str | Path | BinaryIO, name: object = None) -> Image.Image:
    """Decode a file, or the bytes of one called ``name``, to upright 8-bit RGB.

    The EXIF orientation is applied; transparency is laid over white; 16-bit grey is scaled by
    1/257 (PIL alone would clip it); grey, CMYK and palette images are converted. The mode it had is
    kept as ``info["mode"]``.

    Raises:
        BadImage: missing, empty, truncated or not an image, or a mode without a defined range.
    """
    if isinstance(file, str | Path):
        return open_rgb(ImageLocation(str(file)))
    path = name
    try:
        with Image.open(file, formats=FORMATS) as image:
            image.load()
            mode = image.mode
            image = ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise BadImage(
            f"{path}: is no image of a kind that is read ({', '.join(FORMATS)}), or its "
            "beginning is damaged"
        ) from None
    except Exception as error:  # what decoders make of damaged bytes has no common class
        raise BadImage(f"{path}: cannot be decoded ({error})") from None
    if max(image.size) > LONGEST * min(image.size):
        raise BadImage(f"{path}: has {image.width} x {image.height} pixels: a strip, no photograph")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in _ALPHA:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise BadImage(f"{path}: integer grey levels outside 0-65535")
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    if image.mode not in (*_DIRECT, "RGBA"):
        raise BadImage(f"{path}: pixel mode '{image.mode}' has no defined range of brightness")
    image = image.convert("RGB")
    image.info["mode"] = mode
    return image


def shape(image: Image.Image, geometry: Geometry) -> np.ndarray:
    """Resize and crop to ``(size, size, 3)`` uint8; same pixels as timm's evaluation transform."""
    size, resample = geometry.size, _RESAMPLE[geometry.interpolation]
    width, height = image.size
    if geometry.mode == "squash":
        return np.asarray(image.resize((size, size), resample))
    short, long = sorted((width, height))
    other = int(geometry.resize * long / short)
    width, height = (geometry.resize, other) if width <= height else (other, geometry.resize)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), resample)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def open_rgb(place: ImageLocation) -> Image.Image:
    """One image of a data set as :func:`load_rgb` gives it. Raises BadImage, naming the file."""
    return load_rgb(io.BytesIO(content_of(place)), place)


def content_of(place: ImageLocation) -> bytes:
    """The bytes of one image. Raises BadImage where they cannot be read or have changed."""
    try:
        content = place.read()
    except FileNotFoundError:
        raise BadImage(f"{place}: the file does not exist") from None
    except (OSError, EOFError, ValueError) as error:
        raise BadImage(f"{place}: cannot be read ({error})") from None
    if not content:
        raise BadImage(f"{place}: is empty")
    return content


def decode(place: ImageLocation, geometry: Geometry) -> np.ndarray:
    """One image as ``(size, size, 3)`` uint8 pixels. Raises BadImage, naming the file."""
    return shape(open_rgb(place), geometry)
