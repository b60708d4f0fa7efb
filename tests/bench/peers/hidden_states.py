"""(c) As with ``output_hidden_states=True, output_attentions=True``: all of a batch at once.

What one would keep of each batch (norms of all blocks, last tokens, attention of CLS and registers)
is taken from the full tuples and saved batch by batch.
"""

import numpy as np
import torch

from bench.peers.common import program
from bench.shapes import normal
from tokenscope.forward.precision import autocast


@torch.inference_mode()
def work(model, images, batch, device, folder):
    states, attentions = [], []
    hooks = []
    for block in model.blocks:
        block.attn.fused_attn = False
        drop = block.attn.attn_drop
        hooks.append(drop.register_forward_hook(lambda _m, _i, y: attentions.append(y)))
        hooks.append(block.register_forward_hook(lambda _m, _i, y: states.append(y)))
    folder.mkdir()
    prefix = model.num_prefix_tokens
    for start in range(0, len(images), batch):
        with autocast(device):
            model.forward_features(normal(images[start : start + batch], device))
        np.savez(
            folder / f"{start}.npz",
            tokens=states[-1].half().cpu().numpy(),
            norms=torch.stack([s.float().norm(dim=-1) for s in states], 1).cpu().numpy(),
            attention=attentions[-1].float().mean(1)[:, :prefix, prefix:].cpu().numpy(),
        )
        states.clear()
        attentions.clear()
    for hook in hooks:
        hook.remove()


if __name__ == "__main__":
    program(work)
