"""Which modules of this package a script depends on, and a hash of what they do.

Snakemake watches the script file of a rule, not what it imports. A rule therefore carries this
hash as a parameter: a change in a library module reruns the rules that use it, and no others.
Comments, docstrings and layout do not count.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# They watch a job from outside: no number it computes depends on them.
WATCHERS = {"jobs.py", "records.py", "energy.py"}


@cache
def _tree(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            body[0].value.value = ""
    return tree


@cache
def _imports(path: Path) -> frozenset[Path]:
    found = set()
    for node in ast.walk(_tree(path)):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            head, _, module = name.partition(".")
            if head == PACKAGE.name:
                file = PACKAGE / (f"{module}.py" if module else "__init__.py")
                if file.exists() and file.name not in WATCHERS:
                    found.add(file)
    return frozenset(found)


@cache
def modules(script: Path) -> tuple[Path, ...]:
    """Library modules that a script imports, directly or through others, sorted.

    A module of the library counts itself: Snakemake watches scripts, not modules.
    """
    todo = [Path(script)]
    seen = {file for file in todo if file.parent == PACKAGE}
    while todo:
        for file in _imports(todo.pop()) - seen:
            seen.add(file)
            todo.append(file)
    return tuple(sorted(seen))


@cache
def code_hash(script: Path) -> str:
    """Twelve hex digits that change when the library code behind a script changes."""
    digest = hashlib.sha256()
    for file in modules(Path(script)):
        digest.update(file.name.encode())
        digest.update(ast.dump(_tree(file)).encode())
    return digest.hexdigest()[:12]
