"""Is what is read from a Vision Transformer what the model itself computes? Of all timm has.

``python -m tokenscope.backbones.conformance FOLDER`` takes every architecture of timm that has
pretrained weights and is a Vision Transformer, gives it random weights far from their tiny initial
values, two blocks and a small image, and compares what TokenHooks reads with timm's own
intermediates, with the attention computed step by step, and with the features that the model's own
head gets. The tags of one architecture differ in weights alone and share its result.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import pandas as pd
import timm
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.tokens import refuse_unsupported, token_kinds
from tokenscope.stores.receipts import write_text

# Modules of timm with Vision Transformers in them, plain or not.
MODULES = (
    "beit", "cait", "convit", "deit", "eva", "naflexvit", "vision_transformer",
    "vision_transformer_hybrid", "vision_transformer_relpos", "vision_transformer_sam", "vitamin",
    "xcit",
)  # fmt: skip
BLOCKS, GRID, IMAGES = 2, 5, 2
SHAKE = 0.05  # standard deviation of what is added to each weight
# Largest difference over the largest value: both sides are float32, their order of sums differs.
LIMITS = {"norms": 1e-5, "attention": 1e-4, "received": 1e-4, "pooling": 1e-4, "pooled": 1e-5}


@dataclass(frozen=True)
class Result:
    """One line of the table. Differences are relative to the largest value; None: not there."""

    model: str
    class_name: str
    tags: int
    verdict: str
    norms: float | None = None
    attention: float | None = None
    received: float | None = None
    pooling: float | None = None
    pooled: float | None = None
    reason: str = ""


def check(name: str, tags: int = 0) -> Result:
    """One architecture of timm: ``passed``, ``refused`` with the reason, or ``FAIL``."""
    with torch.device("meta"):
        whole = timm.create_model(name)
    kind = type(whole).__name__
    try:
        refuse_unsupported(whole, name)
    except StudyError as error:
        return Result(name, kind, tags, "refused", reason=str(error))
    try:
        model, x = shaken(name, whole)
        differences = compare(model, x)
    except Exception as error:  # whatever it is, it is no pass
        return Result(name, kind, tags, "FAIL", reason=f"{type(error).__name__}: {error}"[:200])
    # Not the other way round: NaN must fail.
    over = [k for k, v in differences.items() if v is not None and not v <= LIMITS[k]]
    reason = f"differs in {', '.join(over)}" if over else ""
    return Result(name, kind, tags, "FAIL" if over else "passed", **differences, reason=reason)


def shaken(name: str, whole: nn.Module) -> tuple[nn.Module, Tensor]:
    """The architecture with random weights, few blocks and a small grid; images that fit it."""
    patch = whole.patch_embed.patch_size[0]
    arguments = {"depth": BLOCKS, "img_size": GRID * patch}
    if grouped := {getattr(block.attn, "num_kv_heads", 0) for block in whole.blocks} - {0}:
        arguments["num_kv_heads"] = (max(grouped), min(grouped))  # where blocks differ, both kinds
    torch.manual_seed(0)
    model = timm.create_model(name, **arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=SHAKE)
    model.requires_grad_(False)
    return model, torch.randn(IMAGES, 3, GRID * patch, GRID * patch)


@torch.inference_mode()
def compare(model: nn.Module, x: Tensor) -> dict[str, float | None]:
    """Differences of what TokenHooks reads from what the model does without it.

    Returns:
        norms: of every token after every block, against timm's ``forward_intermediates``.
        attention: rows of every prefix token in the last block, and of CLS in every block, against
            the attention computed step by step.
        received: of models without CLS, the mean over queries and heads, against the same.
        pooling: of models without CLS that pool by attention, the row of the latent.
        pooled: what the head gets, of models that pool by CLS or the mean; else the logits.
    """
    prefix, kinds = model.num_prefix_tokens, token_kinds(model)
    with TokenHooks(model, block_attention=True, logits=True) as observe:
        out = observe(x)
    states = model.forward_intermediates(
        x, indices=len(model.blocks), norm=False, return_prefix_tokens=bool(prefix),
        output_fmt="NLC", intermediates_only=True,
    )  # fmt: skip
    tokens = [torch.cat((s[1], s[0]), 1) if prefix else s for s in states]
    own_features = model.forward_features(x)
    head_input = model.forward_head(own_features, pre_logits=True)
    own_logits = model.forward_head(own_features)
    matrices = _eager(model, x)
    result: dict[str, float | None] = {
        "norms": _apart(out["norms"], torch.stack([t.norm(dim=-1) for t in tokens], 1)),
        "attention": None, "received": None, "pooling": None,
        "pooled": _apart(out["logits"], own_logits),
    }  # fmt: skip
    if prefix:
        result["attention"] = _apart(out["attention"], matrices[-1][:, :prefix, prefix:])
    if "cls" in kinds:
        rows = torch.stack([m[:, 0, prefix:] for m in matrices], 1)
        every = _apart(out["block_attention"], rows)
        result["attention"] = max(result["attention"] or 0.0, every)
    else:
        result["received"] = _apart(out["attention_received"], matrices[-1].mean(1)[:, prefix:])
    if "attention_pooling" in out:
        row = _steps(model.attn_pool, lambda: model.pool(own_features))[0].mean((1, 2))
        result["pooling"] = _apart(out["attention_pooling"], row[:, -GRID * GRID :])
    pooled = {"token": out.get("cls"), "avg": out["patch_mean"]}.get(model.global_pool)
    if pooled is not None and getattr(model, "attn_pool", None) is None and "dist" not in kinds:
        result["pooled"] = _apart(model.fc_norm(pooled), head_input)
    return result


class _Softmaxes(TorchFunctionMode):
    """Keeps what each softmax gives."""

    def __init__(self):
        super().__init__()
        self.given: list[Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (Tensor.softmax, torch.softmax):
            self.given.append(out)
        return out


def _steps(attention: nn.Module, run: Callable[[], object]) -> list[Tensor]:
    """What ``attention`` weighs by (image, head, query, key) when it computes step by step."""
    attention.fused_attn = False
    with _Softmaxes() as seen:
        run()
    attention.fused_attn = True
    return seen.given


def _eager(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Attention of each block (image, query, key), mean over heads, computed step by step."""
    found = (_steps(block.attn, lambda: model.forward_features(x)) for block in model.blocks)
    return [matrix.mean(1) for (matrix,) in found]  # one softmax each, or it is an error


def _apart(seen: Tensor, own: Tensor) -> float:
    if seen.shape != own.shape:
        raise StudyError(f"read {tuple(seen.shape)}, the model has {tuple(own.shape)}")
    return ((seen - own).abs().max() / own.abs().max()).item()


def architectures() -> dict[str, int]:
    """Architectures of :data:`MODULES` with pretrained weights, and how many tags each has."""
    tags = Counter(i.partition(".")[0] for i in timm.list_pretrained())
    names = {name for module in MODULES for name in timm.list_models(module=module)}
    return {name: tags[name] for name in sorted(names & set(tags))}


def tables(results: list[Result]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All results, and their count by class and verdict: architectures and tags."""
    columns = [f.name if f.name != "class_name" else "class" for f in fields(Result)]
    every = pd.DataFrame([astuple(r) for r in results], columns=columns)
    counts = every.groupby(["class", "verdict"])["tags"].agg(["size", "sum"]).reset_index()
    return every, counts.set_axis(["class", "verdict", "architectures", "tags"], axis=1)


def main(folder: str) -> None:
    """Write ``table.csv`` and ``table.md`` into the folder; exit 1 where a model fails."""
    results = []
    for number, (name, tags) in enumerate((found := architectures()).items(), 1):
        results.append(check(name, tags))
        r = results[-1]
        print(f"{number}/{len(found)} {name}: {r.verdict} {r.reason}"[:160], flush=True)
    every, counts = tables(results)
    by_verdict = every.groupby("verdict")["tags"].agg(["size", "sum"])
    said = ", ".join(
        f"{v} {n} architectures with {t} tags" for v, n, t in by_verdict.itertuples(name=None)
    )
    write_text(Path(folder, "table.csv"), every.to_csv(index=False, float_format="%.2g"))
    page = [f"# Conformance, timm {timm.__version__}", f"{said}.", _markdown(counts), ""]
    shown = every.assign(**{k: every[k].astype(float).map("{:.1e}".format) for k in LIMITS})
    page += [_markdown(shown.replace("nan", "")), ""]
    write_text(Path(folder, "table.md"), "\n\n".join(page).rstrip() + "\n")
    print(f"{said}; read {folder}/table.md")
    sys.exit(int((every["verdict"] == "FAIL").any()))


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["-"] * len(table.columns), *table.values.tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
