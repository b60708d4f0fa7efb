"""A hash of a script and of the library code behind it, for the rule that runs it.

Snakemake watches the age of a rule's script, not what it imports. A rule therefore carries this
hash as a parameter: a change in a library module reruns the rules that use it, and no others.
Comments, docstrings and layout do not count. Neither do names and places of modules: an import of
our own package stands for the *content* of the module it names, so that a file which is only moved
or renamed changes no hash, and equal hashes before and after are a proof that nothing else changed.
"""

import ast
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# They watch a job from outside, or its imports: no number it computes depends on them.
WATCHERS = {"jobs/job.py", "jobs/records.py", "jobs/energy.py", "jobs/leases.py",
            "jobs/gpu_driver.py", "jobs/software.py", "lazy_compiler.py",
            "__init__.py"}  # fmt: skip


class ImportsNothing(Exception):
    """An import of our own package that no file answers to: its rules would never rerun."""


@dataclass(frozen=True)
class Import:
    """What one name of an import statement stands for; ``name`` is empty for a whole module."""

    module: Path
    name: str
    local: str
    where: str


@dataclass(frozen=True)
class Source:
    """What a file does (``text``), what it takes of our own package, and the names it defines."""

    text: bytes
    imports: tuple[Import, ...]
    names: frozenset[str]


@cache
def _read(file: Path) -> Source:
    """One way through the tree of a file, since every dry run goes through those of all files."""
    text: list[str] = []
    imports: list[Import] = []
    tree = ast.parse(file.read_bytes(), str(file))
    for node in tree.body:
        _describe(node, file, text, imports)
    return Source("\n".join(text).encode(), tuple(imports), frozenset(_defined(tree.body)))


def _describe(node: ast.AST, file: Path, text: list[str], imports: list[Import]) -> None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring, or as idle as one
    if isinstance(node, ast.Import | ast.ImportFrom) and (own := _own(node, file)):
        imports.extend(own)
        return
    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends a width that is a variable with nothing
        node.values = [v for v in node.values if getattr(v, "value", None) != ""]
    text.append(type(node).__name__)
    for name in node._fields:
        value = getattr(node, name)
        if name == "type_params" and not value:
            continue  # a field since Python 3.12: every version gives the same hash
        for item in value if type(value) is list else (value,):
            if isinstance(item, ast.AST):
                _describe(item, file, text, imports)
            else:
                text.append(repr(item))
        text.append(")")


def _own(node: ast.Import | ast.ImportFrom, file: Path) -> list[Import]:
    """What an import takes of our own package; empty for others.

    Raises:
        ImportsNothing: there is no such module, or the import hides which one it means.
    """
    where = f"{file}, line {node.lineno}"
    if isinstance(node, ast.Import):
        own = [alias for alias in node.names if alias.name.partition(".")[0] == PACKAGE.name]
        local_names = [alias.asname for alias in own if alias.asname]
        if len(local_names) < len(own):
            raise ImportsNothing(f"{where}: write 'from {PACKAGE.name} import ...'")
        return [
            Import(_module(alias.name, where), "", local, where)
            for alias, local in zip(own, local_names, strict=True)
        ]
    if node.level or not node.module:
        raise ImportsNothing(f"{where}: name the module from {PACKAGE.name} on")
    if node.module.partition(".")[0] != PACKAGE.name:
        return []
    taken = []
    for alias in node.names:
        local = alias.asname or alias.name
        if submodule := _file(f"{node.module}.{alias.name}"):
            taken.append(Import(submodule, "", local, where))
        else:
            taken.append(Import(_module(node.module, where), alias.name, local, where))
    return taken


def _file(module: str) -> Path | None:
    """File of a module of our package, or of a package's ``__init__``; None where there is none."""
    place = PACKAGE.parent / module.replace(".", "/")
    files = (place.with_name(f"{place.name}.py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _module(module: str, where: str) -> Path:
    if not (file := _file(module)):
        raise ImportsNothing(f"{where}: there is no module {module}")
    return file


def _defined(body: list[ast.stmt]) -> set[str]:
    """Names that a module has once it is imported."""
    names: set[str] = set()
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif not isinstance(node, ast.expr) or isinstance(node, ast.Tuple | ast.NamedExpr):
            todo.extend(ast.iter_child_nodes(node))
    return names


def _resolved(file: Path) -> tuple[Import, ...]:
    """The imports of a file, each known to take something that is there."""
    imports = _read(file).imports
    for taken in imports:
        if taken.name and taken.name not in _read(taken.module).names:
            raise ImportsNothing(f"{taken.where}: {taken.module} has no '{taken.name}'")
    return imports


def _packages(file: Path) -> list[Path]:
    """The ``__init__`` files that run before a module of our package does."""
    inside = [place / "__init__.py" for place in file.parents if place.is_relative_to(PACKAGE)]
    return [init for init in inside if init != file and init.is_file() and _acts(init)]


def _acts(file: Path) -> bool:
    """Whether a file does anything that counts: a docstring does not."""
    return not _watches(file) and bool(_read(file).text or _read(file).imports)


_open: list[Path] = []  # whose digest is being taken


@cache
def _digest(file: Path) -> str:
    """Hash of what a file does, and of all it imports; of neither its name nor its place."""
    if file in _open:
        circle = " -> ".join(place.stem for place in [*_open[_open.index(file) :], file])
        raise ImportsNothing(f"modules import each other in a circle: {circle}")
    _open.append(file)
    try:
        lines = {_digest(init) for init in _packages(file)}
        for taken in _resolved(file):
            module = "watcher" if _watches(taken.module) else _digest(taken.module)
            lines.add(f"{module} {taken.name} {taken.local}")
    finally:
        _open.pop()
    return hashlib.sha256("\n".join(sorted(lines)).encode() + _read(file).text).hexdigest()


def _watches(module: Path) -> bool:
    return str(module.relative_to(PACKAGE)) in WATCHERS


@cache
def modules(script: Path) -> tuple[Path, ...]:
    """Library modules that a script imports, directly or through others, sorted."""
    todo, seen = [Path(script)], set()
    while todo:
        file = todo.pop()
        for module in [taken.module for taken in _resolved(file)] + _packages(file):
            if module not in seen and not _watches(module):
                seen.add(module)
                todo.append(module)
    return tuple(sorted(seen))


@cache
def code_hash(*files: Path) -> str:
    """Twelve hex digits that change when the library code behind these files changes.

    A script counts with what it imports, a module of the library counts itself too: what was
    counted by it names the code by this hash.

    Raises:
        ImportsNothing: an import of our own package that resolves to nothing, or runs in a circle.
    """
    digests: set[str] = set()
    for file in map(Path, files):
        own = file.is_relative_to(PACKAGE)
        behind = [file] if own else [taken.module for taken in _resolved(file)]
        digests.update(_digest(module) for module in behind if not _watches(module))
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()[:12]


@cache
def job_hash(*files: Path) -> str:
    """Twelve hex digits that change when a job would do another thing.

    A script counts with its own content and all that it imports, a file of another kind (a table of
    the project, a template) with its bytes. So the age of none of them has to mean anything.
    """
    digests = {
        _digest(file) if file.suffix == ".py" else hashlib.sha256(file.read_bytes()).hexdigest()
        for file in map(Path, files)
    }
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()[:12]
