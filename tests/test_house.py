"""The shape of the house: packages without circles, files and signatures one can take in."""

import ast
import re
from pathlib import Path

import pytest
from packages import LIBRARY, MODULES, PACKAGES, floors, imports

SCRIPTS = Path("workflow_scripts")
CODE = sorted(SCRIPTS.rglob("*.py"))
# A function of more parameters says why, by one of these words in its docstring.
MOST_PARAMETERS, REASON = 10, re.compile(r"parameters?\b.*\b(for each|because)|because", re.S)


def test_every_package_introduces_itself_and_does_nothing_else():
    assert {file.parent.name for file in MODULES} == {*PACKAGES, LIBRARY.name}
    for file in LIBRARY.rglob("__init__.py"):
        only, *more = ast.parse(file.read_text()).body
        assert isinstance(only.value.value, str), file
        # The first of all may let jobs start sooner, as no hash of code counts it.
        first = ["from tokenscope import garbage, lazy_compiler", "garbage.put_off()",
                 "lazy_compiler.install()"]  # fmt: skip
        assert list(map(ast.unparse, more)) == first * (file.parent == LIBRARY), file


def test_no_circle_between_packages():
    assert len(floors()) > 3


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_small(package):
    assert len(list((LIBRARY / package).glob("*.py"))) - 1 <= 12


def test_files_are_short():
    lengths = {file: len(file.read_text().splitlines()) for file in CODE}
    assert {file: n for file, n in lengths.items() if n > 350} == {}
    rules = {file: len(file.read_text().splitlines()) for file in Path("rules").glob("*.smk")}
    assert {file: n for file, n in rules.items() if n > 200} == {}


def signatures():
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                a = node.args
                count = len([*a.posonlyargs, *a.args, *a.kwonlyargs])
                yield file, node, count - (bool(a.args) and a.args[0].arg in ("self", "cls"))


def test_functions_take_few_parameters_or_say_why():
    many = [
        f"{file}: {node.name} takes {count}"
        for file, node, count in signatures()
        if count > MOST_PARAMETERS and not REASON.search(ast.get_docstring(node) or "")
    ]
    assert many == []


def test_modules_keep_their_private_names_to_themselves():
    for file in CODE:
        for module, names in imports(file):
            assert not [name for name in names if name.startswith("_")], (file, module, names)


def scripts_of_rules():
    programs = [file for file in CODE if LIBRARY not in file.parents and file.parent != SCRIPTS]
    return [file for file in programs if "snakemake" in file.read_text()]


@pytest.mark.parametrize("file", scripts_of_rules(), ids=str)
def test_a_script_calls_its_main_by_keyword_and_says_what_it_takes(file):
    tree = ast.parse(file.read_text())
    (main,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
    calls = [
        node
        for block in tree.body
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "main"
    ]
    assert calls and not any(call.args for call in calls)
    docstring = ast.get_docstring(main) or ""
    for argument in [*main.args.args, *main.args.kwonlyargs]:
        name = argument.arg
        assert re.search(rf"\b{name}\b", docstring), f"{file}: main does not say {name}"
