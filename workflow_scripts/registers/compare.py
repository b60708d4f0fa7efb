"""What registers change, and what they learn: every backbone of one family and size, paired.

Each register count is compared with the same backbone without registers on the same images, image
by image.
"""

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.norms.attention_maps import object_share
from tokenscope.norms.register_effect import BackboneTokens, compare, registers
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.scenes.file_names import scene_number
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.zarr_store import open_store
from tokenscope.tables import tidy


def main(backbones, rules, statistics, objects, output):
    """Write the tidy rows of all backbones of one family and size.

    Args:
        backbones: a list of (columns of tidy rows that name it, receipts of its token store,
            registers name of the backbone that it is compared with).
        rules, statistics: the study's sections ``outliers`` and ``statistics``.
        objects: a truth store whose instances fill the images seen, or empty.
        output: CSV to write.
    """
    stores = {who["registers"]: PatchNorms.open(receipts) for who, receipts, _ in backbones}
    tokens = {name: BackboneTokens.read(store) for name, store in stores.items()}
    tables = []
    for who, _, base in backbones:
        name = who["registers"]
        store, backbone = stores[name], tokens[name]
        bootstrap = Bootstrap.of(store.images, statistics)
        rows = tidy.TidyRows(who, store.images, statistics["seed"])
        before = tokens.get(base) if base != name else None
        covered = objects_in(objects, store, backbone.patches.shape[2]) if objects else None
        for measurement in (
            *compare(backbone, before, rules["times_median"], bootstrap),
            *registers(backbone, bootstrap, covered),
        ):
            rows.add("registers", *measurement)
        tables.append(rows.frame())
    tidy.write(pd.concat(tables), output)


def objects_in(truth, store, patches):
    """Share of each patch that an object covers (image, patch); images are named by number."""
    numbers = [scene_number(name) for name in store.image_ids.tolist()]
    return object_share(open_store(truth)["instance"].values[numbers], patches)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"compare {w.dataset} {w.family}/{w.size}", snakemake.threads):
        main(
            backbones=p.backbones, rules=p.outliers, statistics=p.statistics, objects=p.objects,
            output=snakemake.output[0],
        )  # fmt: skip
