"""The commands that a page prints, as a reader would copy them."""

import re

from projects import ROOT

PROGRAMS = "make|snakemake|source|scp|tar|export|sbatch|python|git"
INLINE = "make|snakemake|tokenscope|pip|sbatch"  # other programs' names are words in a sentence


def printed(page):
    """What a reader may copy from a page of the project, once each: blocks, then sentences."""
    text = (ROOT / page).read_text()
    return list(dict.fromkeys([*commands(text), *spoken(text)]))


def commands(text):
    """Commands in the indented blocks of a page, in their order; comments are left out."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    found = [re.match(rf"    ((?:{PROGRAMS}) .*|make$)", line) for line in lines]
    return [re.sub(r"\s+#.*", "", match[1]).strip() for match in found if match]


def spoken(text):
    """Commands within a sentence: ``make ...``, ``snakemake ...`` and the like in backticks."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    text = re.sub(r"^    .*", "", text, flags=re.M)
    found = re.findall(rf"`((?:{INLINE})\s[^`]+)`", text)
    return [" ".join(command.split()) for command in found]
