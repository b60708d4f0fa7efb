"""File names of scenes: the number that a scene is drawn from, in six digits or more."""


def file_name(number: int) -> str:
    """``000012.png`` of scene 12."""
    return f"{number:06d}.png"


def scene_number(file: str) -> int:
    """The number that :func:`file_name` made a name of."""
    return int(file.removesuffix(".png"))
