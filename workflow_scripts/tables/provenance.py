"""What every table rests on, one row per backbone and data set."""

from pathlib import Path

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.stores.receipts import read_receipt

PACKAGES = ("python", "torch", "timm", "numpy")
# By which jobs: each may have several values, empty where receipts are older than it.
MEASURED = ("host", "commit", "remote", "config")


def main(cards, receipts, samples, output):
    """Join cards, extraction receipts and sample receipts into ``tables/backbones.csv``.

    Args:
        cards: of the backbones.
        receipts: of all shards of all passes.
        samples: receipts of the samples, one a data set.
        output: path of the table.
    """
    cards = {card["name"]: card for card in map(read_receipt, cards)}
    sampled = {Path(path).stem: read_receipt(path) for path in samples}
    rows = {}
    for path in receipts:
        receipt = read_receipt(path)
        dataset = _dataset(path)
        card, sample = cards[receipt["name"]], sampled[dataset]
        family, size, registers = receipt["name"].split("/")
        row = rows.setdefault(
            (dataset, receipt["name"]),
            {
                "family": family, "size": size, "registers": registers, "dataset": dataset,
                "timm_id": card["timm_id"], "origin": card["origin"],
                "weights_sha256": card["sha256"],
                "weights_revision": card.get("revision", ""), "geometry": receipt["geometry"],
                "params": receipt["params"], "device": receipt["device"],
                "precision": receipt["precision"], "images": 0,
                "images_listed": sample["listed"], "images_skipped": len(sample["skipped"]),
                "seconds": 0.0, "protocol": receipt["protocol"],
                **{name: receipt["versions"].get(name, "") for name in PACKAGES},
                **{name: set() for name in MEASURED},
            },
        )  # fmt: skip
        row["images"] += receipt["images"]
        row["seconds"] += receipt["seconds"]
        # Shards may have been measured on several hosts, and by several commits.
        for name, value in {"host": receipt["host"], **receipt.get("code", {})}.items():
            if name in MEASURED and value:
                row[name].add(value)
    for row in rows.values():
        row.update({name: "; ".join(sorted(row[name])) for name in MEASURED})
    pd.DataFrame(rows.values()).to_csv(output, index=False)


def _dataset(receipt):
    """The data set of ``.../receipts/<pass>/<dataset>/...``."""
    return receipt.split("/receipts/")[1].split("/")[1]


if "snakemake" in globals():
    with job(snakemake.log[0], "provenance"):
        i = snakemake.input
        main(cards=i.cards, receipts=i.receipts, samples=i.samples, output=snakemake.output[0])
