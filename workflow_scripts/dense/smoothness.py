"""How far maps of patch tokens are from their median-filtered selves: one number for clean maps.

Roughness of a map T (row, column, feature) is sum |T - M|^2 / sum |T - mean T|^2 over an image,
with M the median of each feature over 3 x 3 patches (edges repeated). 0: the median changes
nothing; 1: the median explains as little as one constant vector. Isolated artifacts raise it.
"""

import numpy as np
from scipy.ndimage import median_filter

from tokenscope.jobs.job import job
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.tables import paired, tidy


def main(receipts, who, images, statistics, output, by_image):
    """Write the roughness of tokens, of their directions and of their norms, last block."""
    parts, ids = {}, []
    store = PatchNorms.open(receipts)
    last = store.images - 1
    wanted = sorted(set(np.linspace(0, last, min(images, store.images)).round().astype(int)))
    for i in wanted:
        ids.append(str(store.image_ids[i]))
        maps = {"norms": store.of_image("norms", i)[-1][:, None]}
        if "tokens" in store:
            tokens = store.of_image("tokens", i).astype(np.float32)
            length = np.linalg.norm(tokens, axis=1, keepdims=True)
            maps |= {"tokens": tokens, "directions": tokens / np.maximum(length, 1e-12)}
        for name, values in maps.items():
            parts.setdefault(name, []).append(roughness(values.reshape(*store.grid, -1)))
    bootstrap = Bootstrap.of(len(wanted), statistics)
    rows = tidy.TidyRows(who, len(wanted), statistics["seed"])
    for name, values in parts.items():
        point, low, high, _ = bootstrap.ratio(np.array(values), np.ones(len(values)))
        rows.add("dense", "smoothness", f"roughness_{name}", point, low, high, "share of variance")
    tidy.write(rows.frame(), output)
    kept = {("smoothness", f"roughness_{name}"): values for name, values in parts.items()}
    paired.write(by_image, ids, kept)


def roughness(values):
    """See the module; values (row, column, feature). A constant map has 0."""
    smooth = median_filter(values, size=(3, 3, 1), mode="nearest")
    spread = np.square(values - values.mean((0, 1)), dtype=np.float64).sum()
    return float(np.square(values - smooth, dtype=np.float64).sum() / spread) if spread else 0.0


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"smoothness {w.dataset} {w.family}/{w.size}/{w.registers}"):
        main(snakemake.input.receipts, p.who, p.images, p.statistics, *snakemake.output)
