"""Which tokens a backbone has, and whether they can be taken from it."""

from torch import nn

from tokenscope.errors import StudyError

SUPPORTED = ("Attention", "EvaAttention", "AttentionRope")


def refuse_unsupported(model: nn.Module, name: str) -> None:
    """Raise a StudyError unless every block of ``model`` is a plain attention + MLP block."""
    blocks = getattr(model, "blocks", None)
    if blocks is None or not hasattr(model, "num_prefix_tokens"):
        raise StudyError(
            f"{name} is a {type(model).__name__}, no Vision Transformer with a list of blocks; "
            "tokens can be taken from timm's VisionTransformer and Eva models"
        )
    for index, block in enumerate(blocks):
        kind = type(getattr(block, "attn", None)).__name__
        if kind not in SUPPORTED:
            raise StudyError(
                f"{name}: block {index} ({type(block).__name__}) has attention of kind '{kind}'; "
                f"its rows can be recomputed only for {', '.join(SUPPORTED)}"
            )


def token_kinds(model: nn.Module) -> list[str]:
    """Names of the prefix tokens in their order: cls, reg0, reg1 ..."""
    has_cls = model.cls_token is not None
    registers = model.num_prefix_tokens - has_cls
    return ["cls"] * has_cls + [f"reg{i}" for i in range(registers)]
