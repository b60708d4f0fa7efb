"""Figures that one page does not hold: their paths, and what stands on each page.

Pure arithmetic, because Snakemake asks for it while it builds the graph.
"""

import re

NOTHING = "Nothing to draw: "  # begins the caption of a figure that says why there is none


def paths(name: str, items: int, per_page: int) -> list[str]:
    """Pages of a figure of so many items: ``name``, then ``name/page2`` and so on."""
    pages = max(1, -(-items // per_page))
    return [name, *(f"{name}/page{number}" for number in range(2, pages + 1))]


def number(path: str) -> tuple[str, int]:
    """The figure that a path is a page of, and which one, counted from 1."""
    page = re.fullmatch(r"(.+)/page(\d+)", path)
    return (page[1], int(page[2])) if page else (path, 1)


def shared_out(items: list, pages: int) -> list[list]:
    """The items page by page, as even as can be."""
    ends = [round(len(items) * page / pages) for page in range(pages + 1)]
    return [items[start:end] for start, end in zip(ends, ends[1:], strict=False)]
