"""Make sure that training and test images are different ones, of the same classes (claims 4, 5)."""

from tokenscope.datasets.overlap import check_classes, shared
from tokenscope.images.sample_rows import read_rows
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import write_receipt


def main(train, test, names, duplicates, labels_needed, receipt):
    """Write the receipt; with ``duplicates: drop`` it lists training images to leave out.

    Args:
        train, test: samples of both data sets.
        names: of both.
        duplicates: what is done about images that are in both, as in the section ``heads``.
        labels_needed: whether it is an error that a set has none; probes of place and pixels need
            none, and the class probe says so itself.
        receipt: path of the receipt.
    """
    train, test = (read_rows(path) for path in (train, test))
    if labels_needed or min(train["label"].min(), test["label"].min()) >= 0:
        check_classes(train, test, *names)
    dropped = shared(train, test, *names, duplicates)
    log.info("%d images of %s are in %s as well", len(dropped), *names)
    write_receipt(
        receipt, train=len(train) - len(dropped), test=len(test), dropped=dropped, names=names
    )


if "snakemake" in globals():
    i, p = snakemake.input, snakemake.params
    with job(snakemake.log[0], "splits"):
        main(
            train=i.train, test=i.test, names=p.names, duplicates=p.duplicates,
            labels_needed=p.labels_needed, receipt=snakemake.output[0],
        )  # fmt: skip
