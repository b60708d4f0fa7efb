"""What is wrong with a config, a sentence each: where, what is there, what is allowed.

All mistakes are found at once. Defaults of the schema are filled in on the way, as Snakemake's own
``validate`` would.
"""

import copy
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import yaml
from jsonschema import Draft202012Validator, validators

from tokenscope.config_file.lines import Source
from tokenscope.config_file.schema_words import (
    allowed,
    as_meant,
    choices,
    homes,
    odd_sign,
    one_of,
    said,
)
from tokenscope.errors import StudyError
from tokenscope.paths import CONFIG

SCHEMA = CONFIG / "schemas" / "config.schema.yaml"
T = TypeVar("T")
SELECTORS = ("type", "layout")  # the key that says which of several forms a section has


def _fill(validator, properties, instance, schema):
    """The rule ``properties`` of a schema, with defaults written into the instance."""
    if isinstance(instance, dict):
        for key, below in properties.items():
            if "default" in below:
                instance.setdefault(key, copy.deepcopy(below["default"]))
    yield from Draft202012Validator.VALIDATORS["properties"](
        validator, properties, instance, schema
    )


_Validator = validators.extend(Draft202012Validator, {"properties": _fill})


class Answers:
    """The mistakes of one config.

    Args:
        files: the config files given, of which one is expected; as Snakemake knows them.
        schema: what a config may say, as plain values; the study's without it.
    """

    def __init__(self, files: Iterable[str | Path], schema: dict | None = None):
        self.files = [Path(file) for file in files]
        self.schema = schema or yaml.safe_load(SCHEMA.read_text())

    def mistakes(self, config: dict) -> list[str]:
        """What the schema says against a config; defaults are filled into the config.

        Returns:
            Sentences that begin with the path of a key, ``datasets: mine: images: ...``, in the
            order of the file.
        """
        if len(self.files) > 1:
            names = ", ".join(map(str, self.files))
            return [f"one config file makes a study, given are {names}: keep to one"]
        if source := self._source():
            _as_numbers(config, source.content())
        found = list(_Validator(self.schema).iter_errors(config))
        sentences = [s for error in found for s in self._sentences(error, config)]
        return sorted(dict.fromkeys(sentences), key=self._place)

    def study(self, config: dict, make: Callable[[dict], T]) -> T:
        """What ``make`` makes of a config that the schema finds nothing against.

        Raises:
            StudyError: all mistakes, a line each, the schema's and those that ``make`` finds.
        """
        mistakes = self.mistakes(config)
        try:
            made = make(config)
            if not mistakes:
                return made
        except StudyError as error:
            keys = {path[0] for path in map(_path, mistakes) if path}
            more = [s for s in str(error).splitlines() if not keys & set(_path(s)[:1])]
            if "backbones" in keys:  # and so all that is said of them elsewhere
                more = [s for s in more if "none of this study's backbones" not in s]
            mistakes = sorted([*mistakes, *more], key=self._place)
        except Exception:  # a config of the wrong form may break it anywhere
            if not mistakes:
                raise
        raise StudyError("\n".join(mistakes))

    def located(self, message: str) -> str:
        """Each line of a message, after the file and line of the key that it begins with."""
        lines = message.splitlines()
        return "\n".join(f"{self._where(line)}{line}{odd_sign(line)}" for line in lines)

    def _source(self) -> Source | None:
        try:
            return Source(_shown(self.files[0])) if self.files else None
        except StudyError:
            return None

    def _place(self, sentence: str) -> tuple[int, str]:
        source = self._source()
        return (source and source.line(_path(sentence)) or 0, sentence)

    def _where(self, sentence: str) -> str:
        source, path = self._source(), _path(sentence)
        if source is None:
            return ""
        if line := source.line(path):
            return f"{source.file}, line {line}: "
        known = {key for key, place in homes(self.schema) if not place}
        if path and path[0] in known and ": is missing" not in sentence:
            return f"{source.file} and --config: "
        return "" if re.match(r"\S+, line \d+:", sentence) else f"{source.file}: "

    def _sentences(self, error, config) -> Iterator[str]:
        """What to say of one finding of the validator."""
        path, there, schema = list(error.absolute_path), error.instance, error.schema
        where = "".join(f"{_step(step)}: " for step in path)
        if error.validator in ("oneOf", "anyOf") and isinstance(there, dict):
            yield from self._of_form(error, config, where)
        elif error.validator == "additionalProperties" and isinstance(schema, dict):
            for key in _extras(there, schema):
                yield f"{where}{key}: {self._unknown(key, path, there, schema, config)}"
        elif error.validator == "required":
            missing = [key for key in error.validator_value if key not in there]
            for key in missing:
                if error.message.startswith(repr(key)) and not _meant(key, there, schema):
                    yield f"{where}{key}: is missing{self._misplaced(key, path, config)}"
        else:
            yield f"{where}{self._wrong(path, there, schema, error)}"

    def _of_form(self, error, config, where):
        """A section of several forms: its selector says which one is meant."""
        there, forms = error.instance, error.validator_value
        selector = next((s for s in SELECTORS if any(s in _keys(f) for f in forms)), "")
        by_word = {w: form for form in forms for w in _words(_keys(form).get(selector, {}))}
        word = there.get(selector)
        if word not in by_word:
            near = difflib.get_close_matches(str(word).casefold(), by_word, n=1, cutoff=0.0)[0]
            if selector in there:
                yield f"{where}{selector}: {said(word)}; it must be {one_of(by_word)}" + (
                    f"; nearest: {near}" if _alike(str(word).casefold(), near) else ""
                )
            else:
                within = next((w for w in by_word if isinstance(there.get(w), dict)), "")
                meant = f": write {selector}: {within}, and its keys beside it" if within else ""
                yield f"{where}{selector}: is missing; it is {one_of(by_word)}{meant}"
                return
            there, word = {**there, selector: near}, near
        form = by_word[word]
        for below in _Validator(form).iter_errors(there):
            below.absolute_path.extendleft(reversed(error.absolute_path))
            yield from self._sentences(below, config)

    def _unknown(self, key, path, there, schema, config) -> str:
        known = [k for k in schema.get("properties", {}) if k not in there or k != key]
        place = f"of {_section(path, there)}"
        above, dot, below = key.partition(".")
        if dot and above in schema.get("properties", {}):
            return f"is no key {place}: keys lie within each other, write {above}: {{{below}: ...}}"
        near = [k for k in difflib.get_close_matches(key, known, n=1, cutoff=0.6)]
        above = [p for k, p in homes(self.schema) if k == key]
        if near and (not above or _alike(key, near[0], 0.8)):
            return f"is no key {place}; nearest: {near[0]}"
        if above:
            given = [p for p in above if _get(config, p) is None and p and p[0] in config] or above
            named = " or ".join(
                dict.fromkeys("of " + (": ".join(p) or "a study") for p in given[:3])
            )
            return f"is no key {place} but {named}: is the indentation right?"
        if patterns := schema.get("patternProperties"):
            return f"is no name: letters, digits and {_signs(patterns)} make one"
        if section := self._named_section(there[key]):
            return f"is no key {place} but fits one of {section}: is the indentation right?"
        return f"is no key {place}; there are {', '.join(known)}"

    def _named_section(self, there) -> str:
        """The section of named entries, as ``datasets``, that a mapping has the keys of."""
        keys_of: dict[tuple, set] = {}
        for key, place in homes(self.schema):
            keys_of.setdefault(place, set()).add(key)
        given = set(there) if isinstance(there, dict) else set()
        named = (place for place in keys_of if place[-1:] == ("<name>",))
        fitting = (place for place in named if given and given <= keys_of[place])
        return ": ".join(next(fitting, ())[:-1])

    def _misplaced(self, key, path, config) -> str:
        """Where a missing key stands instead."""
        for place in _everywhere(config):
            if place[-1] == key and list(place[:-1]) != path:
                kinds = [p for k, p in homes(self.schema) if k == key]
                if not any(len(p) == len(place) - 1 for p in kinds):
                    where = ": ".join(map(str, place[:-1]))
                    return f"; one stands below {where}: is the indentation right?"
        return ""

    def _wrong(self, path, there, schema, error) -> str:
        must = allowed(schema)
        if there is None:
            more = "give it keys, further in than it stands, or leave it out"
            if schema.get("type") != "object":
                more = f"it must be {must}"
            return f"has no value; {more}"
        hint = as_meant(there, schema)
        if isinstance(there, str):
            by_case = {choice.casefold(): choice for choice in choices(schema)}
            near = difflib.get_close_matches(there.casefold(), by_case, n=1, cutoff=0.7)
            if near and (len(by_case) > 1 or near[0] == there.casefold()):
                word = by_case[near[0]]
                hint = (
                    f"; nearest: {word}" if schema.get("type") != "array" else f": write [{word}]"
                )
        places = [p for k, p in homes(self.schema) if path and k == path[-1]]
        named = [p for p in places if p == (*path[:-1], "<name>")]
        elsewhere = len(path) > 1 and (() in places or named)
        if elsewhere and not isinstance(there, dict) and schema.get("type", "object") == "object":
            home = ": ".join(named[0]) if named else "a study"
            hint = f" ('{path[-1]}' is a key of {home}: is the indentation right?)"
        if error.validator == "uniqueItems":
            return f"names something twice: {said(there)}"
        if error.validator == "minItems" and not there:
            return f"is empty; it must be {must}"
        if error.validator == "minProperties":
            return "is empty; it needs at least one entry"
        if error.validator == "minLength":
            return "is empty; it must be text"
        return f"{said(there)}; it must be {must}{hint}"


def _as_numbers(config: dict, written) -> None:
    """Numbers of the command line, which Snakemake hands over as text where they are nested.

    ``written`` is what the file itself says: there a text is meant to be one.
    """
    for key, value in config.items():
        own = written.get(key) if isinstance(written, dict) else None
        if isinstance(value, dict):
            _as_numbers(value, own)
        elif isinstance(value, list) and value != own:
            config[key] = [_number(x) if isinstance(x, str) else x for x in value]
        elif isinstance(value, str) and value != own:
            config[key] = _number(value)


def _number(text: str):
    """A number, true or false, or null as YAML reads it; else the text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if value is None or isinstance(value, int | float) else text


def _shown(file: Path) -> Path:
    """A path as short as it can be written here."""
    try:
        return file.absolute().relative_to(Path.cwd())
    except ValueError:
        return file


def _step(step) -> str:
    return f"item {step + 1}" if isinstance(step, int) else str(step)


def _path(sentence: str) -> list:
    """The path of keys that a sentence begins with."""
    path: list = []
    for word in sentence.split(": "):
        if match := re.fullmatch(r"item (\d+)", word):
            path.append(int(match[1]) - 1)
        elif re.fullmatch(r"[^\s']+", word):
            path.append(word)
        else:
            break
    return path


def _keys(form: dict) -> dict:
    return form.get("properties", {})


def _words(schema: dict) -> list[str]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))


def _alike(word: str, other: str, least: float = 0.5) -> bool:
    return difflib.SequenceMatcher(None, word, other).ratio() >= least


def _extras(there: dict, schema: dict) -> list[str]:
    patterns = schema.get("patternProperties", {})
    known = schema.get("properties", {})
    return [
        key
        for key in there
        if key not in known and not any(re.search(p, str(key)) for p in patterns)
    ]


def _meant(key: str, there: dict, schema: dict) -> bool:
    """Whether an unknown key is near enough to a missing one to be it: that is said instead."""
    known = [*schema.get("properties", {}), key]
    return any(
        difflib.get_close_matches(str(extra), known, n=1, cutoff=0.6) == [key]
        for extra in _extras(there, schema)
    )


def _section(path: list, there: dict) -> str:
    name = ": ".join(_step(step) for step in path) or "a study"
    kind = next((f" (of {s} {there[s]})" for s in SELECTORS if isinstance(there.get(s), str)), "")
    return name + kind


def _signs(patterns: dict) -> str:
    return "_ - ." if any("." in p.replace(".*", "") for p in patterns) else "_ -"


def _get(config, place):
    for key in place:
        if not isinstance(config, dict) or key not in config:
            return None if key == "<name>" else ()
        config = config[key]
    return config


def _everywhere(config, place=()) -> Iterator[tuple]:
    if isinstance(config, dict):
        for key, below in config.items():
            yield (*place, key)
            yield from _everywhere(below, (*place, key))
