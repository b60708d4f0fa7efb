"""(b) The loop of many notebooks: image by image, hooks on all blocks, attention in full.

Tokens and attention of every block go to the host in float32, stay in memory, and are saved as one
file at the end.
"""

import torch

from bench.peers.common import program
from bench.shapes import normal


@torch.inference_mode()
def work(model, images, batch, device, folder):
    tokens, attention = [], []
    hooks = []
    for block in model.blocks:
        block.attn.fused_attn = False
        drop = block.attn.attn_drop
        hooks.append(
            drop.register_forward_hook(lambda _m, _i, y: attention.append(y.cpu().float()))
        )
        hooks.append(block.register_forward_hook(lambda _m, _i, y: tokens.append(y.cpu().float())))
    for image in images:
        model.forward_features(normal(image[None], device))
    for hook in hooks:
        hook.remove()
    blocks = len(model.blocks)
    folder.mkdir()
    torch.save(
        {
            name: [torch.cat(values[i : i + blocks]) for i in range(0, len(values), blocks)]
            for name, values in (("tokens", tokens), ("attention", attention))
        },
        folder / "all.pt",
    )


if __name__ == "__main__":
    program(work)
