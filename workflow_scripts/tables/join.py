"""Join the curves of all backbones into the small files that figures are drawn from."""

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.tables import tidy


def main(groups):
    """Write each joined file, rows in the order of the files.

    Args:
        groups: by output path, the CSV files that go into it.
    """
    for output, files in groups.items():
        tables = [t for t in map(tidy.read_table, files) if len(t)]
        joined = pd.concat(tables) if tables else tidy.read_table(files[0])
        joined.to_csv(output, index=False, compression={"method": "gzip", "mtime": 0})


if "snakemake" in globals():
    with job(snakemake.log[0], "join curves"):
        main(groups={out: snakemake.input[name] for name, out in snakemake.output.items()})
