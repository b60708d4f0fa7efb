"""The diagnosis at a glance: a line a backbone, as on its page."""

import pandas as pd

from tokenscope.diagnosis.page import mine
from tokenscope.figures import style
from tokenscope.figures.backbone import BackboneFigures, overview
from tokenscope.jobs.job import job
from tokenscope.study.diagnose import name_of


def main(verdicts, maps, curves, places, backbones, rules, outputs):
    """``curves`` and ``places`` hold all backbones; ``backbones``: the columns that name each."""
    tables = pd.read_csv(curves), pd.read_csv(places)
    sitters = []
    for who, verdict, file in zip(backbones, verdicts, maps, strict=True):
        own = (mine(table[table["dataset"] == who["dataset"]], who) for table in tables)
        sitters.append(BackboneFigures.of(name_of(who), verdict, *own, file))
    style.save(overview(sitters, rules), outputs)


if "snakemake" in globals():
    i, p = snakemake.input, snakemake.params
    with job(snakemake.log[0], "figure diagnosis"):
        files = i.verdicts, i.maps, i.curves, i.places
        main(*files, p.backbones, p.outliers, snakemake.output)
