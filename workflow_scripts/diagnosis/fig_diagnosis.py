"""The diagnosis at a glance: a line a backbone, as on its page."""

from tokenscope.diagnosis.page import of_backbone
from tokenscope.figures import style
from tokenscope.figures.backbone import BackboneFigures, overview
from tokenscope.jobs.job import job
from tokenscope.study.diagnose import name_of
from tokenscope.tables import tidy


def main(verdicts, maps, curves, places, backbones, rules, outputs):
    """Draw one figure.

    Args:
        verdicts, maps: a file for each backbone: its verdict (JSON), maps of its gallery (NetCDF).
        curves, places: CSV of all backbones: densities of the norm, where outliers sit.
        backbones: the columns that name each. rules: the study's section ``outliers``.
        outputs: files of the figure.
    """
    tables = tidy.read_table(curves), tidy.read_table(places)
    figures = []
    for who, verdict, file in zip(backbones, verdicts, maps, strict=True):
        own = (of_backbone(table[table["dataset"] == who["dataset"]], who) for table in tables)
        figures.append(BackboneFigures.of(name_of(who), verdict, *own, file))
    style.save(overview(figures, rules), outputs)


if "snakemake" in globals():
    i, p = snakemake.input, snakemake.params
    with job(snakemake.log[0], "figure diagnosis"):
        main(
            verdicts=i.verdicts, maps=i.maps, curves=i.curves, places=i.places,
            backbones=p.backbones, rules=p.outliers, outputs=snakemake.output,
        )  # fmt: skip
