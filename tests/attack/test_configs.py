"""Attempts on configs: keys twice, numbers without end, expressions, aliases, bytes."""

import math

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from projects import ROOT

from tokenscope.config_file import strict_yaml
from tokenscope.report import contents

DEMO = (ROOT / "config" / "demo.yaml").read_text()
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
FILES = {
    "nothing": "", "a comment": "# study\n", "a list": "[1, 2]\n", "a word": "study\n",
    "a number": "3\n", "tabs": "study:\n\tname: x\n", "an open quote": "study: 'x\n",
    "an open bracket": "a: [1, 2\n", "two documents": "a: 1\n---\na: 2\n",
    "a key twice": "study: a\nstudy: b\n", "a key twice, below": "a:\n  b: 1\n  b: 2\n",
    "a key twice, in a list": "a: [{b: 1, b: 2}]\n", "a key twice, as JSON": '{"a": 1, "a": 2}',
    "a key twice, quoted": "a: 1\n'a': 2\n", "a key twice, merged": "x: &x {a: 1}\ny:\n  <<: *x\n"
    "  a: 2\n  a: 3\n",
    "infinite": "x: .inf\n", "minus infinite": "x: -.inf\n", "no number": "x: .nan\n",
    "infinite, capital": "x: .INF\n", "infinite in a list": "x: [1, .inf]\n",
    "infinite by an exponent": "x: 1.0e+999\n", "infinite below": "a: {b: {c: .nan}}\n",
    "an expression": "__use_yte__: true\n?print('x'): 1\n",
    "an object": "x: !!python/object:os.a {}\n",
    "a call": "x: !!python/object/apply:os.system ['touch ran']\n", "a tag": "x: !mine 3\n",
    "an unknown alias": "x: *a\n", "within itself": "x: &x {y: *x}\n", "a list within itself":
    "x: &x [*x]\n", "a billion laughs": LAUGHS, "a list as key": "? [1, 2]\n: 3\n",
    "a NUL": "a: \0\n", "no UTF-8": b"a: \xff\xfe\n", "control letters": "a: \x07\n",
    "deep": "[" * 3000,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path, attempt, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = FILES[name]
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "config.yaml").write_bytes(content)
    said = attempt(lambda: strict_yaml.load(tmp_path / "config.yaml"))
    assert "config.yaml" in said and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["nothing", "a folder"])
def test_places(tmp_path, attempt, place):
    if place == "a folder":
        (tmp_path / "config.yaml").mkdir()
    attempt(lambda: strict_yaml.load(tmp_path / "config.yaml"))


NUMBERS = [
    line.strip() for line in DEMO.splitlines()
    if line.startswith(("  images:", "  epochs:", "  batch:", "  rounds:", "  blocks:"))
]  # fmt: skip


@pytest.mark.parametrize("line", NUMBERS)
@pytest.mark.parametrize("number", [".inf", ".nan", "-.inf"])
def test_every_number_of_the_demo(tmp_path, attempt, line, number):
    text = DEMO.replace(line, f"{line.split(':')[0]}: {number}", 1)
    (tmp_path / "config.yaml").write_text(text)
    attempt(lambda: strict_yaml.load(tmp_path / "config.yaml"))


KEYS = [line.split(":")[0] for line in DEMO.splitlines() if line[:1].isalpha()]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_demo_twice(tmp_path, attempt, key):
    (tmp_path / "config.yaml").write_text(f"{DEMO}\n{key}: 1\n")
    said = attempt(lambda: strict_yaml.load(tmp_path / "config.yaml"))
    assert f"'{key}' is there twice" in said


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda f: f.name)
def test_our_own_are_taken(attempt, file):
    attempt(lambda: strict_yaml.load(file), lambda d: d == yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("what", ["a key twice", "infinite", "a list", "no UTF-8"])
def test_sections_of_the_report(tmp_path, attempt, what):
    content = FILES[what]
    (tmp_path / "report.yaml").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    attempt(lambda: contents.sections(str(tmp_path / "report.yaml")))


VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), st.text()),
    lambda below: st.one_of(
        st.lists(below, max_size=4), st.dictionaries(st.text(max_size=5), below, max_size=4)
    ),
    max_leaves=12,
)


def finite(value):
    if isinstance(value, dict | list):
        return all(map(finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.text(max_size=5), VALUE, max_size=5))
def test_any_values(tmp_path_factory, attempt, values):
    """What was written comes back, unless a number is not finite."""
    file = tmp_path_factory.mktemp("yaml") / "config.yaml"
    try:
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
    except UnicodeEncodeError:
        return
    attempt(lambda: strict_yaml.load(file), lambda found: found == values and finite(values))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(DEMO)), st.text(max_size=6), st.integers(0, 6))
def test_any_change_of_the_demo(tmp_path_factory, attempt, at, put, taken):
    """A sentence, or what YAML says with each key once."""
    file = tmp_path_factory.mktemp("yaml") / "config.yaml"
    file.write_bytes((DEMO[:at] + put + DEMO[at + taken :]).encode("utf-8", "replace"))

    def right(found):  # libyaml takes a tab for a space where PyYAML's own scanner does not
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return found == yaml.load(file.read_bytes(), Loader=loader)

    attempt(lambda: strict_yaml.load(file), right)
