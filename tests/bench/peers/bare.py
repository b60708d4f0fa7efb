"""(a) Forward passes and nothing else: what the device can do."""

import torch

from bench.peers.common import program
from bench.shapes import normal
from tokenscope.forward.precision import autocast


@torch.inference_mode()
def work(model, images, batch, device, folder):
    for start in range(0, len(images), batch):
        x = normal(images[start : start + batch], device)
        with autocast(device):
            model.forward_features(x)


if __name__ == "__main__":
    program(work)
