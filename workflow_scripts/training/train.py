"""Train a ViT from scratch, or fine-tune one with new registers; go on where an attempt ended."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tokenscope.backbones.loading import create, open_backbone
from tokenscope.backbones.registers import add_registers, freeze
from tokenscope.errors import StudyError, Superseded
from tokenscope.forward.device import pick_device
from tokenscope.forward.precision import precision_name
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import locations
from tokenscope.images.sample_rows import read_rows
from tokenscope.jobs.job import Interrupted, StopRequest, job, log
from tokenscope.scenes.file_names import scene_number
from tokenscope.stores.checkpoint import TrainingCheckpoint, loaded, save_weights
from tokenscope.stores.receipts import (
    Stopwatch,
    fingerprint,
    read_receipt,
    sha256_file,
    weights_of,
    write_receipt,
    write_text,
)
from tokenscope.stores.zarr_store import open_store, store_of
from tokenscope.study.recipes import Training
from tokenscope.training.batches import Files, Memory
from tokenscope.training.distributed import World, launch, torchrun
from tokenscope.training.losses import patch_segments
from tokenscope.training.trainer import Callbacks, Trainer

TAKEN = "superseded: "  # what a process of torchrun tells the job that started it


def main(spec, base, recipe, images, device, workers, partial, outputs, code):
    """Write weights, a row per epoch, snapshots and, last, the card.

    Args:
        spec: of the backbone that comes out.
        base: ``spec`` and ``card`` of the backbone to start from, or None.
        recipe: its section ``training``, see tokenscope.study.recipes.
        images: ``receipt`` and ``store`` of decoded pixels, with ``truth`` where patches have
            labels; or ``sample``, ``root`` and ``geometry`` of files that are augmented.
        workers: processes that decode such files for this one.
        partial: folder of an attempt; the next one goes on from there.
        code: hash of the code, part of the fingerprint of that folder.
        outputs: paths of ``card``, ``weights``, ``history``, ``snapshots``.
        device: ``auto``, ``cuda`` or ``cpu``.
    """
    watch, stop, recipe = Stopwatch(), StopRequest(margin=120), Training(**recipe)
    world = World.join(pick_device(device))
    if not world.main:
        log.setLevel(logging.ERROR)
    torch.manual_seed(recipe.seed)
    model = start(spec, base, recipe)
    source, data = pixels(images, model, workers)
    mark = fingerprint(
        spec=spec, recipe=recipe, data=data, code=code,
        base=read_receipt(base["card"])["sha256"] if base else None,
    )  # fmt: skip
    checkpoint = TrainingCheckpoint(partial, mark, spec["name"]) if world.main else None
    folder = world.share(checkpoint and str(checkpoint.folder))
    state = checkpoint.load() if world.main else loaded(Path(folder, "checkpoint.pt"))
    trained = freeze(model, recipe.frozen_blocks)
    trainer = Trainer(model, source, recipe, spec["mean"], spec["std"], world, state)
    total = trainer.plan.total
    if trainer.done:
        log.info("going on after %d of %d updates", trainer.done, total)
    log.info(
        "%s trained parameters, %d updates of %d images in %d parts on %d x %s",
        f"{trained:,}", total, recipe.batch_size, recipe.slots, world.size, world.device,
    )  # fmt: skip
    events = Path(outputs["history"]).with_name("tensorboard")
    write_curve = curve(recipe, events) if world.main else None

    def report(row, speed):
        log.info(
            "epoch %d of %d: loss %.3f, patch norm %.2f, top-1 %.1f %%, %.0f images/s",
            row["epoch"], recipe.epochs, row["loss"], row["patch_norm"], row["top1"], speed,
        )  # fmt: skip

    def keep(state, reason):
        if world.main:
            checkpoint.save(state)
            write_history(state["history"], outputs["history"])
            write_curve(state["history"])
        if reason:
            world.wait()  # the first to end ends all; the checkpoint has to be whole by then
            raise Interrupted(
                f"{reason}: ended after {state['done']:,} of {total:,} updates; "
                "the next attempt goes on from there"
            )

    def snapshot(step, weights):
        if world.main:
            checkpoint.snapshot(step, weights)

    history = trainer.run(Callbacks(stop, keep, snapshot, report))
    if world.main:
        snapshots = checkpoint.publish_snapshots(outputs["snapshots"])
        write_history(history, outputs["history"])
        save_weights(trainer.weights(), outputs["weights"])
        write_receipt(
            outputs["card"], name=spec["name"], timm_id=spec["timm_id"],
            weights=str(outputs["weights"]), origin="fine-tuned" if base else "trained",
            sha256=sha256_file(outputs["weights"]), recipe=vars(recipe), top1=history[-1]["top1"],
            base=base["spec"]["name"] if base else "", trained_parameters=trained,
            updates=total, images=len(source.labels), precision=precision_name(world.device),
            devices=world.size, snapshots=snapshots, **watch.facts(),
        )  # fmt: skip
        checkpoint.remove()
    world.leave()


def start(spec, base, recipe):
    """The model before the first update: fresh, or pretrained with new registers and classes."""
    if not base:
        return create(spec, recipe.register_std)
    arguments = {k: v for k, v in spec["model"].items() if k != "num_classes"}
    from_spec = {**base["spec"], "model": {**base["spec"]["model"], **arguments}}
    model = open_backbone(from_spec, weights_of(read_receipt(base["card"])))
    model.requires_grad_(True)
    classes = spec["model"].get("num_classes", model.num_classes)
    if classes != model.num_classes:
        model.reset_classifier(classes)
    return add_registers(model, spec["registers"], recipe.register_std)


def pixels(images, model, workers):
    """The source of a training, and what identifies its images."""
    if images.get("sample"):
        rows = read_rows(images["sample"])
        geometry = Geometry.parse(images["geometry"])
        labels = rows["label"].to_numpy()
        where = locations(images["root"], rows)
        source = Files(where, labels, geometry, workers if workers > 1 else 0)
        return source, rows["sha256"].tolist()
    data = open_store(store_of(images["receipt"])).load()
    segments = None
    if images.get("truth"):
        numbers = [scene_number(name) for name in data["image_id"].values]
        maps = open_store(images["truth"])["segmentation"].values[numbers]
        grid = model.patch_embed.grid_size
        segments = patch_segments(maps, grid).reshape(-1, *grid).astype(np.int64)
    labels = data["label"].values
    return Memory(data["pixels"].values, labels, segments), read_receipt(images["receipt"])[
        "arrays"
    ]


def write_history(history, path):
    """The learning curve so far; readable while the training runs."""
    write_text(path, pd.DataFrame(history).to_csv(index=False, float_format="%.6g"))


def curve(recipe, folder):
    """A function that writes TensorBoard events, or one that does nothing."""
    if not recipe.tensorboard:
        return lambda history: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise StudyError(
            "tensorboard: true needs the package: .venv/bin/python -m pip install tensorboard"
        ) from None
    writer = SummaryWriter(str(folder))

    def write(history):
        for name, value in history[-1].items() if history else ():
            writer.add_scalar(name, value, history[-1]["step"])
        writer.flush()

    return write


def distribute(arguments, label, threads, processes, nodes):
    """Train in this process, or in one for each device under torchrun.

    Args:
        arguments: of :func:`main`, all but ``workers``. label: stands before each line of the log.
        threads: cores of each node, shared by its processes.
        processes: on each node.
    """
    arguments["workers"] = own = max(1, threads // processes)
    if processes * nodes == 1:
        return main(**arguments)
    folder = Path(arguments["partial"]).parent
    task = folder / f"{Path(arguments['partial']).name}-task.json"
    write_text(task, json.dumps({"label": label, "threads": own, "arguments": arguments}))
    command = torchrun(processes, nodes, threads)
    status, message = launch([*command, __file__, str(task)], log.info)
    if message.startswith("stopped: "):
        raise Interrupted(message.removeprefix("stopped: "))
    reason = message.removeprefix("error: ") or f"torchrun ended with status {status}"
    if reason.startswith(TAKEN):
        raise Superseded(reason.removeprefix(TAKEN))
    if status:
        raise StudyError(reason)
    task.unlink(missing_ok=True)


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label, threads = f"train {w.family}/{w.size}/{w.registers}", snakemake.threads
    with job(snakemake.log[0], label, threads, out):
        base = {"spec": p.base, "card": i.base} if p.base else None
        outputs = {name: out[name] for name in ("card", "weights", "history", "snapshots")}
        arguments = {
            "spec": p.spec, "base": base, "recipe": p.recipe, "images": p.images,
            "device": p.device, "partial": p.partial, "outputs": outputs, "code": p.code,
        }  # fmt: skip
        processes = p.compute["processes"]
        if pick_device(p.device) == "cuda":
            processes = min(p.compute["gpus"], torch.cuda.device_count())
        distribute(arguments, label, threads, processes, nodes=p.compute["nodes"])
elif __name__ == "__main__":  # a process of torchrun
    task = json.loads(Path(sys.argv[1]).read_text())
    with job("/dev/null", task["label"], task["threads"]):
        try:
            main(**task["arguments"])
        except Superseded as error:  # torchrun shall end the other processes, too
            raise StudyError(f"{TAKEN}{error}") from None
