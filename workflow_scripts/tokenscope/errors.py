"""Errors meant for the person who runs the study."""

import difflib


class StudyError(Exception):
    """Something in the study's inputs is wrong: the message says what, where, and what to do."""


class Superseded(StudyError):
    """Another job works on this store now."""


def closest(word: str, words: list[str], n: int = 4) -> str:
    """The ``n`` nearest of ``words``, for error messages."""
    near = difflib.get_close_matches(word, words, n=n, cutoff=0.3)
    return ", ".join(near) or "nothing similar"


def some(keys: list[str], most: int = 8) -> str:
    """Keys for a message, the first few of many."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
