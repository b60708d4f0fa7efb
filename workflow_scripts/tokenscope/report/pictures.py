"""Figures inside the page: which of them, as which kind of picture, how large, and what is beside.

A page that shows fifty backbones cannot hold every figure. Those that a study has once come first,
in the order of ``config/report.yaml``, then those of a family, then those of a single backbone;
what no longer fits is linked. Lines stay vectors; maps become WebP.
"""

import base64
import html
import io
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tokenscope.figures.pages import NOTHING

VECTOR_KB = 150  # a larger drawing, or one that holds pixels, is taken as WebP
SHARPNESS = 2  # pixels of a WebP for each pixel of the screen that it is drawn for
QUALITY = 84
FULL = 0.98  # of the room: nothing more is tried
PER_INCH = 96  # pixels of a style sheet
ENDINGS = (".pdf", ".png", ".svg")  # that a reader may want, the one for print first
_SIZE = re.compile(rb'<svg[^>]*?\bwidth="([\d.]+)(pt)?"[^>]*?\bheight="([\d.]+)')
_OTHER_WAY = re.compile(rb'<svg[^>]*?\bheight="([\d.]+)(pt)?"[^>]*?\bwidth="([\d.]+)')


@dataclass(frozen=True)
class Picture:
    """A data address, with width and height on the page in pixels of a style sheet."""

    src: str
    width: int
    height: int


def embedded(names: list[str], folder: Path, limit_mb: float) -> dict[str, Picture]:
    """The figures that are in the page, by name.

    Args:
        names: below ``folder`` without ending, the most important first.
        limit_mb: what they may take together, in base64.
    """
    chosen: dict[str, Picture] = {}
    left = limit_mb * 1e6
    for name in names:
        if left < (1 - FULL) * limit_mb * 1e6:
            break
        picture = _picture(folder, name)
        if picture and len(picture.src) <= left:
            chosen[name] = picture
            left -= len(picture.src)
    return chosen


def by_importance(pages: dict[str, list[tuple[str, str, int]]]) -> list[str]:
    """Names of the figures of all sections, the most important first.

    Args:
        pages: of each section, name, caption and rank (:func:`contents.pages`).
    """
    ranked = [(rank, name) for page in pages.values() for name, _, rank in page]
    return [name for _, name in sorted(ranked, key=lambda pair: pair[0])]  # stable: as in the file


def figure(
    name: str, caption: str, folder: Path, picture: Picture | None, numbers: str = ""
) -> dict:
    """A figure for the template: in the page, or linked; neither where it is not drawn yet.

    Of one in which there is nothing to be drawn, ``nothing`` says why.

    Args:
        numbers: what it shows, in a sentence, for the text in the place of the picture; else it is
            what the figure says of itself.
    """
    said = _note(folder / f"{name}.svg")
    alt = " ".join(filter(None, (caption, f"File {name}.", numbers or said)))
    nothing = said.startswith(NOTHING)
    caption = " ".join(filter(None, (caption, said)))
    there = [ending for ending in ENDINGS if (folder / f"{name}{ending}").exists()] * (not nothing)
    files = [(ending[1:].upper(), f"../figures/{name}{ending}") for ending in there]
    of = name.split("/", 2)[-1] if name.count("/") > 1 else ""
    return {
        "name": name, "caption": caption, "alt": alt, "picture": picture, "of": of,
        "link": files[-1][1] if files and picture is None else "", "files": files,
        "nothing": nothing,
    }  # fmt: skip


def _note(drawing: Path) -> str:
    """What a figure says of itself (``note`` of tokenscope/figures/style.py), in its own file."""
    text = drawing.read_text(encoding="utf-8")[:20_000] if drawing.exists() else ""
    text = re.sub(r"<cc:Agent>.*?</cc:Agent>", "", text, flags=re.DOTALL)  # has a title as well
    title = re.search(r"<dc:title>(.*?)</dc:title>", text, re.DOTALL)
    return html.unescape(title[1]) if title else ""


def _picture(folder: Path, name: str) -> Picture | None:
    """A figure as it goes into the page; none where it is not drawn, or nothing is in it."""
    vector, pixels = folder / f"{name}.svg", folder / f"{name}.png"
    if _note(vector).startswith(NOTHING):
        return None
    drawing = vector.read_bytes() if vector.exists() else b""
    size = _size(drawing)
    small = len(drawing) <= VECTOR_KB * 1000 and b"<image" not in drawing
    if drawing and (small or not pixels.exists()):
        return Picture(_address("svg+xml", drawing), *size)
    if not pixels.exists():
        return None
    with Image.open(pixels) as opened:
        image = opened.convert("RGB")
        dpi = float(opened.info.get("dpi", (2 * PER_INCH,))[0])
    width, height = size if drawing else (round(side / dpi * PER_INCH) for side in image.size)
    if image.width > SHARPNESS * width:
        image = image.resize((SHARPNESS * width, SHARPNESS * height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=2)  # a slower one saves a tenth
    return Picture(_address("webp", buffer.getvalue()), width, height)


def _size(drawing: bytes) -> tuple[int, int]:
    """Width and height of an SVG; of one that does not say, those of a page's column."""
    head = drawing[:2000]
    if found := _SIZE.search(head):
        width, points, height = found.groups()
    elif found := _OTHER_WAY.search(head):
        height, points, width = found.groups()
    else:
        return 648, 432
    scale = PER_INCH / 72 if points else 1
    return round(float(width) * scale), round(float(height) * scale)


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
