"""Which modules of this package a script depends on, and a hash of what they do.

Snakemake watches the script file of a rule, not what it imports. A rule therefore carries this
hash as a parameter: a change in a library module reruns the rules that use it, and no others.
Comments, docstrings and layout do not count.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# They watch a job from outside: no number it computes depends on them.
WATCHERS = {"jobs.py", "records.py", "energy.py"}


@cache
def _facts(path: Path) -> tuple[bytes, frozenset[Path]]:
    """What a file does, as text without layout, comments and docstrings; the modules it imports.

    One way through the tree, since every dry run goes through those of all files.
    """
    text: list[str] = []
    found: set[Path] = set()
    for node in ast.parse(path.read_text()).body:
        _describe(node, text, found)
    return "\n".join(text).encode(), frozenset(found)


def _describe(node: ast.AST, text: list[str], found: set[Path]) -> None:
    kind = type(node)
    if kind is ast.Expr and type(node.value) is ast.Constant:
        return  # a docstring, or as idle as one
    if kind in (ast.Import, ast.ImportFrom):
        found.update(_imported(node))
    text.append(kind.__name__)
    for name in kind._fields:
        value = getattr(node, name)
        for item in value if type(value) is list else (value,):
            if isinstance(item, ast.AST):
                _describe(item, text, found)
            else:
                text.append(repr(item))
        text.append(")")


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[Path]:
    """Files of this package that an import names."""
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
    for name in names:
        head, _, module = name.partition(".")
        file = PACKAGE / (f"{module}.py" if module else "__init__.py")
        if head == PACKAGE.name and file.exists() and file.name not in WATCHERS:
            yield file


@cache
def modules(script: Path) -> tuple[Path, ...]:
    """Library modules that a script imports, directly or through others, sorted.

    A module of the library counts itself: Snakemake watches scripts, not modules.
    """
    todo = [Path(script)]
    seen = {file for file in todo if file.parent == PACKAGE}
    while todo:
        for file in _facts(todo.pop())[1] - seen:
            seen.add(file)
            todo.append(file)
    return tuple(sorted(seen))


@cache
def code_hash(script: Path) -> str:
    """Twelve hex digits that change when the library code behind a script changes."""
    digest = hashlib.sha256()
    for file in modules(Path(script)):
        digest.update(file.name.encode())
        digest.update(_facts(file)[0])
    return digest.hexdigest()[:12]
