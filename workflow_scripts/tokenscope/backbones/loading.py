"""Open a backbone: architecture from timm, weights from a file, ready for a forward pass."""

import logging
import os
import re
import warnings
from functools import partial
from pathlib import Path
from types import MethodType

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # compute jobs never ask the network for weights

import timm
import torch
from timm.layers import GluMlp, LayerNorm, Mlp, SwiGLU, SwiGLUPacked
from torch import nn

from tokenscope.backbones.huggingface import official
from tokenscope.backbones.position_embedding import resample_as_dinov2
from tokenscope.backbones.registers import add_registers
from tokenscope.backbones.test_time_registers import attach
from tokenscope.backbones.weights_file import read_weights
from tokenscope.cards.weights_files import is_index
from tokenscope.errors import StudyError, some
from tokenscope.forward.tokens import refuse_unsupported
from tokenscope.stores.receipts import read_receipt, weights_of

MLPS = {mlp.__name__: mlp for mlp in (Mlp, GluMlp, SwiGLU)} | {"SwiGLUPacked": SwiGLUPacked}

logging.getLogger("timm").setLevel(logging.ERROR)

# Classifiers and projections, by the names they have in timm's and in official files.
HEAD = re.compile(r"(module\.)?(head|head_dist|fc|classifier|visual\.proj|visual\.head)(\.|$)")


def create(spec: dict, register_std: float = 0.02) -> nn.Module:
    """The architecture with fresh weights, at its own size, with the registers of its row."""
    model = _pooled(timm.create_model(spec["timm_id"], **_arguments(spec)), spec)
    return add_registers(model, spec["registers"], register_std)


def _pooled(model: nn.Module, spec: dict) -> nn.Module:
    """The model with the pooling that its card names apart from the norms (``pool``).

    timm moves the final norm with the pooling; open_clip does not. ``cls+mean``: the classifiers of
    DINOv2 take CLS and the mean patch, side by side, which timm has not.
    """
    pool = spec["model"].get("pool")
    if pool == "cls+mean":
        if model.num_classes:
            model.head = nn.Linear(2 * model.embed_dim, model.num_classes)
            model.pool = MethodType(_cls_and_mean, model)
    elif pool:
        model.reset_classifier(model.num_classes, pool)
    return model


def _cls_and_mean(model: nn.Module, features: torch.Tensor) -> torch.Tensor:
    return torch.cat([features[:, 0], features[:, model.num_prefix_tokens :].mean(1)], -1)


def _arguments(spec: dict) -> dict:
    """Of the architecture; what a file can only name (MLP, epsilon of norms) as the class it is."""
    arguments = {key: value for key, value in spec["model"].items() if key != "pool"}
    if isinstance(name := arguments.get("mlp_layer"), str):
        if name not in MLPS:
            raise StudyError(f"{spec['name']}: mlp_layer is '{name}', none of {', '.join(MLPS)}")
        arguments["mlp_layer"] = MLPS[name]
    if (eps := arguments.pop("norm_eps", None)) is not None:  # transformers' differ from timm's
        arguments["norm_layer"] = partial(LayerNorm, eps=eps)
    return arguments


def open_backbone(
    spec: dict, weights: str | Path, size: int | None = None, device: str = "cpu"
) -> nn.Module:
    """A backbone with its weights, in evaluation mode, for images of ``size`` pixels.

    Weights may be a timm state dict or anything that timm's own filter for that architecture
    converts (official DINOv2, DINO, DeiT-III and OpenCLIP files among them), the same models as
    transformers and open_clip save them (see tokenscope.backbones.huggingface), whole or in shards
    with an index, or a JSON file that names such weights and the neurons of registers added at test
    time (see tokenscope.backbones.test_time_registers). Away from the native size the position
    embedding is resampled as timm does it, or with ``position: official`` in the spec as DINOv2's
    own code does it.

    Raises:
        StudyError: the file is missing or unreadable, or does not fit; the message lists the keys.
    """
    added = None
    if Path(weights).suffix == ".json" and not is_index(weights):
        added = read_receipt(weights)
        if lacking := {"neurons", "registers", "leaves"} - set(added):
            raise StudyError(f"{weights}: lacks {', '.join(sorted(lacking))}; delete it, run again")
        weights = weights_of({"name": spec["name"], **added})
    model = _load(spec, weights)
    refuse_unsupported(model, spec["name"])
    if added:
        attach(model, added["neurons"], added["registers"], added["leaves"], added["moves"])
    if size is not None and size != model.patch_embed.img_size[0]:
        learned = model.pos_embed
        model.set_input_size(img_size=(size, size))
        if spec.get("position") == "official":
            resample_as_dinov2(model, learned, spec["name"])
    return model.eval().requires_grad_(False).to(device)


def check_weights(spec: dict, weights: str | Path) -> None:
    """Raise a StudyError unless the file fits the architecture; takes no memory for the model."""
    with torch.device("meta"):
        _load(spec, weights)


def _load(spec: dict, weights: str | Path) -> nn.Module:
    state = read_weights(spec["name"], weights)
    model = create(spec)
    state, own = official(state, spec["name"], model), model.state_dict()
    if not model.num_classes:  # whatever was trained on top does not matter
        state = {key: value for key, value in state.items() if not HEAD.match(key)}
    if {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in own.items()}:
        with warnings.catch_warnings():  # on the meta device nothing is copied, which is the point
            warnings.filterwarnings("ignore", message=".*no-op.*")
            model.load_state_dict(state)
        return model
    if not state:
        raise StudyError(
            f"{spec['name']}: {weights} holds no weights of a backbone by name; save its state "
            "dict alone"
        )
    _check_patch(spec, weights, state, model)
    cfg = {"state_dict": state, "custom_load": False, "num_classes": model.num_classes}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*no-op.*")
            if getattr(model.head, "in_features", model.embed_dim) != model.embed_dim:
                model.load_state_dict(state)  # says what differs: timm knows no such head
            opened = timm.create_model(
                spec["timm_id"], pretrained=True, pretrained_cfg_overlay=cfg, **_arguments(spec)
            )
        opened.pretrained_cfg.pop("state_dict", None)  # else it lives as long as the model
        opened = _pooled(opened, spec)
        # timm knows no registers but the released ones; added ones must come from the file.
        if opened.num_prefix_tokens == model.num_prefix_tokens:
            return opened
        error = RuntimeError("registers are missing")
    except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as refusal:
        error = refusal
    raise StudyError(_mismatch(spec, weights, state, own, error))


def _check_patch(spec: dict, weights: str | Path, state: dict, model: nn.Module) -> None:
    """Refuse patches of another size, which timm would resample: that is another network."""
    theirs, ours = state.get("patch_embed.proj.weight"), model.patch_embed.proj.weight
    if theirs is not None and theirs.dim() == 4 and theirs.shape[2:] != ours.shape[2:]:
        raise StudyError(
            f"{spec['name']}: {weights} does not fit {spec['timm_id']}: its patches have "
            f"{' x '.join(map(str, theirs.shape[2:]))} pixels, not "
            f"{' x '.join(map(str, ours.shape[2:]))}"
        )


def _mismatch(spec: dict, weights: str | Path, state: dict, own: dict, error: Exception) -> str:
    reasons = re.findall(r"size mismatch for (\S+): .*?(\[[\d, ]*\]).*?(\[[\d, ]*\])", str(error))
    if reasons:
        key, theirs, ours = reasons[0]
        detail = f"{len(reasons)} shapes differ, first {key}: file {theirs}, model {ours}"
    else:
        missing, extra = (
            re.findall(r'"([^"]+)"', "".join(re.findall(rf"{complaint} key\(s\).*", str(error))))
            for complaint in ("Missing", "Unexpected")
        )
        if not missing and not extra:  # refused before its keys were compared
            missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
        found = [f"{len(missing)} keys are missing from it ({some(missing)})"] if missing else []
        found += [f"{len(extra)} are unknown ({some(extra)})"] if extra else []
        detail = ", ".join(found)
    return f"{spec['name']}: {weights} does not fit {spec['timm_id']}: {detail}"
