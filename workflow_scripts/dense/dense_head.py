"""Train a linear head on a frozen backbone's patch tokens and test it, beside a constant guess."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tokenscope.backbones.loading import open_backbone
from tokenscope.dense.crops import FrozenBackbone
from tokenscope.dense.heads import HEADS
from tokenscope.dense.linear_eval import (
    Augmented,
    Cached,
    constant,
    images_of_split,
    predict,
    train,
)
from tokenscope.dense.map_datasets import Maps
from tokenscope.dense.scores import HeadScores, cropped
from tokenscope.forward.device import pick_device
from tokenscope.forward.precision import precision_name
from tokenscope.images.readers import prefetch
from tokenscope.images.sample_rows import read_rows
from tokenscope.jobs.job import Interrupted, Progress, StopRequest, job, log
from tokenscope.stores.checkpoint import Checkpoint
from tokenscope.stores.receipts import (
    Stopwatch,
    fingerprint,
    read_receipt,
    weights_of,
    write_receipt,
)
from tokenscope.tables import paired, tidy

SHOWN = 256  # pixels of the longer side of a drawn map


def main(
    backbone, dataset, settings, seed, seeds, shown, who, statistics, device, threads, partial,
    code, outputs,
):  # fmt: skip
    """Write tidy rows, IoU by class, maps of a few test images, errors by image, a receipt.

    One parameter for each param of the rule; files and what belongs to them stand together.

    Args:
        backbone: ``spec``, and the path of its ``card``.
        dataset: ``source``, the set's entry in the config; ``listed`` and ``facts``, paths of the
            CSV of its images and of the receipt of rule index_targets.
        settings: how the head is trained: features, crop (pixels), stride, batch, steps, lr ...
        seed: of the first head and of the crops that a step sees.
        seeds: how many heads are trained, each with a seed of its own.
        shown: how many test images are drawn.
        who: backbone and data set, as in tidy rows.
        partial: folder of an attempt; the next one goes on from there.
        code: hash of the code, part of the fingerprint of that folder.
        outputs: paths of ``rows``, ``classes``, ``maps`` (npz), ``by_image`` (npz), ``receipt``.
        statistics: section of the config, see :meth:`Bootstrap.of`.
        device: ``auto``, ``cuda`` or ``cpu``.
        threads: cores of the job.
    """
    watch, spec, card = Stopwatch(), backbone["spec"], read_receipt(backbone["card"])
    source, facts = dataset["source"], read_receipt(dataset["facts"])
    device, maps = pick_device(device), Maps(source)
    table = read_rows(dataset["listed"])
    model = open_backbone(spec, weights_of(card), device=device)
    kind = HEADS[source["task"]]
    task = FrozenBackbone(
        model, spec["mean"], spec["std"], settings, kind.with_cls, maps.depth, device
    )
    train_rows, test_rows = images_of_split(table, "train"), images_of_split(table, "test")
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
    stop, heads, losses = StopRequest(), [], []
    for number in range(seeds):  # each has its own start, and sees the crops in its own order
        torch.manual_seed(seed + number)
        head = kind(task.width, settings, 0 if maps.depth else maps.classes).to(device)
        checkpoint = Checkpoint(folder / f"head{number}.pt", name)
        losses = train(head, data, settings, seed + number, Progress("steps"), checkpoint, stop)
        heads.append(head.eval())
        alike = losses[kind.warm_up :] or losses
        log.info(
            "head %d of %d: loss %.3f at first, %.3f at last", number + 1, seeds,
            np.mean(alike[:20]), np.mean(alike[-20:]),
        )  # fmt: skip
    guess = constant(maps, facts["constant"])
    scores, examples = _test(heads, task, maps, test_rows, guess, shown, stop, threads)
    rows, classes = scores.rows(who, statistics)
    rows.add("dense", "linear", "steps", settings["steps"], unit="steps")
    rows.add("dense", "linear", "features_cached", settings["features"] == "cached", unit="verdict")
    rows.add("dense", "linear", "heads", seeds, unit="seeds")
    rows.add("dense", "linear", "train_images", len(train_rows), unit="images")
    tidy.write(rows.frame(), outputs["rows"])
    tidy.write(classes, outputs["classes"])
    _save(examples, outputs["maps"], spec["name"])
    ids = [row["image_id"] for row in test_rows]
    paired.write(outputs["by_image"], ids, scores.by_image())
    shutil.rmtree(folder, ignore_errors=True)
    write_receipt(
        outputs["receipt"], name=spec["name"], settings=settings, source=source,
        losses=losses[:: max(1, len(losses) // 200)], device=device, weights_sha256=card["sha256"],
        geometry=f"crops of {task.crop[1]} x {task.crop[0]}", images=len(test_rows),
        precision=precision_name(device), guess=guess,
        params=sum(p.numel() for p in model.parameters()), **watch.facts(),
    )  # fmt: skip


def _test(heads, task, maps, rows, guess, shown, stop, threads):
    """Scores of all test images, and at most ``shown`` of them: id, image, true map, prediction.

    Drawn is what the first head predicts.
    """
    scores, examples, progress = HeadScores(maps), [], Progress()
    drawn = set(np.linspace(0, len(rows) - 1, min(shown, len(rows))).round().astype(int))

    def count(first, pairs, by_image):
        for i, (pair, predicted) in enumerate(zip(pairs, by_image, strict=True), first):
            target = cropped(pair[1], maps, rows[i]["image_id"])
            scores.add("linear", predicted, target)
            scores.add("constant", [np.full_like(predicted[0], guess)], target)
            if i in drawn:
                examples.append((rows[i]["image_id"], *pair, predicted[0]))

    # A GPU takes as many images at once as it takes windows; a CPU gains nothing by more than one.
    # One thread counts what was predicted and others read ahead while the next are predicted.
    together = task.batch if task.device.startswith("cuda") else 1
    ranges = [(i, min(i + together, len(rows))) for i in range(0, len(rows), together)]
    with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(1) as counter:
        counted = counter.submit(lambda: None)
        read = lambda a, b: list(readers.map(maps.read, rows[a:b]))  # noqa: E731
        for first, last, pairs in prefetch(read, ranges):
            by_image = predict(heads, task, pairs)
            counted.result()
            counted = counter.submit(count, first, pairs, by_image)
            progress(last, len(rows))
            if reason := stop():
                raise Interrupted(f"{reason}: {last} of {len(rows)} images tested, head kept")
        counted.result()
    return scores, examples


def _save(examples, path, name):
    """Images, true and predicted maps, small, as arrays by number."""
    arrays = {"backbone": np.array(name), "image_ids": np.array([e[0] for e in examples])}
    for i, (_, image, target, predicted) in enumerate(examples):
        scale = SHOWN / max(image.shape[:2])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        parts = {"image": image, "target": target, "found": predicted.astype(target.dtype)}
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
            backbone={"spec": p.spec, "card": i.card},
            dataset={"source": p.source, "listed": i.listed, "facts": i.facts},
            settings=p.settings,
            seed=p.seed,
            seeds=p.seeds,
            shown=p.shown,
            who=p.who,
            statistics=p.statistics,
            device=p.device,
            threads=snakemake.threads,
            partial=p.partial,
            code=p.code,
            outputs=dict(out.items()),
        )
