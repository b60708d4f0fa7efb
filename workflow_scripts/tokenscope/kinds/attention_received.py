"""Attention that outliers and registers receive, over their share of the tokens.

Darcet et al. (https://arxiv.org/abs/2309.16588) see artifacts in attention maps; whether they are
the tokens of high norm is asked here as a ratio: mass of attention on outliers over the share of
tokens that they are, mean over queries and heads, and in the row of CLS.
"""

import numpy as np
from torch import Tensor

from tokenscope.kinds.answers import Estimate, Found, decide, does_not_apply, ratio
from tokenscope.kinds.block_pass import BlockView
from tokenscope.stats.bootstrap import Bootstrap

MANY = 5.0  # times the uniform share: the third clause of a careful verdict


def look(view: BlockView, weights: Tensor, received: Tensor) -> dict[str, Tensor]:
    """Of attention matrices (image, head, query, key), and of their mean over queries (image, head,
    key): ``received`` (image, key), mean over heads too, and ``cls_row`` (image, key) where there
    is CLS."""
    rows = {"received": received.mean(1)}
    return rows | ({"cls_row": weights[:, :, 0].mean(1)} if view.has_cls else {})


def over_uniform(attention: np.ndarray, mask: np.ndarray, bootstrap: Bootstrap) -> Estimate:
    """Attention on masked patches over what all patches receive evenly: value, low, high.

    Args:
        attention: (image, patch). mask: (image, patch).
    """
    share = mask.mean(1) * attention.sum(1)
    return ratio((attention * mask).sum(1), share, bootstrap)


def outliers(
    seen: dict[str, np.ndarray], prefix: int, mask: np.ndarray, block: int, bootstrap: Bootstrap
) -> list[Found]:
    """Rows of kind ``attention-received``; its answer is that of the first attention that reads
    the outliers.

    Args:
        seen: what :func:`look` left, each (image, block, token).
        mask: (image, patch), outliers after block ``block`` (from 1).
    """
    if not mask.any():
        return [does_not_apply("attention-received", "over_uniform", "no patch is an outlier here")]
    depth = seen["received"].shape[1]
    reads, rows = min(block + 1, depth), []
    for name, quantity in (("received", "over_uniform"), ("cls_row", "of_cls_over_uniform")):
        if name not in seen:
            continue
        for b in range(1, depth + 1):
            value = over_uniform(seen[name][:, b - 1, prefix:], mask, bootstrap)
            others = over_uniform(seen[name][:, b - 1, prefix:], ~mask, bootstrap)
            headline = name == "received" and b == reads
            rows.append(Found.of(
                "attention-received", quantity, value, b, others[0], "x uniform",
                decide(value, MANY) if headline else "",
                f"{value[0]:.3g} x uniform in block {b}" if headline else "",
            ))  # fmt: skip
    return rows


def registers(seen: dict[str, np.ndarray], kinds: list[str], bootstrap: Bootstrap) -> list[Found]:
    """Attention on each register, per block, in multiples of the uniform share of one token."""
    rows = []
    for token, kind in enumerate(kinds):
        if not kind.startswith("reg"):
            continue
        for name, quantity in (("received", "attention"), ("cls_row", "attention_of_cls")):
            for b in range(seen[name].shape[1]) if name in seen else ():
                got = seen[name][:, b]
                value = ratio(got[:, token] * got.shape[1], got.sum(1), bootstrap)
                rows.append(
                    Found.of(
                        "register-use", f"{quantity}_on_{kind}", value, b + 1, 1.0, "x uniform"
                    )
                )
    return rows
