"""In which line of a YAML file a key stands."""

import re
from pathlib import Path

import yaml

from tokenscope.config_file.schema_words import odd_sign
from tokenscope.errors import StudyError


class Source:
    """A YAML file with the lines of its keys.

    Args:
        file: path, as messages shall call it.

    Raises:
        StudyError: there is no such file, or it is no YAML: the message says in which line.
    """

    def __init__(self, file: str | Path):
        self.file = str(file)
        try:
            self.text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = "does not exist"
            if isinstance(error, ValueError):
                reason = "is no text in UTF-8: save it as such"
            if isinstance(error, IsADirectoryError | PermissionError):
                reason = "cannot be read as a file"
            raise StudyError(f"the config {file} {reason}") from None
        try:
            self._root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise StudyError(self._refusal(error)) from None

    def content(self):
        """What the file says, as plain values.

        Raises:
            StudyError: a value of no plain kind.
        """
        try:
            return yaml.safe_load(self.text)
        except yaml.YAMLError as error:
            raise StudyError(self._refusal(error)) from None

    def line(self, path: list) -> int | None:
        """Line, from 1, of the key or list item that a path of keys and places leads to.

        Where the path leaves the file, the line of the last key that is there; None when the first
        is not.
        """
        node, line = self._root, None
        for step in path:
            below = self._below(node, step)
            if below is None:
                break
            key, node = below
            line = key.start_mark.line + 1
        return line

    @staticmethod
    def _below(node, step):
        """The node of a key (or of an item) and the node of its value."""
        if isinstance(node, yaml.MappingNode):
            return next(((k, v) for k, v in node.value if k.value == str(step)), None)
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            return node.value[step], node.value[step]
        return None

    def _refusal(self, error) -> str:
        """A sentence on what the reader of YAML stumbled over."""
        mark, context = (getattr(error, f"{of}_mark", None) for of in ("problem", "context"))
        if mark is None or "expected ':'" in str(error):  # noticed a line later
            mark = context
        if mark is None:
            return f"{self.file}: no YAML: {str(error).splitlines()[0]}"
        lines = self.text.splitlines() or [""]
        number = min(mark.line, len(lines) - 1)
        problem, text = str(error.problem or ""), lines[number]
        where = f"{self.file}, line {number + 1}"
        if "\\t" in problem or re.match(r" *\t", text):
            return f"{where}: a tab: YAML is indented with spaces; write spaces for it"
        above = next((line for line in reversed(lines[:number]) if line.strip()), "")
        for odd in (above, text):
            if re.match(r" *[^\S \t]", odd):
                where = f"{self.file}, line {lines.index(odd) + 1}"
                return f"{where}: '{odd.strip()}' is indented with a sign that looks like a space"
        for line in (above, text):
            if odd := odd_sign(line):
                where = f"{self.file}, line {lines.index(line) + 1}"
                return f"{where}: '{line.strip()}': no YAML{odd}"
        if "mapping values" in problem and re.match(r" *[\w-]+:[^\s/]", above):
            where = f"{self.file}, line {lines.index(above) + 1}"
            return f"{where}: '{above.strip()}': a space is missing after the colon"
        same_column = len(above) - len(above.lstrip()) == len(text) - len(text.lstrip())
        if "mapping values" in problem and same_column and re.fullmatch(r" *[\w-][^:#]*", above):
            where = f"{self.file}, line {lines.index(above) + 1}"
            return f"{where}: '{above.strip()}': {_TROUBLES[_NO_COLON]}"
        if re.search(r"[]}\"'] +[^#\s,]", text) and "block mapping" in str(error.context or ""):
            return f"{where}: '{text.strip()}': what stands after the bracket or quotation mark?"
        began = f" (begun in line {context.line + 1})" if context else ""
        if context and "flow" in str(error.context) and context.line < number and ":" in text:
            where, text = f"{self.file}, line {context.line + 1}", lines[context.line]
            began = f" (before line {number + 1})"
        for words, what in _TROUBLES.items():
            if words in problem or words in str(error.context or ""):
                return f"{where}: '{text.strip()}': {what.format(began=began)}"
        return f"{where}: '{text.strip()}': no YAML: {problem}{began}"


_WRONG = (
    "the indentation does not fit the lines before{began}: keys of one section start in one column"
)
_TAG = "! has a meaning in YAML: put the text in quotation marks"
_SIGN = "no word begins with such a sign: put it in quotation marks"
_NO_COLON = "could not find expected ':'"
_TROUBLES = {
    "unknown escape": "\\ has a meaning within double quotation marks: take single ones, or none",
    "flow sequence": "a bracket [ is not closed, or a comma is missing{began}",
    "flow mapping": "a brace {{ is not closed, or a comma is missing{began}",
    "quoted scalar": "a quotation mark is not closed{began}",
    _NO_COLON: "no key and value: is a colon (with a space after it) missing?",
    "mapping values are not allowed": (
        "a second colon (a key within a key stands on the next line, further in; text with a colon "
        "wants quotation marks), or the indentation does not fit the line before"
    ),
    "sequence entries are not allowed": _WRONG,
    "block mapping": _WRONG,
    "block collection": _WRONG,
    "another document": "a second document begins: keep one, without ---",
    "node content": "a value is missing, or there is a comma too many",
    "alias": (
        "* has a meaning in YAML: put globs that begin with it in quotation marks; items of a list "
        "begin with a hyphen"
    ),
    "cannot start any token": _SIGN,
    "expected alphabetic": _SIGN,
    "undefined tag": _TAG,
    "constructor for the tag": _TAG,
}
