"""Training recipes: what they may say, what they mean by default, and the grids built on them.

Pure Python, because Snakemake asks for it while it builds the graph. Words are those of timm where
timm has one.
"""

import difflib
import re
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from math import cos, pi
from typing import get_origin

from tokenscope.errors import StudyError

TOP = ("dataset", "model", "data", "training", "compute", "plant")
COMPUTE = ("gpus", "nodes", "processes", "minutes")
LOSSES = ("cross_entropy", "binary")
SCHEDULES = ("constant", "inverse", "power", "soft_power", "cosine", "step")
# How an axis of a grid is written in the name of a family; other axes are written out.
SHORT = {"norm_penalty": "l", "frozen_blocks": "f", "epochs": "e", "seed": "s"}


@dataclass(frozen=True)
class Training:
    """The section ``training`` of a recipe, defaults filled in.

    Args:
        epochs, batch_size: images of one update together, over all devices and micro-batches.
        micro_batch: images forwarded at once; 0 means ``batch_size``. Results do not depend on the
            number of devices, because all that is random hangs on the micro-batch, not on who
            computes it.
        optimizer, lr, lr_min (0: lr / 100), weight_decay, layer_decay, momentum, clip (largest
            gradient norm, 0: none): handed to timm.
        warmup: share of the steps in which the rate rises from ``warmup_lr`` (0: lr_min).
        frozen_blocks: patch embedding and this many first blocks keep their weights.
        loss: ``cross_entropy``, or ``binary`` (one yes or no per class, DeiT III).
        norm_penalty: lambda, weight of the mean L2 norm of last-block pre-norm patch tokens.
        penalty_schedule: of lambda over epochs, see :func:`penalty_weight`.
        token_labels: weight of a loss on the classes of patches, rendered scenes only.
        register_std: standard deviation of new registers.
        augment: arguments of timm's create_transform; empty: decoded pixels, mirrored at random.
        mixup: arguments of timm's Mixup; empty: none.
        repeats: augmented copies of an image in one batch (repeated augmentation).
        ema: decay of the moving average of the weights, 0: none. Its accuracy is a column of the
            history; ``publish`` says which weights leave the job, ``last`` or ``ema``.
        validation: share of the images held out.
        snapshots: numbers of updates after which weights are kept, for emergence in training.
        checkpoint_minutes: time between checkpoints, besides those after each epoch.
        tensorboard: also write event files.
    """

    epochs: int
    batch_size: int
    lr: float
    micro_batch: int = 0
    optimizer: str = "adamw"
    lr_min: float = 0.0
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    momentum: float = 0.9
    clip: float = 1.0
    warmup: float = 0.0
    warmup_lr: float = 0.0
    frozen_blocks: int = 0
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    norm_penalty: float = 0.0
    penalty_schedule: str = "constant"
    token_labels: float = 0.0
    register_std: float = 0.02
    augment: dict = field(default_factory=dict)
    mixup: dict = field(default_factory=dict)
    repeats: int = 1
    ema: float = 0.0
    publish: str = "last"
    validation: float = 0.0
    snapshots: list = field(default_factory=list)
    checkpoint_minutes: float = 10.0
    tensorboard: bool = False
    seed: int = 0

    @property
    def slots(self) -> int:
        """Micro-batches in one update."""
        return self.batch_size // self.micro_batch


def training(name: str, given: dict) -> Training:
    """The section ``training`` of recipe ``name``, checked.

    Raises:
        StudyError: an unknown or missing key, a value of the wrong kind or out of range.
    """
    kinds = {f.name: get_origin(f.type) or f.type for f in fields(Training)}
    for key, value in given.items():
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, n=1, cutoff=0.0)[0]
            raise StudyError(f"recipe {name}: training has no key '{key}'; closest: {near}")
        kind = kinds[key]
        number = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if not number and (type(value) is not kind):
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if kind is float else ""
            raise StudyError(
                f"recipe {name}: training: {key} is {value!r}, it must be of type "
                f"{kind.__name__}{hint}"
            )
    if missing := [k for k in ("epochs", "batch_size", "lr") if k not in given]:
        raise StudyError(f"recipe {name}: training lacks {', '.join(missing)}")
    made = Training(**given)
    made = replace(made, micro_batch=made.micro_batch or made.batch_size)
    made = replace(made, lr_min=made.lr_min or made.lr / 100)
    made = replace(made, warmup_lr=made.warmup_lr or made.lr_min)
    wrong = {
        "epochs must be 1 or more": made.epochs < 1,
        "batch_size must be a multiple of micro_batch": made.batch_size % made.micro_batch,
        f"loss must be one of {', '.join(LOSSES)}": made.loss not in LOSSES,
        f"penalty_schedule must be one of {', '.join(SCHEDULES)}": (
            made.penalty_schedule not in SCHEDULES
        ),
        "validation and warmup are shares from 0 to below 1": not (
            0 <= made.validation < 1 and 0 <= made.warmup < 1
        ),
        "publish must be last, or ema with an ema above 0": (
            made.publish not in ("last", "ema") or (made.publish == "ema" and not made.ema)
        ),
        "token_labels need decoded pixels: leave augment and mixup empty": (
            made.token_labels and (made.augment or made.mixup)
        ),
        "layer_decay and token_labels do not go together": (
            made.layer_decay != 1 and made.token_labels
        ),
        "a binary loss on mixed labels needs label_smoothing 0": (
            made.loss == "binary" and made.mixup and made.label_smoothing
        ),
        "augment: re_prob is not available, pixels stay 8-bit until they are on the device": (
            made.augment.get("re_prob", 0) > 0
        ),
        "norm_penalty and frozen_blocks cannot be negative": (
            made.norm_penalty < 0 or made.frozen_blocks < 0
        ),
    }
    for sentence, bad in wrong.items():
        if bad:
            raise StudyError(f"recipe {name}: training: {sentence}")
    return made


def check(name: str, recipe: dict) -> None:
    """Raise a StudyError where a recipe file says what no recipe can say."""
    if not isinstance(recipe, dict) or "dataset" not in recipe or "training" not in recipe:
        raise StudyError(f"recipe {name}: needs at least the keys dataset and training")
    if unknown := set(recipe) - set(TOP):
        raise StudyError(
            f"recipe {name}: unknown key {sorted(unknown)[0]}; it may have {', '.join(TOP)}"
        )
    for key, value in recipe.get("compute", {}).items():
        if key not in COMPUTE or not isinstance(value, int) or value < 1:
            raise StudyError(
                f"recipe {name}: compute: {key}: {value!r}; it has {', '.join(COMPUTE)}, each a "
                "number from 1"
            )
    training(name, recipe["training"])


def expand(grids: dict[str, dict], bases: dict[str, dict]) -> dict[str, dict]:
    """Rows of the zoo, by key, for the config key ``training``.

    Args:
        grids: by family: ``recipe``, ``registers`` (list of counts), ``grid`` (lists of values by
            key of :class:`Training`), and where the backbone comes from: ``from`` (a row of the
            tables, whose weights are fine-tuned) or ``timm_id`` and ``size`` (from scratch).
        bases: rows of the tables, by key.

    Every value of a grid is part of the family's name: ``deit3-tuned-l0.1-f10-e20-s0``.
    """
    rows = {}
    for family, grid in grids.items():
        start, axes = grid.get("from", ""), grid.get("grid", {})
        if bool(start) == ("timm_id" in grid):
            raise StudyError(f"training: {family} needs either 'from' or 'timm_id', and not both")
        if start and start not in bases:
            near = ", ".join(difflib.get_close_matches(start, bases, n=3, cutoff=0.3))
            raise StudyError(f"training: {family}: from '{start}' is no backbone; closest: {near}")
        base = bases[start] if start else {}
        for values in product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            name = "-".join([family, *(f"{SHORT.get(k, k)}{v:g}" for k, v in chosen.items())])
            for count in grid["registers"]:
                row = {
                    "family": name,
                    "size": grid.get("size") or base.get("size", "one"),
                    "registers": f"r{count}-{'finetuned' if start else 'scratch'}",
                    "timm_id": base.get("timm_id") or grid["timm_id"],
                    "weights": "",
                    "recipe": grid["recipe"],
                    "classes": grid.get("classes") or base.get("classes", ""),
                    "note": "",
                    "base": start,
                    "settings": chosen,
                }
                rows["/".join((row["family"], row["size"], row["registers"]))] = row
    return rows


def stem(family: str) -> str:
    """The name of a family of a grid without its seed."""
    return re.sub(r"-s\d+(?=-|$)", "", family)


def penalty_weight(recipe: Training, epoch: int) -> float:
    """Lambda of an epoch (from 0), by the schedules of tmlr-4353's published code.

    ``constant``; ``inverse``: lambda / (epoch + 1); ``power``: lambda ** (epoch // 10 + 1);
    ``soft_power``: lambda ** (epoch / 10 + 1); ``cosine``: a quarter wave in every ten epochs;
    ``step``: lambda for ten epochs, then none.
    """
    weight = recipe.norm_penalty
    if weight == 0:
        return 0.0
    return {
        "constant": weight,
        "inverse": weight / (epoch + 1),
        "power": weight ** (epoch // 10 + 1),
        "soft_power": weight ** (epoch / 10 + 1),
        "cosine": weight * cos(pi * (epoch % 10) / 20),
        "step": weight if epoch < 10 else 0.0,
    }[recipe.penalty_schedule]


def as_params(recipe: Training) -> dict:
    """Plain values for a rule's parameter; the inverse is ``Training(**params)``."""
    return asdict(recipe)
