"""Texts of the page: citations that lead to the list of references, and no name of a program.

A metric or group is said in the words of ``config/labels.csv``; files and keys of a config, which
a reader may have to type, are set as code.
"""

import csv
import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from tokenscope.paths import of_project
from tokenscope.tables.formatting import has_words, words

_NAME = re.compile(r"[\w./*+@-]*\w_\w[\w./*+@-]*[\w*]|\w_\w")


@dataclass(frozen=True)
class Reference:
    """A line of ``config/references.csv``; ``key`` is how the other files name the source."""

    key: str
    authors: str
    title: str
    year: str
    venue: str
    link: str

    @property
    def anchor(self) -> str:
        """Name of its line on the page."""
        return f"ref-{self.key}"

    def __str__(self) -> str:
        return f"{self.authors}: {self.title}. {self.venue}, {self.year}."


def references() -> list[Reference]:
    """All of them, in the order of the file."""
    with open(of_project("config/references.csv"), newline="", encoding="utf-8") as handle:
        return [Reference(**row) for row in csv.DictReader(handle)]


def linked(text: str, known: list[Reference]) -> Markup:
    """A text, escaped, in which each source leads to the list; its full title is a tooltip."""
    by_key = {one.key: one for one in known}
    if not by_key:
        return escape(text)

    def link(found: re.Match) -> str:
        one = by_key[found[0]]
        return Markup('<a class="ref" href="#{}" title="{}">{}</a>').format(
            one.anchor, str(one), one.key
        )

    keys = "|".join(re.escape(key) for key in sorted(by_key, key=len, reverse=True))
    return Markup(re.sub(rf"(?<![\w-])({keys})(?![\w-])", link, str(escape(text))))


def shown(text: str, known: list[Reference]) -> Markup:
    """The same, and names with underscores in words or as code."""
    parts, end = [], 0
    for found in _NAME.finditer(text):
        name = found[0]
        parts += [linked(text[end : found.start()], known), _said(name)]
        end = found.end()
    return Markup("").join([*parts, linked(text[end:], known)])


def _said(name: str) -> Markup:
    if "." not in name and has_words(name):
        return escape(words(name))
    return Markup("<code>{}</code>").format(name)
