"""What is kept of a large data set: little per image, and a seeded sample of its tokens.

The bank of the probes (claim 4): per image up to ``k`` normal and ``k`` outlier patch tokens, drawn
at random with the backbone's own cutoff, ``k`` more normal ones drawn where outliers use to be, and
the one token of the lowest norm, each with its place, its norm and the very pixels of its patch.
Everything is chosen on the device, so that only the sample leaves it.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tokenscope.errors import StudyError
from tokenscope.forward.tokens import token_kinds
from tokenscope.norms.outlier_rule import FLOOR, SUSPECT, Judged
from tokenscope.norms.places import outlier_odds
from tokenscope.norms.token_norms import Bulk
from tokenscope.probes.token_rows import SAME_PLACES
from tokenscope.stores.zarr_store import Variable

ABSENT = -1


@dataclass(frozen=True)
class Draw:
    """Which tokens of an image are kept.

    Args:
        cutoff: feature norm above which a token counts as an outlier.
        tokens: normal, and likewise outlier tokens, drawn per image.
        seed: of the draw.
        relative: whether the cutoff is a multiple of the median of each image's own bulk.
        block: after which tokens are taken, from 1; None: the last.
        odds: of an outlier at each place, by which normal tokens are drawn where outliers use to
            be; empty where that is not known.
        bulk: of the norms that were judged; None: no image is mostly outliers.
    """

    cutoff: float
    tokens: int
    seed: int
    relative: bool = False
    block: int | None = None
    odds: tuple[float, ...] = ()
    bulk: Bulk | None = None

    @classmethod
    def of(cls, decision: dict, tokens: int, seed: int) -> "Draw":
        """Outliers as the backbone was judged, in its block; else over the percentile of the last.

        Args:
            decision: that rule decision wrote.
        """
        judged, odds = Judged.of(decision), tuple(outlier_odds(np.array(decision["places"], float)))
        if judged.yes:
            bulk = Bulk(**decision["bulk"])
            return cls(judged.ratio_cutoff, tokens, seed, True, judged.block, odds, bulk)
        return cls(decision["percentile"], tokens, seed, odds=odds)

    def __post_init__(self):
        if not math.isfinite(self.cutoff):
            raise StudyError(f"tokens cannot be told apart by a norm of {self.cutoff}")

    @property
    def slots(self) -> list[str]:
        """Kind of each slot: normal, outlier, normal at places of outliers, lowest."""
        kinds = ("normal", "outlier", SAME_PLACES)
        return [kind for kind in kinds for _ in range(self.tokens)] + ["lowest"]

    def scores(self, image_ids: list[str], patches: int) -> np.ndarray:
        """Random numbers (image, patch) float32 that depend on seed and image id alone.

        Shards, batches and resumed jobs therefore draw the same tokens.
        """
        rows = []
        for image_id in image_ids:
            digest = hashlib.sha256(f"{self.seed}/{image_id}".encode()).digest()
            key = np.frombuffer(digest[:16], np.uint64)
            rows.append(np.random.Generator(np.random.Philox(key=key)).random(patches, np.float32))
        return np.stack(rows)

    def __call__(self, norms: Tensor, scores: Tensor) -> Tensor:
        """Patch index of each slot (image, slot), :data:`ABSENT` where there is no such token.

        Args:
            norms: (image, patch) feature norms.
            scores: (image, patch) of :meth:`scores`; the highest are drawn.
        """
        outlier = norms > (self.cutoff * self.medians(norms) if self.relative else self.cutoff)
        odds = torch.tensor(self.odds or [0.0] * norms.shape[1], device=norms.device)
        # The largest of u ** (1 / odds) are drawn by their odds (Efraimidis and Spirakis 2006);
        # of 1 - u, so that they are others than those that u itself draws.
        by_odds = torch.log1p(-scores) / odds
        chosen = []
        for group, score in (
            (~outlier, scores),
            (outlier, scores),
            (~outlier & (odds > 0), by_odds),
        ):
            value, index = torch.where(group, score, -torch.inf).topk(self.tokens, dim=1)
            chosen.append(torch.where(value > -torch.inf, index, ABSENT))
        return torch.cat([*chosen, norms.argmin(1, keepdim=True)], dim=1)

    def medians(self, norms: Tensor) -> Tensor:
        """Median norm of the bulk of each image (image, patch) -> (image, 1).

        As :func:`tokenscope.norms.outlier_rule.image_medians` finds it, by what the judged images
        have in common: here an image stands alone, whatever its batch.
        """
        median = norms.quantile(0.5, dim=1, keepdim=True)
        if self.bulk is None:
            return median
        usual, bulk = self.bulk.usual, self.bulk.rise * norms.quantile(0.1, dim=1, keepdim=True)
        alike = (bulk < FLOOR * usual) & (bulk > usual / FLOOR)
        return torch.where((median > SUSPECT * usual) & alike, bulk, median)


def patch_pixels(pixels: Tensor, patch: int) -> Tensor:
    """uint8 (image, row, column, channel) cut into patches (image, patch, 3 p^2).

    Patches run row by row over the grid; inside each the order is row, column, channel. Pixels
    beyond the last whole patch are left out, as the patch embedding leaves them out.
    """
    n, rows, columns, channels = pixels.shape
    rows, columns = rows // patch, columns // patch
    whole = pixels[:, : rows * patch, : columns * patch]
    tiles = whole.reshape(n, rows, patch, columns, patch, channels).transpose(2, 3)
    return tiles.reshape(n, rows * columns, patch * patch * channels)


class BankReducer:
    """The reducer of a feature pass: what one batch leaves behind (see :func:`variables`).

    Args:
        model: the backbone, opened at the size of the images.
        image_ids: of the images of this shard, in order.
        draw: which tokens the bank keeps; None for no bank.
    """

    def __init__(self, model: nn.Module, image_ids: list[str], draw: Draw | None):
        self.prefix = model.num_prefix_tokens
        self.patch = model.patch_embed.patch_size[0]
        self.image_ids, self.draw = image_ids, draw

    def __call__(self, out: dict[str, Tensor], pixels: Tensor, first: int) -> dict[str, Tensor]:
        last = out["norms"][:, -1, self.prefix :]
        results = {**out, "prefix": out["tokens"][:, : self.prefix], "patch_norms": last}
        if self.draw:
            norms = out["norms"][:, (self.draw.block or 0) - 1, self.prefix :]
            ids = self.image_ids[first : first + len(pixels)]
            scores = torch.from_numpy(self.draw.scores(ids, norms.shape[1]))
            if norms.is_cuda:  # from pinned memory the device fetches them without a halt
                scores = scores.pin_memory().to(norms.device, non_blocking=True)
            index = self.draw(norms, scores)
            drawn, at = index >= 0, index.clamp(min=0)
            results["patch_index"] = index
            ratios = norms / self.draw.medians(norms)
            for name, values in (("norm", norms), ("norm_over_median", ratios)):
                results[name] = torch.where(drawn, values.gather(1, at), torch.nan)
            tokens = _take(out["tokens"][:, self.prefix :], at)
            results["tokens"] = torch.where(drawn[..., None], tokens, torch.nan)
            results["pixels"] = _take(patch_pixels(pixels, self.patch), at) * drawn[..., None]
        return results


def _take(values: Tensor, at: Tensor) -> Tensor:
    """Rows ``at`` (image, slot) of values (image, patch, feature)."""
    return values.gather(1, at[..., None].expand(-1, -1, values.shape[-1]))


def variables(
    model: nn.Module, draw: Draw | None, logits: bool, cls_blocks: int = 0
) -> dict[str, Variable]:
    """The arrays of a feature store, for one image each.

    ``cls_blocks`` is the number of last blocks whose CLS token is kept (linear heads over several
    layers, DINOv2).

    Raises:
        StudyError: fewer patches than slots of a kind, or CLS tokens of a model without one.
    """
    if cls_blocks and (model.cls_token is None or cls_blocks > len(model.blocks)):
        raise StudyError(
            f"a head over the CLS tokens of {cls_blocks} blocks does not fit a model of "
            f"{len(model.blocks)} blocks {'with' if model.cls_token is not None else 'without'} CLS"
        )
    width, patches = model.embed_dim, model.patch_embed.num_patches
    kinds = token_kinds(model)
    registers = [kind for kind in kinds if kind.startswith("reg")]

    def name(text):
        return {"long_name": text}

    arrays = {
        "patch_mean": Variable(
            ("feature",), (width,), "float32", name("mean patch token, after final norm")
        ),
        "patch_norms": Variable(
            ("patch",), (patches,), "float32",
            name("L2 norm of patch tokens after the last block, before the final norm"),
        ),
    }  # fmt: skip
    if kinds:
        arrays["prefix"] = Variable(
            ("prefix_token", "feature"), (len(kinds), width), "float16",
            name("prefix tokens after the block of the tokens, before the final norm"),
        )  # fmt: skip
    if "cls" in kinds:
        arrays["cls"] = Variable(
            ("feature",), (width,), "float32", name("CLS token, after final norm")
        )
    if registers:
        arrays["registers"] = Variable(
            ("register", "feature"), (len(registers), width), "float32",
            name("register tokens, after final norm"),
        )  # fmt: skip
    if cls_blocks:
        arrays["cls_blocks"] = Variable(
            ("last_block", "feature"), (cls_blocks, width), "float32",
            name("CLS token of each of the last blocks, after the final norm"),
        )  # fmt: skip
    if logits:
        arrays["top5"] = Variable(
            ("rank",), (min(5, model.num_classes),), "int32",
            name("most probable classes of the model's own head"),
        )  # fmt: skip
    if draw:
        if draw.tokens > patches:
            raise StudyError(
                f"probes: tokens_per_image is {draw.tokens}, an image has only {patches} patches"
            )
        slots, pixels = len(draw.slots), 3 * model.patch_embed.patch_size[0] ** 2
        arrays |= {
            "tokens": Variable(
                ("slot", "feature"), (slots, width), "float16",
                name("drawn patch tokens after a block, before the final norm; NaN: none"),
            ),
            "patch_index": Variable(
                ("slot",), (slots,), "int32", name("patch of a drawn token; -1: none")
            ),
            "norm": Variable(("slot",), (slots,), "float32", name("L2 norm of a drawn token")),
            "norm_over_median": Variable(
                ("slot",), (slots,), "float32", name("the same in medians of its image's bulk")
            ),
            "pixels": Variable(
                ("slot", "pixel"), (slots, pixels), "uint8",
                name("decoded pixels of that patch: row, column, channel"),
            ),
        }  # fmt: skip
    return arrays


def coordinates(rows: pd.DataFrame, model: nn.Module, draw: Draw | None) -> dict[str, tuple]:
    """Coordinate variables of a feature group: images, places, and what each slot holds.

    The weights of the final norm come along, so that a token after it can be made from one before
    it without opening the model; models that normalise after pooling have none.
    """
    kinds = token_kinds(model)
    grid = np.indices(model.patch_embed.grid_size).reshape(2, -1)
    coords = {
        "image_id": (("image",), rows["image_id"].to_numpy(str)),
        "label": (("image",), rows["label"].to_numpy(np.int32)),
        "patch_row": (("patch",), grid[0].astype(np.int16)),
        "patch_column": (("patch",), grid[1].astype(np.int16)),
    }
    if kinds:
        coords["prefix_kind"] = (("prefix_token",), np.array(kinds))
    if draw:
        coords["slot_kind"] = (("slot",), np.array(draw.slots))
    if isinstance(model.norm, nn.LayerNorm):
        for name in ("weight", "bias"):
            value = getattr(model.norm, name).detach().float().cpu().numpy()
            coords[f"final_norm_{name}"] = (("feature",), value)
    return coords


def attributes(model: nn.Module, draw: Draw | None) -> dict:
    """Attributes of a feature group beyond those of every pass."""
    attrs = {"grid": list(model.patch_embed.grid_size), "patch": model.patch_embed.patch_size[0]}
    if isinstance(model.norm, nn.LayerNorm):
        attrs["final_norm_eps"] = model.norm.eps
    if draw:
        attrs |= {
            "cutoff": draw.cutoff, "cutoff_in_medians": draw.relative,
            "tokens_per_image": draw.tokens, "draw_seed": draw.seed,
            "block": draw.block or len(model.blocks),
        }  # fmt: skip
    return attrs
