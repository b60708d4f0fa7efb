"""The command ``tokenscope``: the programs of this project from any folder, once it is installed.

    pip install .
    tokenscope diagnose vit_base_patch16_224.dino my/photographs
    snakemake -s "$(tokenscope snakefile)" --profile "$(tokenscope profile)" --configfile my.yaml

What a program writes goes below the folder one works in. The same programs stand behind the targets
of make, and speak of these: here their sentences are put into the words of the command.
"""

import contextlib
import re
import sys
from collections.abc import Callable

from tokenscope.paths import PROJECT

# Programs of workflow_scripts/, and what they take by place.
PROGRAMS = {
    "diagnose": ("--model", "--images"),
    "new": ("--name", "--model", "--images"),
    "check": (),
    "verify": (),
    "pack": (),
    "fetch": (),
    "publish": (),
}
PLACES = {"snakefile": PROJECT / "Snakefile", "profile": PROJECT / "profiles" / "local"}
USAGE = """\
tokenscope diagnose MODEL IMAGES    does this backbone have artifacts? (a timm id, file or folder)
tokenscope new NAME MODEL IMAGES    write a study of one's own into studies/NAME
tokenscope check CONFIG             would it run, at which cost, what is missing?
tokenscope verify CONFIG            every file of a study against its checksum
tokenscope pack CONFIG              pack what figures and report are made from
tokenscope fetch FROM               unpack the packed study of a file, an address or a DOI
tokenscope publish CONFIG           write what a data repository and a hub want
tokenscope snakefile | profile      where the workflow is: snakemake -s "$(tokenscope snakefile)"
Any of them with --help says more."""


RUN = 'snakemake -s "$(tokenscope snakefile)" --profile "$(tokenscope profile)"'
OPTIONS = "ARCH|AGAINST|AGAINST_ARCH|WEIGHTS|NAME|CLASSES|BAD|STUDY"
# What the programs say as of make, and as of this command.
WORDS: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"make study CONFIG=(\S+)": rf"{RUN} --configfile \1 -- all",
    r"make figure FIG=(\S+) STUDY=[\w-]+":
        rf"{RUN} --configfile <its config> --config figure=\1 -- figure",
    r"make report STUDY=[\w-]+":
        f"{RUN} --configfile <its config> --config partial=True -- report",
    rf"\bmake ({'|'.join(PROGRAMS)})\b": r"tokenscope \1",
    r"(tokenscope \w+ )(?:CONFIG|FROM)=": r"\1",
    r"\b(REPLACE|MEND)=yes": lambda m: f"--{m[1].lower()}",
    rf"\b({OPTIONS})=(?=\))": lambda m: f"--{m[1].lower().replace('_', '-')}",
    rf"\b({OPTIONS})=": lambda m: f"--{m[1].lower().replace('_', '-')} ",
}  # fmt: skip


def in_words_of_the_command(text: str) -> str:
    """A sentence of a program that speaks of make, as who called this command would say it."""
    for made, here in WORDS.items():
        text = re.sub(made, here, text)
    return text


class _Spoken:
    """A stream into which a program prints its sentences."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(in_words_of_the_command(text))

    def __getattr__(self, name):
        return getattr(self._stream, name)


def main(arguments: list[str] | None = None) -> int:
    """Run one program; returns the exit status.

    Args:
        arguments: words after ``tokenscope``; those of the command line without it.
    """
    program, *given = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if program in PLACES:
        print(PLACES[program])
        return 0
    if program not in PROGRAMS:
        print(USAGE, file=sys.stdout if program in ("--help", "-h") else sys.stderr)
        return 0 if program in ("--help", "-h") else 2
    file = PROJECT / "workflow_scripts" / f"{program}.py"
    before, said = sys.argv, _Spoken(sys.stdout)
    sys.argv = [f"tokenscope {program}", *by_name(PROGRAMS[program], given)]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(_Spoken(sys.stderr)):
            exec(compile(file.read_text("utf-8"), file, "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(in_words_of_the_command(end.code), file=sys.stderr)
            return 1
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def by_name(names: tuple[str, ...], given: list[str]) -> list[str]:
    """The first words, up to an option, with the names that the program knows them by."""
    count = next((i for i, word in enumerate(given) if word.startswith("-")), len(given))
    count = min(count, len(names))
    named = [part for pair in zip(names, given[:count], strict=False) for part in pair]
    return [*named, *given[count:]]


if __name__ == "__main__":
    sys.exit(main())
