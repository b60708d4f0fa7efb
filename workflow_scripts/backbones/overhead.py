"""What registers cost: parameters, FLOPs counted and modelled, speed and memory on this device."""

import time
from functools import partial

import numpy as np
import pandas as pd
import torch
from timm.models.eva import Eva
from torch.utils.flop_counter import FlopCounterMode

from tokenscope.backbones.loading import create
from tokenscope.forward.device import pick_device
from tokenscope.forward.precision import autocast
from tokenscope.jobs.job import job, log
from tokenscope.tables import tidy

WARM_UP, REPEATS = 3, 10  # passes of a GPU
LAUNCH_BOUND = 0.9  # of the time: a queue that is never full says nothing of the device


def main(spec, modelled, counts, size, batch, rounds, device, output):
    """Rows for each register count; weights are fresh, which changes no cost.

    Args:
        spec: how the backbone is built.
        modelled: FLOPs of one image by register count, from tokenscope.study.flops.
        counts: register counts that are compared; the first is what the others are compared with.
        size: side of an image in pixels.
        batch: images of one pass.
        rounds: measurements of each count, taken in turn so that a busy machine hits all alike;
            values are medians, intervals run from the smallest to the largest.
        device: ``auto``, ``cuda`` or ``cpu``.
        output: CSV file of tidy rows.
    """
    device = pick_device(device)
    facts = {count: _counted(spec, count, size) for count in counts}
    times = {count: {"forward": [], "training": []} for count in counts}
    waiting = {"forward": 0.0, "training": 0.0}  # most that a device did for its host
    memory = {count: [] for count in counts}
    for done in range(rounds):
        for count in counts[done % len(counts) :] + counts[: done % len(counts)]:
            for kind in times[count]:
                seconds, launching, peak = measure(
                    spec, count, size, batch, device, kind == "training"
                )
                waiting[kind] = max(waiting[kind], launching)
                times[count][kind].append(batch / seconds)
                if kind == "training":
                    memory[count].append(peak)
        log.info("round %d of %d", done + 1, rounds)
    bound = {kind for kind, share in waiting.items() if share > LAUNCH_BOUND}
    if bound:
        log.warning(
            "%s: launching takes as long as computing, so that registers would seem free: no "
            "times are written; set overhead: batch higher than %d", " and ".join(bound), batch
        )  # fmt: skip
    family, width, _ = spec["name"].split("/")
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    tables, zero, patch = [], counts[0], build(spec, 0, size, "meta").patch_embed.patch_size[0]
    for count in counts:
        who = {"family": family, "size": width, "registers": f"r{count}", "kind": "", "dataset": ""}
        rows = tidy.TidyRows(who, rounds, 0)
        add = partial(_add, rows)
        params, flops = facts[count]
        add("counted", "parameters", [params], "", 1)
        add("counted", "parameters_overhead", [100 * (params / facts[zero][0] - 1)], "percent", 1)
        add("counted", "patch", [patch], "pixels", 1)
        add("counted", "image_size", [size], "pixels", 1)
        add("counted", "flops", [flops], "FLOP an image", 1)
        add("modelled", "flops", [modelled[str(count)]], "FLOP an image", 1)
        for group, value, base in (
            ("counted", flops, facts[zero][1]),
            ("modelled", modelled[str(count)], modelled[str(zero)]),
        ):
            add(group, "flops_overhead", [100 * (value / base - 1)], "percent", 1)
        for kind, speeds in times[count].items():
            if kind in bound:
                continue
            add(f"{kind}, {name}", "throughput", speeds, "images/s")
            ratio = 100 * (np.array(times[zero][kind]) / speeds - 1)  # round by round
            add(f"{kind}, {name}", "time_overhead", ratio.tolist(), "percent")
        add(f"training, {name}", "peak_memory", memory[count], "MB")
        tables.append(rows.frame())
    log.info("batches of %d images of %d pixels on %s", batch, size, name)
    tidy.write(pd.concat(tables), output)


def _add(rows, group, metric, values, unit, n=None):
    rows.add("overhead", group, metric, np.median(values), min(values), max(values), unit, n)


def build(spec, count, size, device="cpu"):
    """The architecture with ``count`` registers, for images of ``size`` pixels, untrained.

    One that comes with registers of its own is made without them first, so that fewer can be asked.
    """
    with torch.device("meta"):
        plain = create(spec)
    if getattr(plain, "reg_token", None) is not None:
        own = "num_reg_tokens" if isinstance(plain, Eva) else "reg_tokens"
        spec = {**spec, "model": {**spec["model"], own: 0}}
    with torch.device(device):
        model = create({**spec, "registers": count})
        if size != model.patch_embed.img_size[0]:
            model.set_input_size(img_size=(size, size))
        return model


def _counted(spec, count, size):
    model = build(spec, count, size).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.forward_features(torch.zeros(1, 3, size, size))
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops()


def measure(spec, count, size, batch, device, training):
    """What one pass over a batch takes.

    Returns:
        seconds; the share of them in which the host was launching (0 on a CPU, which launches
        nothing); the GPU memory in MB at its peak, weights included.
    """
    model = build(spec, count, size, device).train(training)
    x = torch.randn(batch, 3, size, size, device=device)
    cuda = device == "cuda"

    def step():
        with autocast(device), torch.set_grad_enabled(training):
            out = model.forward_features(x)
        if training:
            out.float().mean().backward()
            model.zero_grad(set_to_none=True)

    def finish():
        if cuda:
            torch.cuda.synchronize()

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM_UP if cuda else 1):  # the first wakes up the device
        step()
    finish()
    # A CPU's allocator keeps what it has had: a peak of one batch cannot be told.
    peak = torch.cuda.max_memory_allocated() / 1e6 if cuda else float("nan")
    repeats, start = REPEATS if cuda else 1, time.perf_counter()
    for _ in range(repeats):
        step()
    launched = time.perf_counter() - start
    finish()  # once: a step that is waited for shows the launches of the next
    seconds = time.perf_counter() - start
    return seconds / repeats, launched / seconds if cuda else 0.0, peak


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"overhead {w.family}/{w.size}", snakemake.threads):
        main(
            spec=p.spec,
            modelled=p.modelled,
            counts=p.counts,
            size=p.size,
            batch=p.batch,
            rounds=p.rounds,
            device=p.device,
            output=snakemake.output[0],
        )
