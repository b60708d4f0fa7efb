"""Train a linear head on a frozen backbone's patch tokens and test it, beside a constant guess."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from tokenscope.backbones.loading import open_backbone, pick_device
from tokenscope.backbones.precision import precision_name
from tokenscope.dense.crops import FrozenBackbone
from tokenscope.dense.heads import HEADS
from tokenscope.dense.linear_eval import Augmented, Cached, constant, predict, rows_of, train
from tokenscope.dense.map_datasets import Maps
from tokenscope.dense.metrics import areas, depth_errors, eigen_crop
from tokenscope.errors import StudyError
from tokenscope.jobs.job import Interrupted, Progress, StopRequest, job, log
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.iou import class_iou
from tokenscope.stores.checkpoint import Checkpoint
from tokenscope.stores.receipts import (
    Stopwatch,
    fingerprint,
    read_receipt,
    weights_of,
    write_receipt,
)
from tokenscope.tables import paired, tidy

LISTED_CLASSES = 20  # more of them go into the file of classes only
SHOWN = 256  # pixels of the longer side of a drawn map


def main(card, listed, facts, source, spec, settings, seed, shown, who, statistics, device,
         threads, partial, code, rows_file, classes_file, maps_file, by_image,
         receipt):  # fmt: skip
    """Write tidy rows, IoU by class, maps of a few test images, errors by image, a receipt."""
    watch, card, facts = Stopwatch(), read_receipt(card), read_receipt(facts)
    device, maps = pick_device(device), Maps(source)
    table = pd.read_csv(listed, dtype={"image_id": str, "image": str, "target": str})
    model = open_backbone(spec, weights_of(card), device=device)
    kind = HEADS[source["task"]]
    task = FrozenBackbone(
        model, spec["mean"], spec["std"], settings, kind.with_cls, maps.depth, device
    )
    train_rows, test_rows = rows_of(table, "train"), rows_of(table, "test")
    folder = Path(partial)
    name = fingerprint(
        weights=card["sha256"], images=table["sha256"].tolist(), source=source, spec=spec,
        settings=settings, seed=seed, device=device, code=code,
    )  # fmt: skip
    log.info(
        "%s crops of %d x %d, loss at every %d. pixel", settings["features"], *task.crop, task.every
    )
    if settings["features"] == "cached":
        data = Cached(task, maps, train_rows, threads, folder, name, Progress())
    else:
        data = Augmented(task, maps, train_rows, threads)
    torch.manual_seed(seed)
    head = kind(task.width, settings, 0 if maps.depth else maps.classes).to(device)
    stop, checkpoint = StopRequest(), Checkpoint(folder / "head.pt", name)
    losses = train(head, data, settings, seed, Progress("steps"), checkpoint, stop)
    head.eval()
    log.info("loss %.3f at first, %.3f at last", np.mean(losses[:20]), np.mean(losses[-20:]))
    guess = constant(maps, facts["constant"])
    measured = {"linear": [], "constant": []}
    kept, progress = [], Progress()
    draw = set(np.linspace(0, len(test_rows) - 1, min(shown, len(test_rows))).round().astype(int))
    for i, row in enumerate(test_rows):
        pair = maps.read(row)
        target = _cropped(pair[1], source, row)
        found = predict(head, task, pair)
        measured["linear"].append(_measure(found, target, maps))
        measured["constant"].append(_measure(np.full_like(found, guess), target, maps))
        if i in draw:
            kept.append((row["image_id"], *pair, found))
        progress(i + 1, len(test_rows))
        if reason := stop():
            raise Interrupted(f"{reason}: {i + 1} of {len(test_rows)} images tested, head kept")
    rows = tidy.TidyRows(who, len(test_rows), statistics["seed"])
    bootstrap = Bootstrap.of(len(test_rows), statistics)
    report = _depth if maps.depth else _segmentation
    classes = report(rows, bootstrap, measured, source)
    rows.add("dense", "linear", "steps", settings["steps"], unit="steps")
    rows.add("dense", "linear", "features_cached", settings["features"] == "cached", unit="verdict")
    rows.add("dense", "linear", "train_images", len(train_rows), unit="images")
    tidy.write(rows.frame(), rows_file)
    columns = [*who, "class", "iou", "low", "high", "true_share"]
    tidy.write(pd.DataFrame([{**who, **c} for c in classes], columns=columns), classes_file)
    _save(kept, maps_file, spec["name"])
    paired.write(by_image, [row["image_id"] for row in test_rows], _by_image(measured, maps))
    shutil.rmtree(folder, ignore_errors=True)
    write_receipt(
        receipt, name=spec["name"], settings=settings, source=source, losses=losses[:: max(
            1, len(losses) // 200)], device=device, weights_sha256=card["sha256"],
        geometry=f"crops of {task.crop[1]} x {task.crop[0]}", images=len(test_rows),
        precision=precision_name(device), guess=guess,
        params=sum(p.numel() for p in model.parameters()), **watch.facts(),
    )  # fmt: skip


def _cropped(target, source, row):
    if source.get("crop") != "eigen":
        return target
    try:
        return eigen_crop(target)
    except ValueError as error:
        raise StudyError(f"{row['image_id']}: {error}; leave out crop: eigen") from None


def _measure(found, target, maps):
    return depth_errors(found, target) if maps.depth else areas(found, target, maps.classes)


def _by_image(measured, maps):
    """What the head gave each test image, to be compared with another backbone's."""
    if not maps.depth:
        return {("linear", paired.AREAS): np.stack(measured["linear"]).astype(np.int32)}
    table = pd.DataFrame(measured["linear"])
    return {("linear", name): table[name].to_numpy() for name in ("rmse", "abs_rel", "delta1")}


def _segmentation(rows, bootstrap, measured, source):
    """mIoU over classes that occur, pixel accuracy, and IoU by class."""
    names = source.get("names") or [str(i) for i in range(source["classes"])]
    again, point, classes = {}, {}, []
    for group, values in measured.items():
        values = np.stack(values)
        found = paired.estimates(bootstrap, paired.AREAS, values)
        for metric, (value, resampled) in found.items():
            rows.add("dense", group, metric, value, *bootstrap.interval(resampled), "percent")
        point[group], again[group] = found["miou"]
        if group == "linear":
            iou, resampled = class_iou(values.sum(0)), class_iou(bootstrap.sums(values))
            low, high = bootstrap.interval(100 * resampled)
            share = values[:, 2].sum(0) / values[:, 2].sum()
            for i, name in enumerate(names):
                classes.append({
                    "class": name, "iou": 100 * iou[i], "low": low[i], "high": high[i],
                    "true_share": 100 * share[i],
                })  # fmt: skip
                if len(names) <= LISTED_CLASSES:
                    metric = f"iou_{name}"
                    rows.add("dense", group, metric, 100 * iou[i], low[i], high[i], "percent")
    rows.add(
        "dense", "linear-constant", "miou", point["linear"] - point["constant"],
        *bootstrap.interval(again["linear"] - again["constant"]), "points",
    )  # fmt: skip
    return classes


def _depth(rows, bootstrap, measured, source):
    """Errors as the mean over images (BTS, DINOv2), and RMSE over all pixels."""
    again = {}
    for group, values in measured.items():
        table = pd.DataFrame(values)
        for metric, unit in (("rmse", "m"), ("abs_rel", "ratio"), ("delta1", "percent")):
            *ends, resampled = bootstrap.ratio(table[metric].to_numpy(), np.ones(len(table)))
            rows.add("dense", group, metric, *ends, unit)
            again[group, metric] = (ends[0], resampled)
        mean, low, high, _ = bootstrap.ratio(
            table["squared"].to_numpy(), table["pixels"].to_numpy(float)
        )
        rows.add("dense", group, "rmse_pooled", *np.sqrt([mean, low, high]), "m")
    (point, resampled), (other, guessed) = again["linear", "rmse"], again["constant", "rmse"]
    rows.add(
        "dense", "linear-constant", "rmse", point - other,
        *bootstrap.interval(resampled - guessed), "m",
    )  # fmt: skip
    return []


def _save(kept, path, name):
    """Images, true and predicted maps, small, as arrays by number."""
    arrays = {"backbone": np.array(name), "image_ids": np.array([k[0] for k in kept])}
    for i, (_, image, target, found) in enumerate(kept):
        scale = SHOWN / max(image.shape[:2])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        parts = {"image": image, "target": target, "found": found.astype(target.dtype)}
        for part, values in parts.items():
            how = Image.Resampling.BILINEAR if part == "image" else Image.Resampling.NEAREST
            arrays[f"{part}{i}"] = np.asarray(Image.fromarray(values).resize(size, how))
    with open(path, "wb") as handle:
        np.savez_compressed(handle, **arrays)


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"head {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            i.card, i.listed, i.facts, p.source, p.spec, p.settings, p.seed, p.shown, p.who,
            p.statistics, p.device, snakemake.threads, p.partial, p.code,
            out.rows, out.classes, out.maps, out.by_image, out.receipt,
        )  # fmt: skip
