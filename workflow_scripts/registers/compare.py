"""What registers change, and what they learn: every backbone of one family and size, paired.

Each register count is compared with the same backbone without registers on the same images, image
by image; differences are resampled together, so that what both share cancels.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import cutoff, max_over_median
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.zarr_store import open_store
from tokenscope.tables import tidy


@dataclass
class Seen:
    """What one backbone showed of the sample; arrays start with the image."""

    who: dict
    patches: np.ndarray  # (image, block, patch) norms
    prefix: dict[str, np.ndarray]  # norms of CLS and registers after the last block (image,)
    maps: dict[str, np.ndarray]  # attention of CLS and registers (image, patch)
    hits: np.ndarray | None  # own head right (image,), where it knows the classes
    image_ids: list[str]

    def over(self, cutoffs: np.ndarray) -> np.ndarray:
        """Percent of each image's patches over the cutoffs (block,): (image, block)."""
        return 100 * (self.patches > cutoffs[:, None]).mean(2)


def load(who, receipts) -> Seen:
    """Read a backbone's token stores."""
    tokens = PatchNorms.open(receipts)
    maps, hits = {}, None
    if tokens.queries:
        maps = dict(zip(tokens.queries, tokens.read("attention").swapaxes(0, 1), strict=True))
    if "top5" in tokens:
        hits = (tokens.read("top5")[:, 0] == tokens.read("label")).astype(np.float64)
    ids = tokens.image_ids.tolist()
    return Seen(who, tokens.norms(), tokens.prefix_norms(), maps, hits, ids)


def main(backbones, rules, statistics, objects, output):
    """Write the tidy rows of all backbones of one family and size.

    ``backbones`` lists (who, receipts, registers name of the base); ``objects`` is a truth store
    whose instances fill the images seen, or empty.
    """
    seen = {who["registers"]: load(who, receipts) for who, receipts, _ in backbones}
    bases = {who["registers"]: base for who, _, base in backbones}
    tables = []
    for name, one in seen.items():
        images = len(one.patches)
        bootstrap = Bootstrap.of(images, statistics)
        rows = tidy.TidyRows(one.who, images, statistics["seed"])
        base = seen.get(bases[name]) if bases[name] != name else None
        _outliers(rows, one, base, rules, bootstrap)
        if one.hits is not None:
            _difference(rows, "own_head", "top1", 100 * one.hits, base and 100 * base.hits,
                        "percent", bootstrap)  # fmt: skip
        _registers(rows, one, objects, bootstrap)
        tables.append(rows.frame())
    tidy.write(pd.concat(tables), output)


def _outliers(rows, one, base, rules, bootstrap):
    """Shares over the cutoffs of the backbone itself, and over those of its base."""
    times = rules["times_median"]
    metric = f"share_norm_over_{times:g}x_median"
    share = one.over(cutoff(one.patches, times))
    bar = base and cutoff(base.patches, times)
    reference = base and base.over(bar)
    _difference(rows, "last_block", metric, share[:, -1],
                base and reference[:, -1], "percent", bootstrap)  # fmt: skip
    if base:
        # A moved median moves the own cutoff: the base's cutoffs are the same bar for both.
        after = one.over(bar)
        peak = int(reference.mean(0).argmax())
        _difference(rows, "peak_block_of_base", f"{metric}_of_base", after[:, peak],
                    reference[:, peak], "percent", bootstrap)  # fmt: skip
        if "cls" in one.maps and "cls" in base.maps:
            at = base.patches[:, -1] > bar[-1]
            if at.any():
                maps = [s.maps["cls"] for s in (one, base)]
                mass = [100 * (m * at).sum(1) / m.sum(1) for m in maps]
                _difference(rows, "cls", "attention_share_where_base_has_outliers", *mass,
                            "percent", bootstrap)  # fmt: skip
    largest = [s and max_over_median(s.patches[:, -1]) for s in (one, base)]
    _difference(rows, "last_block", "norm_max_over_median", *largest, "", bootstrap)


def _difference(rows, group, metric, value, reference, unit, bootstrap):
    """A mean over images with its interval, and how far it is from the base's on those images."""
    ones = np.ones(len(value))
    point, low, high, _ = bootstrap.ratio(value, ones)
    rows.add("registers", group, metric, point, low, high, unit)
    if reference is not None:
        point, low, high, _ = bootstrap.ratio(value - reference, ones)
        unit = tidy.of_difference(unit)
        rows.add("registers", group, f"{metric}_minus_r0", point, low, high, unit)


def _registers(rows, one, objects, bootstrap):
    """Norms of the registers, how their maps differ, and whether they look at objects."""
    ones = np.ones(len(one.patches))
    names = [kind for kind in one.prefix if kind != "cls"]
    share = object_share(objects, one) if objects else None
    for kind in one.prefix:
        point, low, high, _ = bootstrap.ratio(one.prefix[kind], ones)
        rows.add("registers", kind, "norm_mean", point, low, high)
        entropy = map_entropy(one.maps[kind])
        point, low, high, _ = bootstrap.ratio(entropy, ones)
        rows.add("registers", kind, "map_entropy", point, low, high, "of the maximum")
        if kind != "cls" and "cls" in one.maps:
            same = cosine(one.maps[kind], one.maps["cls"])
            point, low, high, _ = bootstrap.ratio(same, ones)
            rows.add("registers", kind, "map_cosine_with_cls", point, low, high)
        if share is not None:
            area = share.mean(1)
            on = (one.maps[kind] * share).sum(1) / one.maps[kind].sum(1)
            point, low, high, _ = bootstrap.ratio(on, area)
            rows.add("registers", kind, "attention_on_objects_over_area", point, low, high)
    if len(names) > 1:
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        same = np.mean([cosine(one.maps[a], one.maps[b]) for a, b in pairs], axis=0)
        point, low, high, _ = bootstrap.ratio(same, ones)
        rows.add("registers", "registers", "map_cosine_between", point, low, high)


def map_entropy(maps: np.ndarray) -> np.ndarray:
    """Entropy of attention over patches (image, patch), as a share of its maximum: (image,)."""
    p = maps / maps.sum(1, keepdims=True)
    return -(p * np.log(np.maximum(p, 1e-30))).sum(1) / np.log(maps.shape[1])


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity of two maps of each image, their means removed: (image,)."""
    a, b = (m - m.mean(1, keepdims=True) for m in (first, second))
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)


def object_share(truth: str, one: Seen) -> np.ndarray | None:
    """Share of each patch that an object covers (image, patch); None where patches cut pixels."""
    instance = open_store(truth)["instance"]
    patches = one.patches.shape[2]
    grid, size = round(patches**0.5), instance.shape[1]
    if grid * grid != patches or size % grid:
        return None
    numbers = [int(name.removesuffix(".png")) for name in one.image_ids]
    tiles = instance.values[numbers].reshape(-1, grid, size // grid, grid, size // grid)
    return (tiles > 0).mean((2, 4)).reshape(-1, patches)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"compare {w.dataset} {w.family}/{w.size}", snakemake.threads):
        main(p.backbones, p.outliers, p.statistics, p.objects, snakemake.output[0])
