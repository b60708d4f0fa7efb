"""Errors meant for the person who runs the study."""


class StudyError(Exception):
    """Something in the study's inputs is wrong: the message says what, where, and what to do."""


class Superseded(StudyError):
    """Another job works on this store now."""
