"""The hash that tells Snakemake which rules a change in the library concerns."""

import re
import shutil
from pathlib import Path

import pytest

from tokenscope import code_hash
from tokenscope.code_hash import ImportsNothing

SCRIPTS = Path("workflow_scripts")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    shutil.copytree(SCRIPTS, tmp_path / "ws")
    monkeypatch.setattr(code_hash, "PACKAGE", tmp_path / "ws" / "tokenscope")
    return tmp_path / "ws"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A script, and a package of two modules and a package inside."""
    files = {
        "script.py": "from tokenscope import top\nfrom tokenscope.inner.deep import f as g\n",
        "tokenscope/__init__.py": '"""Only words."""\n',
        "tokenscope/top.py": "from tokenscope.inner import deep\n\nA = 1\n",
        "tokenscope/inner/__init__.py": '"""Only words."""\n',
        "tokenscope/inner/deep.py": "def f():\n    return 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code_hash, "PACKAGE", tmp_path / "tokenscope")
    return tmp_path


def fresh(*files):
    for function in (code_hash._read, code_hash._digest, code_hash.modules, code_hash.code_hash):
        function.cache_clear()
    return code_hash.code_hash(*files)


def hashes(folder):
    return {
        script.name: fresh(script)
        for script in folder.rglob("*.py")
        if "tokenscope" not in script.parts
    }


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_change_concerns_only_those_who_import_it(copy):
    before = hashes(copy)
    edit(copy / "tokenscope" / "figures" / "style.py", '"#D55E00"', '"#D55E01"')
    changed = {name for name, h in hashes(copy).items() if h != before[name]}
    figures = {path.name for path in copy.rglob("fig_*.py")}
    assert changed == figures | {"diagnosis_page.py"}


def test_changes_reach_through_imports(copy):
    before = hashes(copy)
    edit(copy / "tokenscope" / "images" / "geometry.py", "math.floor", "math.ceil")
    changed = {name for name, h in hashes(copy).items() if h != before[name]}
    assert {"decode.py", "extract.py", "gallery.py"} <= changed
    assert not changed & {"norms.py", "gather.py", "fig_norms.py", "obtain.py"}


def test_what_only_watches_a_job_reruns_nothing(copy):
    before = hashes(copy)
    for name in code_hash.WATCHERS:
        file = copy / "tokenscope" / name
        file.write_text(file.read_text() + "\n\nWATCHED = 1\n")
    assert hashes(copy) == before


def test_comments_and_docstrings_do_not_count(copy):
    before = hashes(copy)
    for file in (copy / "tokenscope").rglob("*.py"):
        text = file.read_text().replace('"""', '"""Reworded. ', 1)
        file.write_text("# a remark\n\n" + text + "\n# another\n")
    assert hashes(copy) == before


def test_a_change_in_a_package_reaches_the_script(small):
    before = fresh(small / "script.py")
    edit(small / "tokenscope/inner/deep.py", "return 1", "return 2")
    assert fresh(small / "script.py") != before
    assert [m.name for m in code_hash.modules(small / "script.py")] == ["deep.py", "top.py"]


def test_every_python_gives_the_same_hash(small):
    """One that was written down: a clone drawn on another Python knows the counts of its code."""
    (small / "tokenscope/top.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass\nclass A:\n    b: int = 1\n\n"
        "    async def c(self, *d, e: str | None = None, **f) -> list[int]:\n"
        '        """Words."""\n'
        "        match d:\n            case [1, *g] if f'{e!r:>{self.b}}' 'x':\n"
        "                return [h async for h in g if (i := h)]\n"
        "        return (lambda j, /: -j)(1e9)\n"
    )
    assert fresh(small / "script.py") == "56e5bd2e528d"


def test_a_module_that_is_moved_or_renamed_changes_no_hash(small):
    before = fresh(small / "script.py"), fresh(small / "tokenscope/top.py")
    (small / "tokenscope/inner/deep.py").rename(small / "tokenscope/flat.py")
    (small / "tokenscope/top.py").rename(small / "tokenscope/inner/above.py")
    edit(small / "tokenscope/inner/above.py", "inner import deep", "flat import f\nfrom x import y")
    assert fresh(small / "tokenscope/inner/above.py") != before[1]  # it takes another thing
    text = "from tokenscope import flat as deep\n\nA = 1\n"
    (small / "tokenscope/inner/above.py").write_text(text)
    text = "from tokenscope.flat import f as g\nfrom tokenscope.inner import above as top\n"
    (small / "script.py").write_text(text)
    assert (fresh(small / "script.py"), fresh(small / "tokenscope/inner/above.py")) == before


def test_the_init_of_a_package_counts_once_it_does_something(small):
    before = fresh(small / "script.py")
    init = small / "tokenscope/inner/__init__.py"
    init.write_text('"""Other words."""\n')
    assert fresh(small / "script.py") == before
    init.write_text("import random\n\nrandom.seed(1)\n")
    assert fresh(small / "script.py") != before


@pytest.mark.parametrize(
    "line, message",
    [
        ("from tokenscope.absent import x", "no module tokenscope.absent"),
        ("from tokenscope.inner import absent", "has no 'absent'"),
        ("from tokenscope.inner.deep import absent", "has no 'absent'"),
        ("from tokenscope import absent", "has no 'absent'"),
        ("import tokenscope.inner.absent as x", "no module tokenscope.inner.absent"),
        ("import tokenscope.inner.deep", "write 'from tokenscope import"),
        ("from . import top", "name the module from tokenscope on"),
    ],
)
@pytest.mark.parametrize("file", ["script.py", "tokenscope/top.py"])
def test_an_import_that_resolves_to_nothing_is_refused(small, file, line, message):
    (small / file).write_text(f"{(small / file).read_text()}\n{line}\n")
    with pytest.raises(ImportsNothing, match=f"{Path(file).name}, line \\d+: .*{message}"):
        fresh(small / "script.py")


def test_a_circle_of_imports_is_named(small):
    edit(small / "tokenscope/inner/deep.py", "def f", "from tokenscope import top\n\n\ndef f")
    with pytest.raises(ImportsNothing, match="circle: top -> deep -> top"):
        fresh(small / "tokenscope/top.py")


def test_several_files_count_together(small):
    top, deep = small / "tokenscope/top.py", small / "tokenscope/inner/deep.py"
    assert fresh(top, deep) == fresh(deep, top) != fresh(top)


def test_a_job_counts_its_script_and_the_files_that_it_reads(small):
    """Their content: a clone dates all of them anew."""
    script, table = small / "script.py", small / "published.csv"
    table.write_text("a,b\n1,2\n")

    def job():
        fresh(script)
        code_hash.job_hash.cache_clear()
        return code_hash.job_hash(script, table)

    before, counted = job(), fresh(script)
    script.touch()
    table.touch()
    script.write_text(f"# a remark\n{script.read_text()}")
    assert job() == before
    table.write_text("a,b\n1,3\n")
    assert job() != before
    table.write_text("a,b\n1,2\n")
    script.write_text(f"{script.read_text()}\nB = 2\n")
    assert job() != before and fresh(script) == counted  # what was counted is the library's
    script.write_text(script.read_text().replace("\nB = 2\n", ""))
    assert job() == before
    edit(small / "tokenscope/inner/deep.py", "return 1", "return 2")
    assert job() != before


def test_inputs_of_the_project_count_by_content():
    """A table or a template among a rule's inputs is ``ancient`` and in its hash."""
    constants = "PUBLISHED|COUNTED|TEMPLATES|REPORTED|PAGE_FILES"
    named = rf'{constants}|of_project\("(?:config|workflow_scripts/templates)/'
    for file in sorted(Path("rules").glob("*.smk")):
        for text in re.split(r"^(?=(?:use )?rule )", file.read_text(), flags=re.M)[1:]:
            inputs = (re.findall(r"^    input:\n((?:        .*\n)+)", text, re.M) or [""])[0]
            for line in inputs.splitlines():
                if re.search(named, line):
                    assert "ancient(" in line, f"{file}: {line}"
                    assert re.search(r"reads=", text), f"{file}: {text[:40]}"


def rules_with_scripts():
    """(rule, the script it runs, the files it hashes) as the rule files say."""
    for file in sorted(Path("rules").glob("*.smk")):
        for text in re.split(r"^(?=(?:use )?rule )", file.read_text(), flags=re.M)[1:]:
            rule = re.match(r"(?:use )?rule (?:\w+ as )?(\w+)", text)[1]
            script = re.search(r'script:\s+"\.\./workflow_scripts/([\w/]+\.py)"', text)
            hashed = re.search(r"code=code\(([^)]*)\)", text)
            if script or hashed:
                files = re.findall(r'"([\w/]+\.py)"', hashed[1]) if hashed else []
                yield pytest.param(script and script[1], files, id=rule)


@pytest.mark.parametrize("script, files", list(rules_with_scripts()))
def test_a_rule_hashes_the_script_it_runs(script, files, request):
    assert files, "a rule with a script carries code=code(...)"
    if request.node.callspec.id == "train":
        behind = code_hash.modules(SCRIPTS.resolve() / script)
        assert all((SCRIPTS / file).resolve() in behind for file in files)
    elif script:  # rules made by `use rule` run the script of the rule they come from
        assert files == [script]
    for file in files:
        assert re.fullmatch("[0-9a-f]{12}", fresh(SCRIPTS.resolve() / file))


@pytest.mark.parametrize(
    "module",
    [
        "backbones/registers", "backbones/loading", "training/trainer", "training/losses",
        "training/batches",
    ],
)  # fmt: skip
def test_what_decides_trained_weights_is_in_the_hash_of_train(copy, module):
    files = next(p.values[1] for p in rules_with_scripts() if p.id == "train")
    before = fresh(*(copy / file for file in files))
    source = copy / "tokenscope" / f"{module}.py"
    source.write_text(source.read_text() + "\n\nCHANGED = 1\n")
    assert fresh(*(copy / file for file in files)) != before
