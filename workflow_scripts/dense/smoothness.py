"""Smoothness of token maps, of one backbone on one data set: one number for clean maps."""

from tokenscope.dense.smoothness import roughness_by_image, roughness_rows
from tokenscope.jobs.job import job
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.tables import paired, tidy


def main(receipts, who, images, statistics, rows_file, by_image):
    """Write the roughness of tokens, of their directions and of their norms, last block.

    Args:
        receipts: of rule extract, one a shard.
        images: how many to measure, spread evenly.
        rows_file: tidy rows (CSV). by_image: the roughness of each image (npz).
        who: backbone and data set, as in tidy rows.
        statistics: section of the config, see :meth:`Bootstrap.of`.
    """
    ids, measured = roughness_by_image(PatchNorms.open(receipts), images)
    tidy.write(roughness_rows(measured, who, statistics), rows_file)
    values = {("smoothness", f"roughness_{name}"): v for name, v in measured.items()}
    paired.write(by_image, ids, values)


if "snakemake" in globals():
    w, p, out = snakemake.wildcards, snakemake.params, snakemake.output
    with job(snakemake.log[0], f"smoothness {w.dataset} {w.family}/{w.size}/{w.registers}"):
        main(
            receipts=snakemake.input.receipts,
            who=p.who,
            images=p.images,
            statistics=p.statistics,
            rows_file=out.rows,
            by_image=out.by_image,
        )
