"""What registers change, and what they learn: every backbone of one family and size, paired.

Each register count is compared with the same backbone without registers on the same images, image
by image.
"""

import numpy as np
import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.norms.attention_maps import object_share
from tokenscope.norms.outlier_rule import Judged
from tokenscope.norms.register_effect import BackboneTokens, compare, registers
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.scenes.file_names import scene_number
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement
from tokenscope.stores.receipts import read_receipt
from tokenscope.stores.zarr_store import open_store
from tokenscope.study.register_names import ATTACHED_CONTROLS
from tokenscope.tables import tidy


def main(backbones, rules, statistics, objects, output):
    """Write the tidy rows of all backbones of one family and size.

    What registers added at test time do is measured on images that did not choose their neurons.

    Args:
        backbones: for each: ``who`` (columns of tidy rows that name it), ``receipts`` of its token
            store, ``base`` (registers name of the backbone that it is compared with), ``cutoffs``
            (JSON of rule norms), ``searched`` (JSON of the search for its neurons, or empty),
            ``trials`` (CSV of its tries, or empty).
        rules, statistics: the study's sections ``outliers`` and ``statistics``.
        objects: a truth store whose instances fill the images seen, or empty.
        output: CSV to write.
    """
    stores = {b["who"]["registers"]: PatchNorms.open(b["receipts"]) for b in backbones}
    tokens = {
        name: BackboneTokens.read(stores[name], Judged.of(read_receipt(b["cutoffs"])))
        for name, b in zip(stores, backbones, strict=True)
    }
    tables = []
    for backbone in backbones:
        who, name = backbone["who"], backbone["who"]["registers"]
        store, own, others = stores[name], tokens[name], compared_with(backbone, tokens)
        covered = objects_in(objects, store, own.patches.shape[2]) if objects else None
        if backbone["searched"]:
            unseen = np.ones(store.images, bool)
            unseen[read_receipt(backbone["searched"])["searched"]] = False
            own = own.of_images(unseen)
            others = {key: other.of_images(unseen) for key, other in others.items()}
            covered = None if covered is None else covered[unseen]
        bootstrap = Bootstrap.of(len(own.patches), statistics)
        rows = tidy.TidyRows(who, len(own.patches), statistics["seed"])
        for measurement in (
            *compare(own, others, rules["times_median"], bootstrap),
            *registers(own, bootstrap, covered),
        ):
            rows.add("registers", *measurement)
        if backbone["trials"]:
            add_trials(rows, tidy.read_table(backbone["trials"]), statistics)
        tables.append(rows.frame())
    tidy.write(pd.concat(tables), output)


def compared_with(backbone, tokens):
    """Its base as ``r0``, and the controls of registers added at test time, by their kinds."""
    name, base = backbone["who"]["registers"], backbone["base"]
    others = {"r0": tokens[base]} if base != name and base in tokens else {}
    if backbone["who"]["kind"] == "testtime":
        for kind in ATTACHED_CONTROLS:
            control = name.removesuffix("testtime") + kind
            if control in tokens:
                others[kind] = tokens[control]
    return others


def add_trials(rows, trials, statistics):
    """What choosing the neurons came to: a group a try (on images that chose), a group a control.

    Of images that chose nothing (``unseen``; at another size ``transfer``) also top-1 of the own
    head beside before, paired.
    """
    for (images, number), table in trials.groupby(["images", "try"], sort=False):
        how, count = table["how"].iloc[0], table["neurons"].iloc[0]
        bootstrap = Bootstrap.of(len(table), statistics)
        judged = images in ("unseen", "transfer")
        group = how if judged else f"{how} {count} neurons, try {number}"
        if images == "transfer":
            group += f"-at_{table['pixels'].iloc[0]:.0f}_pixels"
        measured = [
            Measurement.mean(group, f"{images}_share", table["over"].values, bootstrap, "percent"),
            Measurement.mean(group, f"{images}_kept", table["kept"].values, bootstrap),
        ]
        if judged and table["right"].notna().all():
            before = trials.query("images == @images and how == 'before'")
            right, gain = 100 * table["right"], table["right"].values - before["right"].values
            measured += [
                Measurement.mean(group, f"{images}_top1", right.values, bootstrap, "percent"),
                Measurement.mean(group, f"{images}_top1_minus_r0", 100 * gain, bootstrap, "points"),
            ]
        for measurement in measured:
            rows.add("registers", *measurement, n=len(table))


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
