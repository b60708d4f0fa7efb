"""The diagnosis at a glance: a line a backbone, as on its page."""

import pandas as pd

from tokenscope.diagnosis.page import mine
from tokenscope.diagnosis.setup import name_of
from tokenscope.figures import style as plots
from tokenscope.figures.backbone import Sitter, overview
from tokenscope.jobs.job import job


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
