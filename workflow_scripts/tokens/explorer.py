"""What the report's norm explorer shows of one backbone: tails of norms, and a few images."""

import base64
import io
import json
import math

import numpy as np
from PIL import Image

from tokenscope.jobs.job import job
from tokenscope.stores import maps_file
from tokenscope.stores.receipts import write_text

QUALITY = 80


def main(tails, maps, who, output):
    """Write one JSON file.

    Each patch of the images is given as the highest rung of the ladder
    (tokenscope.norms.exceedance) that its norm is above, counted from the block's first rung, so
    that a threshold selects exactly the patches above it.

    Args:
        tails: JSON with the counts above each rung, block by block (rule norms).
        maps: maps of the gallery (NetCDF).
        who: family, size, registers, kind and data set.
        output: path of the file.
    """
    with open(tails) as handle:
        facts = json.load(handle)
    data = maps_file.load(maps)
    norms, pixels = data["norms"].values, data["pixels"].values.astype(np.uint8)
    ids, geometry = data.attrs["image_ids"].split("\n"), data.attrs["geometry"]
    facts |= {**who, "geometry": geometry, "grid": list(norms.shape[2:])}
    facts["gallery"] = [
        {"id": name, "src": jpeg(image)} for name, image in zip(ids, pixels, strict=True)
    ]
    for number, block in enumerate(facts["blocks"]):
        block["patches"] = rungs(norms[:, number], block, facts["times"], facts["steps"])
    write_text(output, json.dumps(facts, separators=(",", ":")))


def rungs(norms, block, times, steps):
    """(image, patch) numbers of the highest rung below each norm; -1 where none is."""
    place = np.log(norms / block["median"]) / math.log(times) * steps
    highest = np.ceil(place).astype(int) - 1 - block["first"]
    last = len(block["above"]) - 1
    return np.clip(highest, -1, last).reshape(len(norms), -1).tolist()


def jpeg(pixels):
    """A picture (row, column, channel) as a data address."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


if "snakemake" in globals():
    w, i = snakemake.wildcards, snakemake.input
    with job(snakemake.log[0], f"explorer {w.dataset} {w.family}/{w.size}/{w.registers}"):
        main(tails=i.tails, maps=i.maps, who=snakemake.params.who, output=snakemake.output[0])
