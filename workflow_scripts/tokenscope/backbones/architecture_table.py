"""Facts of timm architectures, read from timm itself on the meta device (no weights, no memory).

``python -m tokenscope.backbones.architecture_table ID...`` prints the rows of
``config/architectures.csv``.
"""

import csv
import sys
from dataclasses import fields

import timm
import torch
from timm.models import get_pretrained_cfg, is_model

from tokenscope.errors import StudyError, closest
from tokenscope.forward.tokens import refuse_unsupported, token_kinds
from tokenscope.study.architecture import Architecture


def describe(timm_id: str) -> Architecture:
    """Facts of one timm id, tag included.

    Raises:
        StudyError: timm has no such id or tag, or the model's blocks take no hooks.
    """
    name, _, tag = timm_id.partition(".")
    if not is_model(name):
        near = closest(name, timm.list_models("*vit*") + timm.list_models("*deit*"))
        raise StudyError(f"timm has no architecture '{name}'; closest: {near}")
    if not tag or tag == "?":  # a tag is asked for only where there is a backbone
        with torch.device("meta"):
            refuse_unsupported(timm.create_model(name), name)
    tags = [i.partition(".")[2] for i in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise StudyError(f"timm's {name} has no weights tagged '{tag}'; tags: {', '.join(tags)}")
    cfg = get_pretrained_cfg(timm_id)
    with torch.device("meta"):
        model = timm.create_model(timm_id)
    refuse_unsupported(model, timm_id)
    block = model.blocks[0]
    return Architecture(
        timm_id=timm_id,
        patch=model.patch_embed.patch_size[0],
        depth=len(model.blocks),
        width=model.embed_dim,
        heads=block.attn.num_heads,
        block_macs=sum(m.weight.numel() for m in block.modules() if isinstance(m, torch.nn.Linear)),
        register_tokens=sum(kind.startswith("reg") for kind in token_kinds(model)),
        prefix_tokens=model.num_prefix_tokens,
        has_cls=model.cls_token is not None,
        params=sum(p.numel() for p in model.parameters()),
        num_classes=model.num_classes,
        input_size=cfg.input_size[-1],
        crop_pct=cfg.crop_pct,
        interpolation=cfg.interpolation,
        crop_mode=cfg.crop_mode,
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
    )


def main(ids: list[str]) -> None:
    writer = csv.DictWriter(sys.stdout, [f.name for f in fields(Architecture)])
    writer.writeheader()
    for timm_id in ids:
        writer.writerow(describe(timm_id).as_strings())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except StudyError as error:
        sys.exit(f"StudyError: {error}")
