"""Claim 5: differences between heads and between backbones on the same test images."""

from tokenscope.errors import StudyError
from tokenscope.jobs.job import job
from tokenscope.stats.top_k import Ranks
from tokenscope.tables import tidy
from tokenscope.tables.register_gains import gains


def main(files, backbones, dataset, statistics, output):
    """Write the tidy rows of all differences; the views of a backbone are joined first.

    Args:
        files: ranks of each backbone under each view.
        backbones: family, size and registers of each file.
        dataset: the test set.
        statistics: the section of that name of the config.
        output: path of the table.

    Raises:
        StudyError: two views of a backbone were not tested on the same images.
    """
    by_backbone = {}
    for file, key in zip(files, backbones, strict=True):
        ranks, before = Ranks.read(file), by_backbone.get(tuple(key))
        if before is not None:
            if (before.ids != ranks.ids).any():
                raise StudyError(f"{file}: its images are not those of the other views")
            ranks = Ranks(ranks.ids, {**before.groups, **ranks.groups})
        by_backbone[tuple(key)] = ranks
    tidy.write(gains(by_backbone, dataset, statistics), output)


if "snakemake" in globals():
    with job(snakemake.log[0], "gains"):
        p = snakemake.params
        main(
            files=snakemake.input, backbones=p.backbones, dataset=p.dataset,
            statistics=p.statistics, output=snakemake.output[0],
        )  # fmt: skip
