"""All maps of a few chosen images, at the backbone's own size and at high resolution."""

import shutil
from pathlib import Path

import numpy as np
import xarray as xr

from tokenscope.backbones.loading import open_backbone
from tokenscope.errors import StudyError
from tokenscope.extraction.loop import coordinates, extract, variables
from tokenscope.figures.gallery_maps import principal_colours
from tokenscope.forward.device import pick_device
from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import StreamedImages
from tokenscope.images.sample_rows import read_rows
from tokenscope.jobs.job import job, log
from tokenscope.norms.attention_maps import WITHOUT_CLS
from tokenscope.stores import maps_file
from tokenscope.stores.hierarchy import write_group
from tokenscope.stores.receipts import (
    Stopwatch,
    fingerprint,
    read_receipt,
    weights_of,
    write_receipt,
)
from tokenscope.stores.zarr_store import StoreWriter, open_store

THUMBNAIL = 192


def main(card, sample, spec, geometries, root, images, ids, device, store, partial, maps, receipt,
         code):  # fmt: skip
    """Write one group per resolution with tokens, q, k, v, and one small file of maps each.

    One parameter for each input, param and output of the rule.

    Args:
        card: receipt of the backbone's weights.
        sample: CSV file from which the images are chosen.
        spec: how the backbone is opened.
        geometries: name of the geometry by view, ``native`` and ``high``.
        root: folder that the paths of the sample are relative to.
        images: how many are shown, spread evenly over the sample.
        ids: ids of the images that are shown instead, if any.
        device: ``auto``, ``cuda`` or ``cpu``.
        store: folder of the finished groups, one by view.
        partial: folder of unfinished work.
        maps: NetCDF file by view.
        receipt: JSON file, written last.
        code: hash of the code behind this rule.
    """
    watch, card = Stopwatch(), read_receipt(card)
    rows = choose(read_rows(sample), images, ids)
    device = pick_device(device)
    shutil.rmtree(partial, ignore_errors=True)  # a few images: not worth resuming
    contents = {}
    for view, key in geometries.items():
        shape = Geometry.parse(key)
        log.info("%d images at %d pixels", len(rows), shape.size)
        reader = StreamedImages(root, rows, shape, workers=1)
        model = open_backbone(spec, weights_of(card), shape.size, device)
        arrays = variables(model, model.patch_embed.grid_size, {"tokens": True, "qkv": True})
        writer = StoreWriter(
            Path(partial, "whole", view), Path(partial, view), arrays, len(rows), 1,
            fingerprint(
                weights=card["sha256"], images=rows["sha256"].tolist(), geometry=key,
                device=device, code=code,
            ),
        )  # fmt: skip
        extract(model, reader.read, writer, spec["mean"], spec["std"], 1, device)
        attrs = {
            "backbone": spec["name"], "timm_id": spec["timm_id"], "geometry": key,
            "weights_sha256": card["sha256"], "device": device, "code": code,
        }  # fmt: skip
        contents[view] = writer.publish(coordinates(rows, model), attrs)
        summary = summarise(open_store(writer.final), model.patch_embed.grid_size)
        thumbnail = Geometry(
            THUMBNAIL, round(shape.resize * THUMBNAIL / shape.size), "bicubic", shape.mode
        )
        pixels = StreamedImages(root, rows, thumbnail, 1).read(0, len(rows))
        summary["pixels"] = (("image", "y", "x", "channel"), pixels.astype(np.int16))
        maps_file.save(summary, maps[view])
    write_group(Path(partial, "whole"))
    Path(store).parent.mkdir(parents=True, exist_ok=True)
    Path(partial, "whole").replace(store)
    write_receipt(
        receipt, name=spec["name"], store=str(store), geometries=geometries, arrays=contents,
        images=len(rows), device=device, weights_sha256=card["sha256"], **watch.facts(),
    )  # fmt: skip


def choose(sample, images, ids):
    """The gallery: the images named in the config, or as many spread evenly over the sample."""
    if ids:
        by_id = sample.set_index("image_id", drop=False)
        if absent := [i for i in ids if i not in by_id.index]:
            raise StudyError(f"gallery: ids: {', '.join(absent)} are not in the sample")
        return by_id.loc[ids].reset_index(drop=True)
    places = np.linspace(0, len(sample) - 1, min(images, len(sample))).round().astype(int)
    return sample.iloc[places]


def summarise(group, grid):
    """The maps that figures draw, each (image, ..., row, column)."""
    prefix = int((group["token_kind"] != "patch").sum())
    rows, columns = grid
    patches = group.isel(token=slice(prefix, None))

    def fold(values):
        return values.reshape(*values.shape[:-1], rows, columns)

    maps = xr.Dataset(attrs=group.attrs)
    maps["norms"] = (("image", "block", "row", "column"), fold(patches["norms"].values))
    colours = principal_colours(patches["tokens"].values, grid)
    # NetCDF 3, which needs no library of its own, has no unsigned bytes.
    maps["principal"] = (("image", "row", "column", "channel"), colours.astype(np.int16))
    for name in "qkv":
        lengths = np.linalg.norm(patches[name].values.astype(np.float32), axis=-1)
        maps[f"{name}_norm"] = (("image", "row", "column"), fold(lengths))
    if "attention" in group:
        attention = fold(group["attention"].values)
        maps["attention"] = (("image", "query", "row", "column"), attention)
        maps.attrs["queries"] = ",".join(group["query"].values.tolist())
    for name in WITHOUT_CLS:
        if name in group:
            maps[name] = (("image", "row", "column"), fold(group[name].values))
    maps.attrs["image_ids"] = "\n".join(group["image_id"].values.tolist())
    return maps


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    with job(
        snakemake.log[0], f"gallery {w.dataset} {w.family}/{w.size}/{w.registers}",
        snakemake.threads, snakemake.output,
    ):  # fmt: skip
        main(
            card=i.card,
            sample=i.sample,
            spec=p.spec,
            geometries=p.geometries,
            root=p.root,
            images=p.images,
            ids=p.ids,
            device=p.device,
            store=out.store,
            partial=p.partial,
            maps={"native": out.native, "high": out.high},
            receipt=out.receipt,
            code=p.code,
        )
