"""Errors meant for the person who runs the study."""

import difflib
from collections.abc import Iterable


class StudyError(Exception):
    """Something in the study's inputs is wrong: the message says what, where, and what to do."""


class Superseded(StudyError):
    """Another job works on this store now."""


def closest(word: str, words: list[str], n: int = 4) -> str:
    """The ``n`` nearest of ``words``, for error messages."""
    near = difflib.get_close_matches(word, words, n=n, cutoff=0.3)
    return ", ".join(near) or "nothing similar"


def nearest(word: str, words: Iterable[str]) -> str:
    """The end of a sentence about a word that is none of ``words``: which it may have meant."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; nearest: {near[0]}" if near else ""


def some(keys: list[str], most: int = 8) -> str:
    """Keys for a message, the first few of many."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
