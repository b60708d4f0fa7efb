"""Render the embedded data set: photographs-like scenes with exact ground truth."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tokenscope.jobs.job import Progress, job
from tokenscope.scenes.file_names import file_name
from tokenscope.scenes.scene import CLASSES, SEGMENTS, flatness, render
from tokenscope.stores.receipts import fingerprint
from tokenscope.stores.zarr_store import StoreWriter, Variable

CHUNK = 100
PATCH = 16  # side of the patches of the flatness map, in pixels of the rendered image


def main(images, seed, size, plain_skies, folder, truth, labels, partial):
    """Write PNG files, their labels, and a Zarr group with masks, depth, flatness and boxes.

    Args:
        images: number of scenes.
        seed: of all of them; scene i depends on it and on i alone.
        size: side of a scene in pixels.
        plain_skies: share of the scenes with a sky of one colour.
        folder: of the PNG files.
        truth: folder of the Zarr group; partial: of its unfinished work.
        labels: CSV file with ``file``, ``label`` and ``label_name``.
    """
    Path(folder).mkdir(parents=True)
    grid = size // PATCH
    writer = StoreWriter(
        truth,
        partial,
        {
            "instance": Variable(
                ("row", "column"), (size, size), "uint8",
                {"long_name": "0 background, then objects"},
                compress=True,
            ),
            "segmentation": Variable(
                ("row", "column"), (size, size), "uint8",
                {"long_name": "number of the class in `classes`", "classes": list(SEGMENTS)},
                compress=True,
            ),
            "depth": Variable(
                ("row", "column"), (size, size), "float16",
                {"units": "m", "long_name": "distance along the optical axis, 0 where none"},
                compress=True,
            ),
            "flatness": Variable(
                ("patch_row", "patch_column"), (grid, grid), "float32",
                {"long_name": "1 / (1 + range of grey levels in the patch)", "patch": PATCH},
            ),
        },
        images,
        CHUNK,
        fingerprint(images=images, seed=seed, size=size, plain_skies=plain_skies),
    )  # fmt: skip
    progress, rows, boxes = Progress(), [], []
    for first in range(0, images, CHUNK):
        last = min(first + CHUNK, images)
        rendered = [render(seed, i, size, plain_skies) for i in range(first, last)]
        for i, scene in enumerate(rendered, start=first):
            name = file_name(i)
            Image.fromarray(scene.image).save(Path(folder) / name, compress_level=1)
            label_name = CLASSES[scene.label]
            rows.append({"file": name, "label": scene.label, "label_name": label_name})
            boxes += [(i, *box) for box in scene.boxes]
        writer.write(
            first,
            {
                "instance": np.stack([s.instance for s in rendered]),
                "segmentation": np.stack([s.segmentation for s in rendered]),
                "depth": np.stack([s.depth for s in rendered]).clip(0, 60000).astype(np.float16),
                "flatness": np.stack([flatness(s.image, PATCH) for s in rendered]),
            },
        )
        progress(last, images)
    table = np.array(boxes, dtype=np.int32).reshape(-1, 6)
    columns = ("box_image", "box_class", "xmin", "ymin", "xmax", "ymax")
    coords = {name: (("box",), table[:, i]) for i, name in enumerate(columns)}
    coords["label"] = (("image",), np.array([row["label"] for row in rows], np.int32))
    writer.publish(coords, {"title": "rendered scenes", "seed": seed, "size": size})
    pd.DataFrame(rows).to_csv(labels, index=False)


if "snakemake" in globals():
    p, out = snakemake.params, snakemake.output
    label = f"render {snakemake.wildcards.dataset}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            images=p.images,
            seed=p.seed,
            size=p.size,
            plain_skies=p.plain_skies,
            folder=out.images,
            truth=out.truth,
            labels=out.labels,
            partial=p.partial,
        )
