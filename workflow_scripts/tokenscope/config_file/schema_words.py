"""A JSON schema in words: what a value may be, and which keys there are."""

import re
from collections.abc import Iterable, Iterator


def allowed(schema: dict) -> str:
    """What a value may be, as the end of a sentence that begins "it must be"."""
    if "title" in schema:
        return schema["title"]
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return one_of(map(str, schema["enum"]))
    if forms := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(allowed, forms))
    kinds = schema.get("type", "text")
    if isinstance(kinds, list):
        return " or ".join(allowed({**schema, "type": kind}) for kind in kinds)
    if kinds == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        count = f"{least} or more" if most is None else f"{least} to {most}" * (least != most)
        count = f" of {count or most} items" if least > 1 or most else ""
        return f"a list{count}, each {allowed(schema.get('items', {}))}"
    words = {"boolean": "true or false", "null": "null", "string": "text", "object": "a section"}
    if kinds in words:
        return words[kinds]
    return ("a whole number" if kinds == "integer" else "a number") + _range(schema)


def one_of(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _range(schema: dict) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if above is not None and below is not None:
        return f" between {above} and {below}"
    parts = [
        f" of {low} or more" if low is not None else "",
        f" above {above}" if above is not None else "",
        f" of at most {high}" if high is not None else "",
        f" below {below}" if below is not None else "",
    ]
    return " and".join(filter(None, parts))


def homes(schema: dict, place: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each key of a schema with the keys above it; ``<name>`` where the user names things."""
    for key, below in schema.get("properties", {}).items():
        yield key, place
        yield from homes(below, (*place, key))
    for below in schema.get("patternProperties", {}).values():
        yield from homes(below, (*place, "<name>"))
    for choice in ("anyOf", "oneOf"):
        for below in schema.get(choice, []):
            yield from homes(below, place)


def choices(schema: dict) -> Iterator[str]:
    """The words that a value may be one of."""
    yield from (str(word) for word in schema.get("enum", []))
    if "const" in schema:
        yield str(schema["const"])
    for choice in ("anyOf", "oneOf"):
        for below in schema.get(choice, []):
            yield from choices(below)


def said(there) -> str:
    """What stands in a config, as the first half of a sentence."""
    if isinstance(there, bool):
        return f"is {str(there).lower()}"
    if isinstance(there, dict):
        return "is a section of keys"
    if isinstance(there, list):
        return f"is the list [{', '.join(map(str, there[:6]))}{', ...' * (len(there) > 6)}]"
    return f"is the text '{there}'" if isinstance(there, str) else f"is {there}"


def as_meant(there, schema: dict) -> str:
    """How to write what somebody probably meant; empty where that is not known.

    Text for a number or for true and false, a number for text, one item for a list, true for a
    section whose keys all have defaults.
    """
    kind, words = schema.get("type"), str(schema)
    if kind == "array" and schema.get("minItems", 0) < 2 and not isinstance(there, list | dict):
        return f": write [{there}]"
    if kind == "object" and there is True and not schema.get("required"):
        return ": write {} for its defaults"
    if kind == "string" and isinstance(there, int | float) and not isinstance(there, bool):
        return f': write "{there}", in quotation marks'
    if not isinstance(there, str):
        return ""
    if kind == "boolean" and there.casefold() in ("true", "false", "yes", "no", "on", "off"):
        return ": leave out the quotation marks"
    if "integer" not in words and "number" not in words:
        return ""
    if re.fullmatch(r"[-+\d.]+e[-+]?\d+", there, re.I) and "number" in words:
        return f" (YAML reads {there} as text: write {_plain(float(there))})"
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", there):
        return ": leave out the quotation marks"
    bare = re.sub(r"(?<=\d)[ ,'](?=\d{3}\b)|\s*%$", "", there)
    return f": write {bare}" if re.fullmatch(r"\d+\.?\d*", bare) else ""


def _plain(number: float) -> str:
    return f"{number:.1e}" if abs(number) < 1e-3 else f"{number:g}"
