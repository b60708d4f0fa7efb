"""Train a tiny or small ViT on a decoded data set."""

import pandas as pd
import torch
from safetensors.torch import save_file

from tokenscope.backbones import create, pick_device
from tokenscope.jobs import job, log
from tokenscope.stores import Stopwatch, open_store, sha256_file, write_receipt
from tokenscope.training import patch_segments, train


def main(spec, recipe, store, truth, device, card, weights, history):
    """Write weights, a row per epoch, and the card; ``truth`` names a segmentation, or nothing."""
    watch = Stopwatch()
    data = open_store(store).load()
    torch.manual_seed(recipe["seed"])
    model = create(spec)
    if model.reg_token is not None:
        # timm starts registers at 1e-6: equal in effect, and a minute does not tell them apart.
        torch.nn.init.trunc_normal_(model.reg_token, std=0.02)
    segments = None
    if truth:
        numbers = [int(name.removesuffix(".png")) for name in data["image_id"].values]
        maps = open_store(truth)["segmentation"].values[numbers]
        segments = patch_segments(maps, model.patch_embed.grid_size)

    def report(row):
        log.info(
            "epoch %d of %d: loss %.3f, top-1 %.1f %%",
            row["epoch"], recipe["epochs"], row["loss"], row["top1"],
        )  # fmt: skip

    rows = train(
        model, data["pixels"].values, data["label"].values, recipe, spec["mean"], spec["std"],
        pick_device(device), segments, report,
    )  # fmt: skip
    pd.DataFrame(rows).to_csv(history, index=False, float_format="%.6g")
    save_file({k: v.contiguous().cpu() for k, v in model.state_dict().items()}, weights)
    write_receipt(
        card, name=spec["name"], timm_id=spec["timm_id"], weights=str(weights), origin="trained",
        sha256=sha256_file(weights), recipe=recipe, top1=rows[-1]["top1"], **watch.facts(),
    )  # fmt: skip


if "snakemake" in globals():
    w, p, out = snakemake.wildcards, snakemake.params, snakemake.output
    with job(snakemake.log[0], f"train {w.family}/{w.size}/{w.registers}", snakemake.threads):
        main(p.spec, p.recipe, p.store, p.truth, p.device, out.card, out.weights, out.history)
