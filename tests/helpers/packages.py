"""Which package of the library needs which, by the imports of their modules."""

import ast
from collections import defaultdict
from pathlib import Path

LIBRARY = Path("workflow_scripts/tokenscope")
PACKAGES = sorted(file.parent.name for file in LIBRARY.glob("*/__init__.py"))
MODULES = sorted(LIBRARY.rglob("*.py"))


def imports(file):
    """(module, names) of each import of our own package."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tokenscope"):
            yield node.module, [alias.name for alias in node.names]


def floors():
    """Sets of packages, from the ground up: each needs only those of the sets before its own."""
    needs = defaultdict(set)
    for file in MODULES:
        for module, names in imports(file):
            parts = module.split(".")
            package = parts[1] if len(parts) > 1 else names[0]
            if package in PACKAGES and file.parent.name in PACKAGES:
                needs[file.parent.name].add(package)
    built, left = [], {package: needs[package] - {package} for package in PACKAGES}
    while left:
        ground = {package for package, below in left.items() if not below & set(left)}
        assert ground, f"these packages need each other in a circle: {left}"
        built.append(ground)
        left = {package: below for package, below in left.items() if package not in ground}
    return built
