"""Find a published linear head, check that it fits its backbone, and note it on a card."""

from tokenscope.classification.published_heads import check_head, locate
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import sha256_file, write_receipt


def main(head, width, folder, cache, download, card):
    """Write the card: path, checksum and origin of the head.

    Args:
        head: a row of ``config/heads.csv`` with the backbone's ``key``.
        width: features of a token of the backbone.
        folder: where heads may lie already, or None.
        cache: folder in which downloads are kept, below ``heads``.
        download: whether the network may be used.
        card: path of the card.
    """
    file, origin = locate(head, folder, cache, download)
    check_head(head, file, width)
    log.info("%s from %s", file, origin)
    trust = "table" if head["sha256"] else "first use: the publisher gives no checksum"
    write_receipt(
        card, name=head["key"], layers=head["layers"], file=str(file), origin=origin,
        source=head["source"], sha256=sha256_file(file), checksum_from=trust,
    )  # fmt: skip


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"head {w.family}/{w.size}/{w.registers} {w.layers}"):
        main(
            head=p.head, width=p.width, folder=p.folder, cache=p.cache, download=p.download,
            card=snakemake.output[0],
        )  # fmt: skip
