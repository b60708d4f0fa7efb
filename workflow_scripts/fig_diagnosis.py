"""The diagnosis at a glance: a line a backbone, as on its page."""

import pandas as pd

from tokenscope import plots
from tokenscope.findings import mine
from tokenscope.front import name_of
from tokenscope.jobs import job
from tokenscope.portrait import Sitter, overview


def main(verdicts, maps, curves, places, backbones, rules, outputs):
    """``curves`` and ``places`` hold all backbones; ``backbones``: the columns that name each."""
    tables = pd.read_csv(curves), pd.read_csv(places)
    sitters = []
    for who, verdict, file in zip(backbones, verdicts, maps, strict=True):
        own = (mine(table[table["dataset"] == who["dataset"]], who) for table in tables)
        sitters.append(Sitter.of(name_of(who), verdict, *own, file))
    plots.save(overview(sitters, rules), outputs)


if "snakemake" in globals():
    i, p = snakemake.input, snakemake.params
    with job(snakemake.log[0], "figure diagnosis"):
        files = i.verdicts, i.maps, i.curves, i.places
        main(*files, p.backbones, p.outliers, snakemake.output)
