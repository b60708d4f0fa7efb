"""Make a phantom from a trained ViT: a backbone whose answer is known."""

from dataclasses import asdict

import torch
from safetensors.torch import save_file

from tokenscope.backbones.loading import open_backbone
from tokenscope.errors import StudyError
from tokenscope.forward.inputs import normalise
from tokenscope.jobs.job import job, log
from tokenscope.phantoms.answers import ANSWERS, constant_patches
from tokenscope.phantoms.checks import verify
from tokenscope.phantoms.family import make
from tokenscope.stores.receipts import read_receipt, sha256_file, weights_of, write_receipt
from tokenscope.stores.zarr_store import open_store

SAMPLE = 256  # images that lengths are set by, and as many others that the phantom is checked on


def main(base_card, base, name, phantom, plant, store, card, weights):
    """Write weights and card of one phantom; refuses one that is not what its name says.

    Args:
        base_card: card of the trained backbone. base: its spec.
        name: of the phantom among the study's backbones; phantom: which it is.
        plant: the recipe's section of that name: ``block`` (from 1) and ``seed``.
        store: decoded images of the recipe, of which the first are used.
        card, weights: to write.
    """
    if not plant or set(plant) != {"block", "seed"}:
        raise StudyError(
            f"{name}: the recipe of its base needs a section plant with the keys block and seed "
            f"and no others, it has {plant}"
        )
    pixels = open_store(store)["pixels"][: 2 * SAMPLE].values
    model = open_backbone(base, weights_of(read_receipt(base_card)))
    half = len(pixels) // 2
    sample = normalise(
        torch.from_numpy(pixels[:half]), *(torch.tensor(base[key]) for key in ("mean", "std"))
    )
    constant = constant_patches(pixels[:half], model.patch_embed.patch_size[0])
    made, planted = make(
        model, phantom, plant["block"], sample, torch.from_numpy(constant), plant["seed"]
    )
    checks = verify(made, phantom, planted, pixels[half:], base["mean"], base["std"])
    log.info("%s: %s; %s", phantom, ANSWERS[phantom].said, checks)
    save_file({k: v.contiguous() for k, v in made.state_dict().items()}, weights)
    write_receipt(
        card, name=name, timm_id=base["timm_id"], weights=str(weights),
        origin=f"phantom, {phantom}", sha256=sha256_file(weights), planted=asdict(planted),
        checks=checks,
    )  # fmt: skip


if "snakemake" in globals():
    p, i, out = snakemake.params, snakemake.input, snakemake.output
    with job(snakemake.log[0], f"plant {p.name}", snakemake.threads):
        main(
            base_card=i.card, base=p.base, name=p.name, phantom=p.phantom, plant=p.plant,
            store=p.store, card=out.card, weights=out.weights,
        )  # fmt: skip
