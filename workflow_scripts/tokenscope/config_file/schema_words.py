"""A JSON schema in words: what a value may be, and which keys there are."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

MOST_KEYS = 6  # of a section, in a sentence


def allowed(schema: dict) -> str:
    """What a value may be, as the end of a sentence that begins "it must be"."""
    if "title" in schema:
        return schema["title"]
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return one_of(map(str, schema["enum"]))
    if forms := schema.get("anyOf") or schema.get("oneOf"):
        if all(form.get("type") == "object" for form in forms):
            return "a section, its keys further in"
        return " or ".join(map(allowed, forms))
    kinds = schema.get("type", "text")
    if isinstance(kinds, list):
        return " or ".join(allowed({**schema, "type": kind}) for kind in kinds)
    if kinds == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        count = f"{least} or more" if most is None else f"{least} to {most}" * (least != most)
        count = f" of {count or most} items" if least > 1 or most else ""
        return f"a list{count}, each {allowed(schema.get('items', {}))}"
    words = {"boolean": "true or false", "null": "null", "string": "text"}
    if kinds in words:
        return words[kinds]
    if kinds == "object":
        keys = list(schema.get("properties", {}))
        more = ", ..." if len(keys) > MOST_KEYS else ""
        named = "patternProperties" in schema or schema.get("additionalProperties")
        if keys:
            return f"a section ({', '.join(keys[:MOST_KEYS])}{more})"
        return "a section of names, each with what it stands for" if named else "a section"
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
    if "items" in schema:
        yield from choices(schema["items"])


def odd_sign(sentence: str) -> str:
    """The end of a sentence that quotes a sign which only looks like one of a keyboard, or nothing.

    Dashes, quotation marks, spaces and bullets as word processors and chats write them, letters of
    other scripts within a word of ours, and signs that nobody sees.
    """
    for before, sign in zip(" " + sentence, sentence, strict=False):
        name, kind = unicodedata.name(sign, "").lower(), unicodedata.category(sign)
        if sign.isascii() or not name:
            continue
        if kind in ("Zs", "Cf"):
            return f"; after '{before}' stands what nobody sees ({name}): take it out"
        if kind in ("Pd", "Pi", "Pf") or name.startswith(("fullwidth", "bullet", "cyril", "greek")):
            return f"; its '{sign}' is no plain sign ({name}): type the plain one"
    return ""


def said(there) -> str:
    """What stands in a config, as the first half of a sentence."""
    if isinstance(there, bool):
        return f"is {str(there).lower()}"
    if isinstance(there, dict):
        return "is a section of keys"
    if isinstance(there, list):
        items = ["..." if isinstance(item, dict | list) else str(item) for item in there[:6]]
        return f"is the list [{', '.join(items)}{', ...' * (len(there) > 6)}]"
    return f"is the text '{there}'" if isinstance(there, str) else f"is {there}"


def as_meant(there, schema: dict) -> str:
    """How to write what somebody probably meant; empty where that is not known.

    Text for a number or for true and false, a number for text, one item for a list, a share for a
    percentage, true for a section whose keys all have defaults.
    """
    kind, words = schema.get("type"), str(schema)
    if kind == "array" and schema.get("minItems", 0) < 2 and not isinstance(there, list | dict):
        if isinstance(there, str) and re.match(r"[-*\u2010-\u2015\u2022]\s*\S", there):
            return f": write - {there[1:].strip()}, with a hyphen and a space"
        return f": write [{there}]"
    if "string" in (kind or "") and isinstance(there, list) and len(there) == 1:
        return f": write {there[0]}, without brackets"
    if kind == "object" and there is True and not schema.get("required"):
        return ": write {} for its defaults"
    if kind == "object" and isinstance(there, list) and any(isinstance(x, dict) for x in there):
        return ": its keys without hyphens"
    if kind == "number" and isinstance(there, int | float) and (meant := _percent(there, schema)):
        return f": write {meant:g}"
    if kind == "string" and isinstance(there, int | float) and not isinstance(there, bool):
        return f': write "{there}", in quotation marks'
    if not isinstance(there, str):
        return ""
    if kind == "boolean" and there.casefold() in ("true", "false", "yes", "no", "on", "off"):
        return ": leave out the quotation marks"
    if "integer" not in words and "number" not in words:
        return ""
    if re.fullmatch(r"[-+]?[\d.]+e[-+]?\d+", there, re.I) and _fits(float(there), words):
        return f" (YAML reads {there} as text: write {_plain(float(there))})"
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", there):
        return ": leave out the quotation marks"
    bare = re.sub(r"(?<=\d)[ ,'](?=\d{3}\b)|\s*(%|[A-Za-z]+|#.*)$", "", there)
    fits = re.fullmatch(r"\d+\.?\d*", bare) and _fits(float(bare), words)
    return f": write {bare}" if fits else ""


def _percent(there: float, schema: dict) -> float:
    """A share for a percentage or the other way round, where one of both is allowed; else 0."""
    low, high = schema.get("exclusiveMinimum", 0), schema.get("exclusiveMaximum", 0)
    meant = there * 100 if low >= 1 else there / 100
    return meant if low < meant < high else 0


def _fits(number: float, words: str) -> bool:
    """Whether a schema, as text, takes a number at all, or whole ones alone."""
    return "'number'" in words or number.is_integer()


def _plain(number: float) -> str:
    return f"{number:.1e}" if abs(number) < 1e-3 else f"{number:g}"
