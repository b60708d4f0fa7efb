"""Index all groups of a store, so that xarray.open_datatree opens the whole at once."""

import json
from pathlib import Path

from tokenscope.jobs.job import job
from tokenscope.stores.hierarchy import consolidated
from tokenscope.stores.receipts import read_receipt, write_text


def main(receipts, output):
    """Write the root ``zarr.json`` from the stores that the receipts name.

    Args:
        receipts: JSON files, one per group.
        output: the ``zarr.json`` in the folder above all groups.
    """
    root = Path(output).parent
    stores = [Path(read_receipt(receipt)["store"]) for receipt in receipts]
    write_text(output, json.dumps(consolidated(root, stores)))


if "snakemake" in globals():
    with job(snakemake.log[0], f"index {snakemake.wildcards.hierarchy}.zarr"):
        main(receipts=snakemake.input, output=snakemake.output[0])
