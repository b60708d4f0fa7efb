"""Claim 5: differences between heads and between backbones on the same test images."""

from tokenscope.errors import StudyError
from tokenscope.jobs.job import job
from tokenscope.stats.top_k import Ranks
from tokenscope.tables import tidy
from tokenscope.tables.register_gains import gains


def main(files, backbones, dataset, statistics, output):
    """``backbones``: family, size and registers of each file of ranks; views of one are joined."""
    found = {}
    for file, key in zip(files, backbones, strict=True):
        ranks, before = Ranks.read(file), found.get(tuple(key))
        if before is not None:
            if (before.ids != ranks.ids).any():
                raise StudyError(f"{file}: its images are not those of the other views")
            ranks = Ranks(ranks.ids, {**before.groups, **ranks.groups})
        found[tuple(key)] = ranks
    tidy.write(gains(found, dataset, statistics), output)


if "snakemake" in globals():
    with job(snakemake.log[0], "gains"):
        p = snakemake.params
        main(snakemake.input, p.backbones, p.dataset, p.statistics, snakemake.output[0])
