"""What the pages for people say about the project's rooms is so."""

import ast
import re
from itertools import product

import pytest
from packages import floors
from projects import ROOT

SCRIPTS = ROOT / "workflow_scripts"
LIBRARY = SCRIPTS / "tokenscope"
FLOOR_PLAN = SCRIPTS / "README.md"
RULES = {file.name: file.read_text() for file in ROOT.glob("rules/*.smk")}
PAGES = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md", "config/results.md",
    "profiles/README.md", "tests/bench/README.md", "tests/slurm/README.md",
    "workflow_scripts/README.md",
]  # fmt: skip
CODE = re.compile(r"\.(py|smk|md|toml|ya?ml)$")
PATH = re.compile(r"[\w.-]+(/[\w.-]+)*/?")
# Made by a study or by the environment, or an example of a name.
MADE_ELSEWHERE = {"results", "studies", ".venv", ".snakemake"}


def sections(page):
    """The text below each heading of a page."""
    parts = re.split(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(text):
    """Rows of the first table in a text, without its head, as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def in_backticks(text):
    """What stands in backticks, outside blocks of code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


@pytest.mark.parametrize("name", PAGES)
def test_paths_that_a_page_names_exist(name):
    page = ROOT / name
    places = [page.parent, ROOT, SCRIPTS, LIBRARY, ROOT / "rules"]
    rooms = {child.name for place in places for child in place.iterdir()}
    text = page.read_text()
    if name == "config/results.md":  # its tables name what a study makes
        text = re.sub(r"^\|.*", "", text, flags=re.M)
    missing = []
    for word in in_backticks(text):
        first = word.removeprefix("../").partition("/")[0]
        if not PATH.fullmatch(word) or first in MADE_ELSEWHERE:
            continue
        looks_like_one = CODE.search(word) or ("/" in word and first in rooms)
        if looks_like_one and not any((place / word).exists() for place in places):
            missing.append(word)
    assert not missing


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_that_a_page_names_exist(name):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"(?:`|^    )make ([a-z-]+)", (ROOT / name).read_text(), re.M)
    assert set(named) <= targets


def test_the_floor_plan_names_every_package_once():
    rows = table(sections(FLOOR_PLAN)["Library, in the order of the data"])
    packages = sorted(f"`{f.parent.name}/`" for f in LIBRARY.glob("*/__init__.py"))
    assert sorted(row[0] for row in rows) == packages


def test_the_floor_plan_names_the_floors_in_order():
    text = sections(FLOOR_PLAN)["Library, in the order of the data"]
    beside, *lines = re.findall(r"^    (.+)$", text, re.M)
    alone = {file.stem for file in LIBRARY.glob("*.py")} - {"__init__"}
    assert set(beside.split(", ")) == alone
    assert {f"`{name}.py`" for name in alone} <= {f"`{one}`" for one in in_backticks(text)}
    assert [set(line.split(", ")) for line in lines] == floors()


def test_the_table_of_the_readme_holds_cell_by_cell():
    """Questions and where they are answered: config, rules, library, table, figures."""
    schema = (ROOT / "config/schemas/config.schema.yaml").read_text()
    made = "\n".join([*RULES.values(), (ROOT / "config/report.yaml").read_text()])
    rows = table((ROOT / "README.md").read_text())
    assert len(rows) >= 10
    for question, *cells in rows:
        keys, rules, modules, tables, figures = (re.findall(r"`([^`]+)`", c) for c in cells)
        assert all(re.search(rf"^  {key}:", schema, re.M) for key in keys), question
        assert set(rules) <= set(RULES) and rules, question
        assert all((LIBRARY / module).exists() for module in modules) and modules, question
        for name in [*tables, *figures]:
            assert re.search(rf"\b{name}\b", made), f"{question}: nothing makes {name}"


def test_rules_that_the_page_on_results_names_exist():
    rules = set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", "\n".join(RULES.values()), re.M))
    text = (ROOT / "config/results.md").read_text()
    named = [
        word for row in re.findall(r"^\|[^|]+\|([^|]+)\|", text, re.M) for word in in_backticks(row)
    ]
    assert len(named) > 60
    assert {word for word in named if not word.startswith("fig_*")} <= rules


def index():
    """(term, module) of each term that a reader of the papers looks for."""
    for looked_for, module in table(sections(FLOOR_PLAN)["Where a reader of the papers looks"]):
        # Commas part terms, but not those within one.
        terms = looked_for.removeprefix("annotations: ").split(", ")
        terms = [looked_for] if looked_for == "q, k, v features" else terms
        yield from product(terms, re.findall(r"`([^`]+)`", module))


def plain(text):
    """Words alone: without case, hyphens and underscores."""
    return re.sub(r"[-_/\s]+", " ", text.removesuffix(".py").lower())


@pytest.mark.parametrize(("term", "module"), list(index()))
def test_a_term_of_the_papers_stands_where_it_is_looked_for(term, module):
    docstring = ast.get_docstring(ast.parse((LIBRARY / module).read_text()))
    where = f"{plain(module)} | {plain(docstring.splitlines()[0])}"
    assert re.search(rf"\b{re.escape(plain(term))}s?\b", where), f"{term}: {where}"


def test_no_term_is_lost():
    assert len(list(index())) >= 36
