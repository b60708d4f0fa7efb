"""What LOST sees of a few images under the chosen setting: degree, seed, expansion, object."""

import numpy as np
import torch
import xarray as xr

from tokenscope.backbones.loading import open_backbone
from tokenscope.discovery.box_datasets import CORNERS
from tokenscope.discovery.lost import components, expand, to_pixels
from tokenscope.discovery.settings import Setting
from tokenscope.discovery.sweep import Discoverer, Reader
from tokenscope.forward.device import pick_device
from tokenscope.forward.inputs import batch, padded
from tokenscope.forward.precision import autocast
from tokenscope.images.sample_rows import read_rows
from tokenscope.jobs.job import job
from tokenscope.stores import maps_file
from tokenscope.stores.receipts import read_receipt, weights_of
from tokenscope.tables import tidy


def main(backbone, images, boxes, chosen, root, candidates, device, output):
    """Write pixels, maps and true boxes of the images that ``chosen`` names, padded to one size.

    Args:
        backbone: ``spec``, and the path of its ``card``.
        images, boxes: CSV files of rule index_boxes. root: folder of the files they list.
        chosen: setting and images (JSON) of rule corloc.
        candidates: patches of lowest degree, see tokenscope.discovery.lost.
        output: NetCDF.
        device: ``auto``, ``cuda`` or ``cpu``.
    """
    spec, card = backbone["spec"], read_receipt(backbone["card"])
    chosen, device = read_receipt(chosen), pick_device(device)
    table = read_rows(images).set_index("image_id", drop=False).loc[chosen["shown"]]
    reader = Reader(root, table, 1)
    pixels = reader(0, len(table))
    reader.close()
    model = open_backbone(spec, weights_of(card), device=device)
    setting = Setting(**chosen["setting"])
    blocks = len(model.blocks) - setting.block + 1
    steps = [setting._replace(block=len(model.blocks) - i) for i in range(blocks)]
    finder = Discoverer(model, spec["mean"], spec["std"], steps, candidates, 1, device)
    with torch.inference_mode(), finder.facets:
        seen = [look(finder, image, setting, candidates) for image in pixels]
    true = tidy.read_table(boxes)
    true = true[true["image_id"].isin(chosen["shown"])]
    save(seen, pixels, table, true, finder.patch, chosen, spec, output)


def look(finder, image, setting, candidates):
    """Degree, candidates that agree, object (row, column), seed and box in pixels of one image."""
    size = padded(*image.shape[:2], finder.patch)
    grid = (size[0] // finder.patch, size[1] // finder.patch)
    finder.sized.set(*size)
    x = batch([image], size, finder.mean, finder.std)
    with autocast(finder.device):
        features = finder.facets(x)[setting.block, setting.facet]
    out = expand(features, [(setting.normalised, setting.bias)], candidates)
    fold = [part[0, 0].cpu().numpy().reshape(grid) for part in (out.degree, out.similar, out.mask)]
    seed = out.seed[0].cpu().numpy()
    component, box = components(fold[2][None], seed)
    pixels = to_pixels(box, finder.patch, np.array([image.shape[1::-1]]))
    return fold[0], fold[1], component[0], int(seed[0]), pixels[0]


def save(seen, pixels, table, true, patch, chosen, spec, output):
    """One NetCDF file; sizes in ``height`` and ``width``, the rest is padding."""
    height, width = max(p.shape[0] for p in pixels), max(p.shape[1] for p in pixels)
    rows, columns = max(s[0].shape[0] for s in seen), max(s[0].shape[1] for s in seen)

    def pad(values, shape, fill):
        out = np.full((len(values), *shape), fill, np.int16)
        for target, value in zip(out, values, strict=True):
            target[: value.shape[0], : value.shape[1]] = value
        return out

    maps = xr.Dataset(
        attrs={
            "backbone": spec["name"], "setting": chosen["text"], "patch": patch,
            "image_ids": "\n".join(chosen["shown"]),
        }
    )  # fmt: skip
    maps["pixels"] = (("image", "y", "x", "channel"), pad(pixels, (height, width, 3), 0))
    for number, name in enumerate(("degree", "similar", "object")):
        values = pad([s[number] for s in seen], (rows, columns), -1)
        maps[name] = (("image", "row", "column"), values)
    maps["seed"] = (("image",), np.array([s[3] for s in seen], np.int32))
    maps["box"] = (("image", "corner"), np.array([s[4] for s in seen], np.int32))
    number = {name: i for i, name in enumerate(chosen["shown"])}
    maps["true_image"] = (("true",), true["image_id"].map(number).to_numpy(np.int32))
    maps["true_box"] = (("true", "corner"), true[CORNERS].to_numpy(np.float32))
    for name in ("width", "height"):
        maps[name] = (("image",), table[name].to_numpy(np.int32))
    maps_file.save(maps, output)


if "snakemake" in globals():
    w, p, i = snakemake.wildcards, snakemake.params, snakemake.input
    with job(
        snakemake.log[0], f"discovery maps {w.dataset} {w.family}/{w.size}/{w.registers}",
        snakemake.threads,
    ):  # fmt: skip
        main(
            backbone={"spec": p.spec, "card": i.card},
            images=i.images,
            boxes=i.boxes,
            chosen=i.chosen,
            root=p.root,
            candidates=p.candidates,
            device=p.device,
            output=snakemake.output[0],
        )
