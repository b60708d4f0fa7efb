"""What registers change, image by image: each backbone minus its twin without registers."""

from tokenscope.jobs.job import job
from tokenscope.tables import paired, tidy


def main(files, who, claim, statistics, output):
    """Write the tidy rows of all differences.

    Args:
        files: values by image, as :func:`tokenscope.tables.paired.write` writes them.
        who: family, size, registers, kind and data set of each file.
        claim: column ``claim`` of the rows.
        statistics: the section of that name of the config.
        output: path of the table.
    """
    measured = list(zip(who, files, strict=True))
    tidy.write(paired.differences(measured, claim, statistics), output)


if "snakemake" in globals():
    p = snakemake.params
    with job(snakemake.log[0], f"pairs {p.claim}"):
        main(
            files=snakemake.input, who=p.who, claim=p.claim, statistics=p.statistics,
            output=snakemake.output[0],
        )  # fmt: skip
