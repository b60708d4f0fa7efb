"""CorLoc of LOST: one setting chosen on held-out images, reported on the others with all the rest.

Restricted choices (one facet, one block, no bias ...) are made on the same held-out images and
reported on the same others, so that they show how much the choice matters and not how lucky it was.
"""

import numpy as np
import pandas as pd

from tokenscope.discovery.box_datasets import CORNERS
from tokenscope.discovery.box_iou import located
from tokenscope.discovery.lost import Setting
from tokenscope.errors import StudyError
from tokenscope.jobs.job import job, log
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt, write_receipt
from tokenscope.stores.zarr_store import open_store
from tokenscope.tables import paired, tidy

FIXED = ("k", "v")  # LOST as published takes k; Darcet et al. take v for DeiT-III and OpenCLIP


def main(receipt, boxes, listed, who, held_out, seed, shown, statistics, rows_file, curves_file,
         chosen_file, by_image):  # fmt: skip
    """Write tidy rows, CorLoc under every setting, the setting that was chosen, and hits."""
    with open_store(read_receipt(receipt)["store"]) as store:
        store.load()
    truth = {
        name: group[CORNERS].to_numpy(float)
        for name, group in pd.read_csv(boxes).groupby("image_id")
    }
    order = np.argsort(store["image_id"].values)
    order = [i for i in order if store["image_id"].values[i] in truth]
    if len(order) < 4:
        raise StudyError(f"{who['dataset']}: {len(order)} images with boxes: too few to split")
    store = store.isel(image=order)
    truth = [truth[name] for name in store["image_id"].values]
    settings = [
        Setting(int(b), str(f), bool(n), float(z))
        for b, f, n, z in zip(
            *(store[c].values for c in ("block", "facet", "normalised", "bias")), strict=True
        )
    ]
    hits = located(store["box"].values, truth)
    held, rest = split(len(order), held_out, seed)
    best = pick(hits[held], settings, lambda s: True)
    log.info("%s chosen on %d images; %d report", settings[best], len(held), len(rest))
    bootstrap = Bootstrap.of(len(rest), statistics)
    rows = tidy.TidyRows(who, len(rest), statistics["seed"])

    def corloc(group, found):
        rows.add("discovery", group, "corloc", *share(bootstrap, found), "percent")

    inside = seed_in_box(store.isel(setting=best), truth)[rest]
    kept = {("lost", "corloc"): hits[rest, best], ("lost", "seed_in_box"): inside}
    corloc("lost", hits[rest, best])
    describe(rows, settings[best])
    rows.add(
        "discovery", "lost_held_out", "corloc", 100 * hits[held, best].mean(), unit="percent",
        n=len(held),
    )  # fmt: skip
    rows.add("discovery", "lost", "seed_in_box", *share(bootstrap, inside), "percent")
    for facet in FIXED:
        fixed = (settings[0].block, facet, False, 0.0)
        if fixed in settings:
            group = f"lost_{facet}_unbiased"
            kept[group, "corloc"] = hits[rest, settings.index(fixed)]
            corloc(group, kept[group, "corloc"])
    for name, allowed in restrictions(settings).items():
        corloc(name, hits[rest, pick(hits[held], settings, allowed)])
    size = np.stack([store["width"].values, store["height"].values], 1)
    whole = located(np.concatenate([np.zeros_like(size), size], 1), truth)
    corloc("whole_image", whole[rest])
    everywhere = 100 * hits[rest].mean(0)
    for metric, of in (("min", np.min), ("median", np.median), ("max", np.max)):
        rows.add("discovery", "all_settings", f"corloc_{metric}", of(everywhere), unit="percent")
    for what, number in read_receipt(listed)["left_out"].items():
        rows.add("discovery", "left_out", what, number, unit=what.split("_")[0])
    tidy.write(rows.frame(), rows_file)
    names = store["image_id"].values
    paired.write(by_image, names[rest], {key: 100.0 * hit for key, hit in kept.items()})
    point, low, high, _ = bootstrap.ratio(100.0 * hits[rest], np.ones((len(rest), 1)))
    table = pd.DataFrame(settings).assign(
        corloc_held_out=100 * hits[held].mean(0), corloc=point, low=low, high=high,
        chosen=[i == best for i in range(len(settings))],
    )  # fmt: skip
    tidy.write(pd.DataFrame([who] * len(table)).join(table), curves_file)
    places = np.linspace(0, len(rest) - 1, min(shown, len(rest))).round().astype(int)
    write_receipt(
        chosen_file, setting=settings[best]._asdict(), text=str(settings[best]), held_out=len(held),
        shown=names[rest[places]].tolist(),
    )  # fmt: skip


def split(images, held_out, seed):
    """Positions of the images that choose and of those that report, the same for all backbones."""
    order = np.random.default_rng(seed).permutation(images)
    count = min(max(1, round(held_out * images)), images - 2)
    return np.sort(order[:count]), np.sort(order[count:])


def pick(hits, settings, allowed):
    """The allowed setting with most hits; the first of equals, which is nearest the published."""
    score = [h if allowed(s) else -1 for h, s in zip(hits.sum(0), settings, strict=True)]
    return int(np.argmax(score))


def restrictions(settings):
    """Choices with one hand tied, by the name of their rows."""
    found = {}
    for facet in dict.fromkeys(s.facet for s in settings):
        found[f"only_{facet}"] = lambda s, x=facet: s.facet == x
    for block in dict.fromkeys(s.block for s in settings):
        found[f"only_block_{block}"] = lambda s, x=block: s.block == x
    for normalised in dict.fromkeys(s.normalised for s in settings):
        name = "only_normalised" if normalised else "only_as_they_are"
        found[name] = lambda s, x=normalised: s.normalised == x
    if any(s.bias == 0 for s in settings):
        found["only_unbiased"] = lambda s: s.bias == 0
    return found


def describe(rows, setting):
    """The chosen setting as rows."""
    rows.add("discovery", "lost", "chosen_block", setting.block, unit="block, from 1")
    rows.add("discovery", "lost", f"chosen_facet_{setting.facet}", 1, unit="verdict")
    rows.add("discovery", "lost", "chosen_normalised", setting.normalised, unit="verdict")
    rows.add("discovery", "lost", "chosen_bias", setting.bias, unit="median squared norms")


def share(bootstrap, found):
    """Percent of images with its interval."""
    point, low, high, _ = bootstrap.ratio(100.0 * found, np.ones(len(found)))
    return point, low, high


def seed_in_box(store, truth):
    """Whether the middle of the seed's patch lies in a true box, by image."""
    patch = store.attrs["patch"]
    columns = -(-store["width"].values // patch)
    row, column = np.divmod(store["seed"].values, columns)
    x, y = (column + 0.5) * patch, (row + 0.5) * patch
    return np.array([
        ((b[:, 0] <= u) & (u < b[:, 2]) & (b[:, 1] <= v) & (v < b[:, 3])).any()
        for u, v, b in zip(x, y, truth, strict=True)
    ])  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    with job(snakemake.log[0], f"corloc {w.dataset} {w.family}/{w.size}/{w.registers}"):
        main(
            i.receipt, i.boxes, i.listed, p.who, p.held_out, p.seed, p.shown, p.statistics,
            out.rows, out.settings, out.chosen, out.by_image,
        )  # fmt: skip
