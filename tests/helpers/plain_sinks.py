"""Attention sinks written from their definition: every matrix is built, and read head by head."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class Eager(TorchFunctionMode):
    """Computes each attention by hand; keeps q, k, v and its matrix (image, head, query, key)."""

    def __init__(self):
        super().__init__()
        self.weights, self.queries, self.keys, self.values = [], [], [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        q, k, v = args[:3]
        scores = q @ k.mT * (kwargs.get("scale") or q.shape[-1] ** -0.5)
        if (mask := kwargs.get("attn_mask")) is not None:
            scores = scores + mask
        self.weights.append(scores.softmax(-1))
        for kept, tensor in ((self.queries, q), (self.keys, k), (self.values, v)):
            kept.append(tensor)
        return self.weights[-1] @ v


def plain_sinks(weights, values, attention, gamma):
    """The definition, token by token: for each image and head the sink, whether it is an event,
    ratio of value norms and stable rank."""
    out = {}
    images, heads, tokens, _ = weights.shape
    size = values.shape[-1]
    matrix = attention.proj.weight * gamma[:, None]
    for image in range(images):
        for head in range(heads):
            a = weights[image, head]
            s = int(a.mean(0).argmax())
            looking = sum(float(a[q, s]) >= 0.5 for q in range(tokens)) / tokens
            projected = values[image, head] @ matrix[:, head * size : (head + 1) * size].T
            norms = [projected[t].norm().item() for t in range(tokens)]
            others = np.mean([n for t, n in enumerate(norms) if t != s])
            singular = torch.linalg.svdvals(a @ projected)
            stable = float((singular**2).sum() / singular[0] ** 2)
            out[image, head] = (s, looking, norms[s] / others, stable)
    return out
