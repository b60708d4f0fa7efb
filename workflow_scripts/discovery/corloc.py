"""CorLoc of LOST under every setting, and of the one that held-out images choose."""

from tokenscope.discovery.box_datasets import CORNERS
from tokenscope.discovery.corloc import CorLoc
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import read_receipt, write_receipt
from tokenscope.stores.zarr_store import open_store, store_of
from tokenscope.tables import paired, tidy


def main(receipt, boxes, listed, who, held_out, seed, shown, statistics, outputs):
    """Write tidy rows, CorLoc under every setting, the setting that was chosen, and hits.

    Args:
        receipt: of rule discover. boxes: CSV of true boxes. listed: receipt of rule index_boxes.
        held_out: share of the images that choose the setting. seed: of their draw.
        shown: how many images the figure shows.
        outputs: paths of ``rows``, ``settings``, ``chosen`` (JSON) and ``by_image``.
        who: backbone and data set, as in tidy rows.
        statistics: section of the config, see :meth:`Bootstrap.of`.
    """
    with open_store(store_of(receipt)) as store:
        store.load()
    truth = {
        name: group[CORNERS].to_numpy(float)
        for name, group in tidy.read_table(boxes).groupby("image_id")
    }
    corloc = CorLoc(store, truth, who, held_out, seed, statistics)
    held, rest = len(corloc.held), len(corloc.rest)
    log.info("%s chosen on %d images; %d report", corloc.chosen, held, rest)
    tidy.write(corloc.rows(read_receipt(listed)["left_out"]), outputs["rows"])
    hits = {key: 100.0 * hits for key, hits in corloc.by_image().items()}
    paired.write(outputs["by_image"], corloc.names[corloc.rest], hits)
    tidy.write(corloc.by_setting(), outputs["settings"])
    write_receipt(
        outputs["chosen"], setting=corloc.chosen._asdict(), text=str(corloc.chosen), held_out=held,
        shown=corloc.shown(shown),
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    with job(snakemake.log[0], f"corloc {w.dataset} {w.family}/{w.size}/{w.registers}"):
        main(
            receipt=i.receipt,
            boxes=i.boxes,
            listed=i.listed,
            who=p.who,
            held_out=p.held_out,
            seed=p.seed,
            shown=p.shown,
            statistics=p.statistics,
            outputs=dict(out.items()),
        )
