"""What is remembered while a study is planned is what would be found out anew."""

import inspect
import os
from types import SimpleNamespace

import pytest
from snakemake.io import IOFile
from snakemake.output_index import OutputIndex

from tokenscope import planning
from tokenscope.code_hash import PACKAGE, job_hash

SCRIPT = PACKAGE.parent / "norms" / "norms.py"


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A memory of this test's own."""
    monkeypatch.setattr(planning, "MEMORY", tmp_path / "kept" / "job_hash.json")
    forget()
    return planning.MEMORY


def forget():
    """As a new process begins."""
    planning._kept.cache_clear()
    planning.library.cache_clear()


def test_a_hash_is_kept_until_a_source_changes(memory, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(planning, "job_hash", lambda *f: asked.append(f) or job_hash(*f))
    script = tmp_path / "norms.py"
    script.write_bytes(SCRIPT.read_bytes())
    for _ in range(2):
        assert planning.hash_of(script) == job_hash(SCRIPT)
        forget()
    assert len(asked) == 1
    os.utime(script, ns=(1, 1))
    planning.hash_of(script)
    assert len(asked) == 2
    monkeypatch.setattr(planning, "library", lambda: [["another.py", 1, 1]])
    forgotten = planning._kept.__wrapped__(planning.job_hash, script)
    assert forgotten == job_hash(SCRIPT) and len(asked) == 3


@pytest.mark.parametrize("kept", ["", "{}", '{"library": [], "hashes": {}}', "[1]"])
def test_a_memory_that_is_torn_or_old_is_not_believed(memory, kept):
    memory.parent.mkdir()
    memory.write_text(kept)
    assert planning.hash_of(SCRIPT) == job_hash(SCRIPT)


def test_signatures_are_asked_for_once_and_also_of_what_has_no_hash():
    class NoHash(list):
        def __call__(self, wildcards): ...

    asked = []

    def parameters(function):
        asked.append(function)
        return inspect.signature(function).parameters

    module, other = SimpleNamespace(get_function_params=parameters), SimpleNamespace()
    planning.remember_signatures((module, other))
    for function in (SCRIPT.stat, SCRIPT.stat, NoHash(), NoHash()):
        assert module.get_function_params(function) == inspect.signature(function).parameters
    assert len(asked) == 3 and vars(other) == {}


def test_one_more_look_is_under_way_at_a_time(monkeypatch):
    class Scheduler:
        def look_again(self, delay):
            asked.append((self.name, now[0], delay))

    asked, now = [], [0.0]
    monkeypatch.setattr(planning.time, "monotonic", lambda: now[0])
    for _ in range(2):  # as when a process reads the rules twice
        planning.look_once(Scheduler, "look_again")
    planning.look_once(Scheduler, "a method of another version")
    planning.look_once(None)
    one, other = Scheduler(), Scheduler()
    one.name, other.name = "one", "other"
    for at in (0.0, 0.5, 0.9, 1.0, 1.5, 2.5):
        now[0] = at
        one.look_again(1)
    one.look_again(10)
    other.look_again(1)
    times = [("one", at, 1) for at in (0.0, 1.0, 2.5)]
    assert asked == [*times, ("one", 2.5, 10), ("other", 2.5, 1)]


def test_snakemake_asks_for_looks_as_is_known_here():
    import snakemake.api  # the others cannot be imported first

    assert callable(snakemake.workflow.JobScheduler._schedule_reevalutation)


def test_a_file_is_made_by_the_rules_that_snakemake_finds():
    class Rule:
        def __init__(self, *patterns):
            self.patterns = patterns

        def products(self):
            return [IOFile(pattern) for pattern in self.patterns]

    heads, tails = ("", "f/", "f/{d}/", "f/data/{d}", "t/{n}"), ("", "a", "a.png", "ba.png", "-p2")
    rules = [Rule(head + tail, tail) for head in heads for tail in tails]
    ours, theirs = planning.OutputsBySuffix(rules), OutputIndex(rules)
    files = [f"{head.format(d='x', n='y')}{tail}" for head in heads for tail in tails] + ["g", "f/"]
    found = {file: theirs.match(file) for file in files}
    assert {file: ours.match(file) for file in files} == found
    assert 1 < min(map(len, found.values())) < max(map(len, found.values())) < len(rules)


def test_another_snakemake_keeps_its_own_index():
    class Another: ...

    modules = SimpleNamespace(OutputIndex=Another), SimpleNamespace(), SimpleNamespace()
    modules[2].OutputIndex = OutputIndex
    for module in modules:
        planning.find_by_suffix(module)
    assert modules[0].OutputIndex is Another and vars(modules[1]) == {}
    assert modules[2].OutputIndex is planning.OutputsBySuffix
