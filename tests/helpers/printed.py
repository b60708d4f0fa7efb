"""The commands that a page prints, as a reader would copy them."""

import re

from projects import ROOT

PROGRAMS = "make|snakemake|source|scp|tar|export|sbatch|python|git"


def commands(page):
    """Commands in the indented blocks of a page, in their order; comments are left out."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    found = [re.match(rf"    ((?:{PROGRAMS}) .*|make)", line) for line in lines]
    return [re.sub(r"\s+#.*", "", match[1]).strip() for match in found if match]


def spoken(page):
    """Commands within a sentence: ``make ...`` and ``snakemake ...`` in backticks."""
    text = re.sub(r"^    .*|^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    return re.findall(r"`((?:make|snakemake) [^`]+)`", text.replace("\n", " "))
