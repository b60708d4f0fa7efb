"""What registers change, image by image: each backbone minus its twin without registers."""

from tokenscope.jobs.job import job
from tokenscope.tables import paired, tidy


def main(files, who, claim, statistics, output):
    """``who``: the tidy columns of each file of values by image."""
    found = list(zip(who, files, strict=True))
    tidy.write(paired.differences(found, claim, statistics), output)


if "snakemake" in globals():
    p = snakemake.params
    with job(snakemake.log[0], f"pairs {p.claim}"):
        main(snakemake.input, p.who, p.claim, p.statistics, snakemake.output[0])
