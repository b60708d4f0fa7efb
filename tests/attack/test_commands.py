"""Attempts on commands: what a user types is never run, and a pack holds only what it should."""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from projects import ROOT

from tokenscope.errors import StudyError

NASTY = {
    "a command": "$(touch ran)", "backticks": "`touch ran`", "make's own": "$(shell touch ran)",
    "quotes": '"; touch ran; "', "a single quote": "'; touch ran; '", "a semicolon": "x; touch ran",
    "an ampersand": "x & touch ran", "a pipe": "x | touch ran", "a redirection": "x > ran",
    "a variable": "$HOME x", "a variable of make": "$(MAKE) x", "dollars": "a$b$$c",
    "spaces": "a  b ", "a glob": "*", "a line break": "a\ntouch ran", "a hash": "a#b",
    "a backslash": "a\\b\\", "an exclamation": "a!b", "braces": "{a,b}", "a tilde": "~",
    "letters of elsewhere": "\u00e4\u4e2d", "a percent": "%s%n",
}  # fmt: skip
# Which words a program is called with: one a line, after a line of dashes.
RECORDER = '#!/bin/sh\nprintf -- "----\\n" >> "$RECORD"\nprintf "%s\\n" "$@" >> "$RECORD"\n'


@pytest.fixture
def bench(tmp_path):
    """A folder with the Makefile and programs that only note what they are called with."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("rules", "config", "envs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "snakemake"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    (tmp_path / ".venv" / "complete").touch()
    (tmp_path / "results/demo/figures/data").mkdir(parents=True)
    return tmp_path


def make(folder, *words, **environment):
    """What make's programs were called with, together."""
    record = folder / "record"
    env = {**os.environ, "RECORD": str(record), **environment}
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"):
        env.pop(name, None)
    done = subprocess.run(
        ["make", "-o", ".venv/complete", *words], cwd=folder, env=env, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    return done, record.read_text() if record.exists() else ""


def judged(folder, word, told):
    """Nothing ran that should not, and the word arrived as it was typed."""
    if list(folder.rglob("ran")):
        return "ran"
    if word not in told:
        return f"'{word}' did not arrive: {told}"
    return "as typed"


@pytest.mark.parametrize("how", ["command line", "environment"])
@pytest.mark.parametrize("name", NASTY)
def test_images(bench, attempt, name, how):
    word = NASTY[name]

    def run():
        if how == "environment":
            _, told = make(bench, "diagnose", MODEL="m", IMAGES=word)
        else:
            _, told = make(bench, "diagnose", "MODEL=m", f"IMAGES={word}")
        return judged(bench, f"--images={word}", told)

    attempt(run, lambda result: result == "as typed")


@pytest.mark.parametrize(
    "key", ["MODEL", "ARCH", "AGAINST", "AGAINST_ARCH", "NAME", "WEIGHTS", "BAD", "CLASSES"]
)
@pytest.mark.parametrize("name", ["a command", "backticks", "make's own", "quotes", "dollars"])
def test_what_diagnose_is_given(bench, attempt, name, key):
    word = NASTY[name]
    words = {"MODEL": "m", "IMAGES": "i", key: word}

    def run():
        _, told = make(bench, "diagnose", *(f"{k}={v}" for k, v in words.items()))
        option = f"--{key.lower().replace('_', '-')}={word}"
        return judged(bench, option, told)

    attempt(run, lambda result: result == "as typed")


@pytest.mark.parametrize("target", ["study", "check", "forecast", "pack", "report", "resume"])
@pytest.mark.parametrize("name", NASTY)
def test_configs(bench, attempt, name, target):
    word = f"config/{NASTY[name].replace('/', '')}.yaml"
    (bench / word).write_text("study: x\n")

    def run():
        _, told = make(bench, target, f"CONFIG={word}")
        return judged(bench, word, told)

    attempt(run, lambda result: result == "as typed")


@pytest.mark.parametrize("target", ["pack", "report", "figure"])
@pytest.mark.parametrize("name", NASTY)
def test_studies_that_are_not_there(bench, attempt, name, target):
    def run():
        done, told = make(bench, target, f"STUDY={NASTY[name]}", "FIG=f")
        if list(bench.rglob("ran")) or told or not done.returncode:
            return f"{told} {done.stdout}"
        raise StudyError(done.stdout)

    said = attempt(run)
    assert "there is no study" in said


@pytest.mark.parametrize("name", NASTY)
def test_figures(bench, attempt, name):
    def run():
        _, told = make(bench, "figure", f"FIG={NASTY[name]}", "STUDY=demo")
        return judged(bench, f"figure={NASTY[name]}", told)

    attempt(run, lambda result: result == "as typed")


@pytest.mark.parametrize("key", ["HOW", "SECTION", "BENCH", "PYTHON"])
@pytest.mark.parametrize("name", ["a command", "backticks", "make's own", "quotes"])
def test_other_words(bench, attempt, name, key):
    target = {"HOW": "resume", "SECTION": "bench", "BENCH": "bench", "PYTHON": "help"}[key]

    def run():
        make(bench, target, f"{key}={NASTY[name]}")
        return not list(bench.rglob("ran"))

    attempt(run, bool)


@pytest.mark.parametrize("words", [[], ["stores"], ["stores", "kinds"]])
def test_sections_of_the_bench(bench, words):
    """Without one all are measured: no empty word stands in its place."""
    _, told = make(bench, "bench", *([f"SECTION={' '.join(words)}"] if words else []))
    assert told.splitlines() == ["----", "-m", "bench", *words]


TYPOS = [
    ("stduy STUDY=demo", "make has no target 'stduy'; nearest: study"),
    ("study STUDI=demo", "there is no variable 'STUDI'; nearest: STUDY"),
    ("report study=demo", "there is no variable 'study'; nearest: STUDY"),
    ("diagnose MODEL=m IMAGES=i AGAINTS=n", "there is no variable 'AGAINTS'; nearest: AGAINST"),
    ("study STUDY=dmeo", "there is no study 'dmeo', only: "),
    ("study STUDY=dmeo", "; nearest: demo"),
    ("study STUDY=demo GPUS=four", "GPUS=four: it is a whole number"),
    ("status STUDY=demo WATCH=soon", "WATCH=soon: it is a whole number"),
    ("resume HOW=--cancle", "HOW=--cancle: it is one of: --wait --cancel; nearest: --cancel"),
    ("it's", "make has no target 'it's'"),
    ("$(touch${IFS}ran)", "make has no target '$'"),
    ("`touch${IFS}ran`", "make has no target '`touch${IFS}ran`'"),
]


@pytest.mark.parametrize(("words", "sentence"), TYPOS)
def test_typos_of_make_are_answered_and_run_nothing(bench, words, sentence):
    done, told = make(bench, *words.split())
    assert done.returncode and sentence in done.stdout + done.stderr
    assert not told and not list(bench.rglob("ran"))


STUDY = """study: mine
results: {results}
backbones: ["a/b/r0"]
analyse: [scenes]
datasets: {{scenes: {{type: scenes, images: 10, seed: 1}}}}
"""


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A folder with a config and a few results."""
    monkeypatch.chdir(tmp_path)
    for name in ("tables/claim1.csv", "figures/data/a.csv", "receipts/sample/s.json"):
        file = Path("results/mine", name)
        file.parent.mkdir(parents=True)
        file.write_text(name)
    Path("mine.yaml").write_text(STUDY.format(results="results/mine"))
    (tmp_path.parent / f"{tmp_path.name}-outside.csv").write_text("secret")
    return tmp_path


def packed(config="mine.yaml"):
    import pack  # a program, not of the library

    return pack.main(config)


def test_a_pack_is_what_it_should_be(finished, attempt):
    def right(archive):
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
        return len(members) == 6 and all(  # three results, the config, their list, the crate
            m.isreg() and not m.name.startswith(("/", "..")) and not m.uname for m in members
        )

    attempt(packed, right)


def outside(folder):
    return folder.parent / f"{folder.name}-outside.csv"


PACKS = {
    "a link to elsewhere": lambda f: Path("results/mine/tables/x.csv").symlink_to(outside(f)),
    "a link within": lambda f: Path("results/mine/tables/x.csv").symlink_to("claim1.csv"),
    "results elsewhere": lambda f: Path("mine.yaml").write_text(STUDY.format(results="/tmp")),
    "results above": lambda f: Path("mine.yaml").write_text(STUDY.format(results="../x")),
    "a table elsewhere": lambda f: Path("mine.yaml").write_text(
        STUDY.format(results="results/mine") + f"backbone_tables: [{outside(f)}]\n"
    ),
    "a table above": lambda f: Path("mine.yaml").write_text(
        STUDY.format(results="results/mine") + f"backbone_tables: [../{outside(f).name}]\n"
    ),
    "a report elsewhere": lambda f: Path("mine.yaml").write_text(
        STUDY.format(results="results/mine") + f"report: {{sections: {outside(f)}}}\n"
    ),
    "a config by a link": lambda f: (
        Path("mine.yaml").rename("t.yaml"), Path("mine.yaml").symlink_to("t.yaml")
    ),
    "a key twice": lambda f: Path("mine.yaml").write_text(
        STUDY.format(results="results/mine") + "study: other\n"
    ),
    "an expression": lambda f: Path("mine.yaml").write_text(
        STUDY.format(results="results/mine") + "__use_yte__: true\n"
    ),
    "no study": lambda f: Path("mine.yaml").write_text("results: results/mine\n"),
    "a name with a slash": lambda f: Path("mine.yaml").write_text(
        STUDY.format(results="results/mine").replace("study: mine", "study: ../../x")
    ),
    "an unknown key": lambda f: Path("mine.yaml").write_text(
        STUDY.format(results="results/mine") + "resluts: x\n"
    ),
    "no results": lambda f: shutil.rmtree("results"),
    "no config": lambda f: Path("mine.yaml").unlink(),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKS)
def test_packs(finished, attempt, name):
    PACKS[name](finished)
    attempt(packed)
    assert not list(finished.rglob("*.tar.gz"))


def test_a_file_of_two_names_is_packed_twice(finished, attempt):
    os.link("results/mine/tables/claim1.csv", "results/mine/tables/x.csv")

    def right(archive):
        with tarfile.open(archive) as tar:
            return all(member.isreg() for member in tar) and len(tar.getmembers()) == 7

    attempt(packed, right)


def test_a_pipe_is_not_packed(finished, attempt):
    os.mkfifo("results/mine/tables/pipe")

    def right(archive):
        with tarfile.open(archive) as tar:
            return not any("pipe" in name for name in tar.getnames())

    attempt(packed, right)


def test_every_variable_that_a_recipe_reads_may_be_given():
    """Else make refuses as unknown what its own help and pages say."""
    makefile = (ROOT / "Makefile").read_text()
    read = set(re.findall(r"\$\$\{?([A-Z][A-Z_]+)\b", makefile))
    (free,) = re.findall(r"^FREE := (.*)$", makefile, re.M)
    assert read - set(free.split()) <= {"HOME", "PATH"}, read - set(free.split())
    pages = [ROOT / name for name in ("README.md", "config/README.md", "config/stores.md",
                                      "profiles/README.md", "CHANGELOG.md")]  # fmt: skip
    for page in pages:
        for command in re.findall(r"make [a-z-]+(?: +[A-Z_]+=[^ `]+)+", page.read_text()):
            named = re.findall(r"\b([A-Z_]+)=", command)
            assert set(named) <= {*free.split()}, (page, command)


@pytest.mark.parametrize("given", ["fetch FROM=a REPLACE=no", "verify STUDY=demo MEND=no"])
def test_a_switch_is_yes_or_not_given(given):
    done = subprocess.run(["make", *given.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "it is one of: yes" in done.stdout
