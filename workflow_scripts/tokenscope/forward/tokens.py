"""Which tokens a backbone has, and whether they can be taken from it."""

from timm.layers import Attention, AttentionPoolLatent, AttentionRope, PatchEmbed
from timm.models import beit, eva
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import RelPosAttention, VisionTransformerRelPos
from torch import nn

from tokenscope.errors import StudyError

# By identity, not by name: timm has several classes called Attention, some within windows.
MODELS = (VisionTransformer, VisionTransformerDistilled, Eva, Beit, VisionTransformerRelPos)
ATTENTIONS = (Attention, AttentionRope, eva.EvaAttention, beit.Attention, RelPosAttention)
# Prefix tokens that have a parameter of their own, in the order in which models put them; what
# remains are registers.
NAMED = {"cls": "cls_token", "dist": "dist_token"}
# C-RADIO has a CLS for each of its teachers; timm keeps all but the first among its registers.
# v3: four (DFN CLIP, SigLIP 2, DINOv2, SAM) and four registers (github.com/NVlabs/RADIO, issue 80);
# v4: three (SigLIP 2, DINOv3, SAM 3) and registers up to ten tokens.
TEACHERS = {"radio_v3": 4, "radio_v4": 3}
_WHY = {
    "NaFlexVit": "takes lists of patches of any number instead of an image",
    "VisionTransformerSAM": "attends within windows",
    "Cait": "mixes the attention of its heads (talking heads) and has CLS in its last blocks alone",
    "ConVit": "mixes content and position in an attention of its own and has CLS in some blocks",
    "Xcit": "attends between channels, not between tokens",
}


def refuse_unsupported(model: nn.Module, name: str) -> None:
    """Raise a StudyError unless ``model`` is a plain Vision Transformer, read exactly here.

    That is: patches of pixels by one convolution, and in every block one softmax attention among
    all tokens. Relative position bias, rotary embedding, q/k norms and gates are read exactly.
    """
    kind = type(model).__name__
    if type(model) not in MODELS:
        why = _WHY.get(kind, "is no Vision Transformer with a plain list of blocks")
        raise StudyError(
            f"{name} is a {kind}, which {why}; tokens can be taken from timm's "
            f"{', '.join(c.__name__ for c in MODELS)}"
        )
    if type(model.patch_embed) is not PatchEmbed:
        raise StudyError(
            f"{name} is a hybrid: its tokens come from a convolutional network "
            f"({type(model.patch_embed).__name__}), not each from a patch of pixels; tokens can be "
            "taken from models whose patches are embedded by one convolution"
        )
    for index, block in enumerate(model.blocks, 1):
        attention = getattr(block, "attn", None)
        if type(attention) not in ATTENTIONS:
            has = f"attention of kind '{type(attention).__name__}'"
            raise StudyError(
                f"{name}: block {index} ({type(block).__name__}) has "
                f"{'no module of attention' if attention is None else has}; its rows can be "
                f"recomputed only for {', '.join(c.__name__ for c in ATTENTIONS)}"
            )


def token_kinds(model: nn.Module) -> list[str]:
    """Names of the prefix tokens in their order: cls, dist (DeiT's for distillation), reg0 ...

    Further CLS tokens, of RADIO's other teachers, are cls2, cls3 ...
    """
    named = [kind for kind, key in NAMED.items() if getattr(model, key, None) is not None]
    name = (getattr(model, "pretrained_cfg", None) or {}).get("architecture") or ""
    teachers = next((count for part, count in TEACHERS.items() if part in name), 1)
    named += [f"cls{i}" for i in range(2, teachers + 1)]
    return named + [f"reg{i}" for i in range(model.num_prefix_tokens - len(named))]


def registers_among(kinds: list[str]) -> slice | None:
    """Where in a list of kinds the registers stand; None without."""
    at = [i for i, kind in enumerate(kinds) if kind.startswith("reg")]
    return slice(at[0], at[-1] + 1) if at else None


def pools_by_attention(model: nn.Module) -> bool:
    """Whether the model pools its tokens by the attention of a latent query (MAP)."""
    return type(getattr(model, "attn_pool", None)) is AttentionPoolLatent
