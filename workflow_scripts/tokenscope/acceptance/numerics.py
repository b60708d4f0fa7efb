"""Are the numbers of a pass the right ones, and the same each time?"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from tokenscope.acceptance.outcome import Said
from tokenscope.acceptance.setting import Setting, extracted
from tokenscope.backbones.test_time_registers import score
from tokenscope.discovery.lost import expand
from tokenscope.forward.cuda_graph import ROUNDING, distance
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.precision import autocast

# Root of the mean squared difference over that of the values, bfloat16 against float32.
BOUNDS = {"norms": 0.01, "neighbour_cosine": 0.01, "attention": 0.02, "tokens": 0.05,
          "cls": 0.05, "q": 0.05, "k": 0.05, "v": 0.05}  # fmt: skip
MASKS = 0.999  # of patches in the mask of LOST
NEURONS = 2e-3  # of a score, for the hundred that contribute most


def _twice(setting: Setting, second: Callable[[nn.Module], object]) -> list[str]:
    """Names of the arrays that differ in any bit between a pass and one after ``second``."""
    with tempfile.TemporaryDirectory() as folder:
        first, *_ = extracted(setting, setting.model(), Path(folder, "a"))
        model = setting.model()
        second(model)
        again, *_ = extracted(setting, model, Path(folder, "b"))
    names = map(str, first)
    return [n for n in names if not np.array_equal(first[n], again[n], equal_nan=_floats(first[n]))]


def _floats(array: xr.DataArray) -> bool:
    return array.dtype.kind == "f"


def repeatable(setting: Setting) -> Said:
    """Two passes give the same bits."""
    differ = _twice(setting, lambda model: None)
    return Said(not differ, f"arrays that differ: {', '.join(differ) or 'none'}")


def no_race(setting: Setting) -> Said:
    """A pass that waits for the device before and after each batch gives the same bits."""

    def wait(model: nn.Module) -> None:
        model.register_forward_pre_hook(lambda *_: torch.cuda.synchronize())
        inner = model.forward_features

        def forward(x):
            torch.cuda.synchronize()
            out = inner(x)
            torch.cuda.synchronize()
            return out

        model.forward_features = forward

    differ = _twice(setting, wait)
    return Said(not differ, f"arrays that differ: {', '.join(differ) or 'none'}")


def precision(setting: Setting) -> Said:
    """bfloat16 autocast on this device against float32 on the CPU."""
    images = min(4, setting.images)
    seen = []
    for device, half in ((setting.device, True), ("cpu", False)):
        model, x = setting.model(device), setting.inputs(images, device)
        kind = torch.device(device).type
        with (
            TokenHooks(model, qkv=True) as observe,
            torch.inference_mode(),
            torch.autocast(kind, torch.bfloat16, enabled=half),
        ):
            out = observe(x)
        seen.append({name: out[name].float().cpu() for name in BOUNDS if name in out})
    apart = {name: distance(value, seen[1][name]) for name, value in seen[0].items()}
    over = [name for name, value in apart.items() if not value < BOUNDS[name]]
    text = ", ".join(f"{name} {100 * value:.2f} %" for name, value in apart.items())
    return Said(not over, text)


def cuda_graph(setting: Setting) -> Said:
    """Batches as a CUDA graph give the same numbers; how much faster is told, not judged."""
    seconds, arrays, outcome = {}, {}, ""
    with tempfile.TemporaryDirectory() as folder:
        for turn, graphs in enumerate((False, True, False, True)):  # the first two warm up
            begin = time.perf_counter()
            arrays[graphs], run, _ = extracted(
                setting, setting.model(), Path(folder, str(turn)), graphs
            )
            seconds[graphs] = time.perf_counter() - begin
            outcome = run.get("cuda_graph", "not asked for")
    apart = {
        str(name): distance(*(torch.from_numpy(arrays[g][name].values) for g in (True, False)))
        for name in arrays[False]
        if _floats(arrays[False][name])
    }
    worst = max(apart, key=lambda name: apart[name])
    text = (
        f"{outcome}; {worst} {apart[worst]:.1g} off; {seconds[False] / seconds[True]:.2f} x as fast"
    )
    return Said(outcome == "used" and apart[worst] <= ROUNDING, text)


def own_head(setting: Setting) -> Said:
    """Logits of the model's own head are float32: in bfloat16 the first classes would tie."""
    model, x = setting.model(), setting.inputs(2)
    with (
        TokenHooks(model, logits=True) as observe,
        torch.inference_mode(),
        autocast(setting.device),
    ):
        logits = observe(x)["logits"]
    return Said(logits.dtype == torch.float32, f"logits are {logits.dtype}".replace("torch.", ""))


def halving(setting: Setting) -> Said:
    """When memory runs out a pass goes on in smaller batches, and norms are the same.

    On a GPU memory really runs out: the process is allowed what half a batch takes and a quarter
    more. On a CPU the model refuses more images than half a batch.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, *_ = extracted(setting, setting.model(), Path(folder, "whole"))
        model = setting.model()
        if setting.device == "cuda":
            _allow(1.25 * _peak(setting, model))
        else:
            _refuse(model, setting.batch // 2)
        try:
            some, run, _ = extracted(setting, model, Path(folder, "some"))
        finally:
            if setting.device == "cuda":
                torch.cuda.set_per_process_memory_fraction(1.0)
    apart = float(abs(some["norms"] / whole["norms"] - 1).max())
    fewer = run["batch"] < setting.batch
    bound = 0.01 if setting.device == "cuda" else 1e-4
    text = f"batches of {run['batch']} instead of {setting.batch}, norms within {100 * apart:.3f} %"
    return Said(fewer and apart < bound, text)


def _peak(setting: Setting, model: nn.Module) -> int:
    """Bytes at the peak of a pass over half a batch."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with (
        TokenHooks(model, qkv=True, logits=True) as observe,
        autocast("cuda"),
        torch.inference_mode(),
    ):
        observe(setting.inputs(setting.batch // 2))
    return torch.cuda.max_memory_reserved()


def _allow(size: float) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / total))


def _refuse(model: nn.Module, most: int) -> None:
    inner = model.forward_features

    def forward(x):
        if len(x) > most:
            raise torch.OutOfMemoryError("out of memory")
        return inner(x)

    model.forward_features = forward


def lost(setting: Setting) -> Said:
    """LOST on this device against the CPU, on the same keys."""
    model, x = setting.model(), setting.inputs(min(8, setting.images))
    with TokenHooks(model, qkv=True) as observe, torch.inference_mode():
        keys = observe(x)["k"][:, model.num_prefix_tokens :].bfloat16()
    ways = [(False, 0.0), (False, -0.2), (True, 0.0), (True, -0.3)]
    here, there = expand(keys, ways), expand(keys.cpu(), ways)
    same = (here.mask.cpu() == there.mask).float().mean().item()
    return Said(same > MASKS, f"{100 * same:.3f} % of patches are in the same masks")


def neurons(setting: Setting) -> Said:
    """Scores of the neuron search on this device against float32 on the CPU."""
    count = min(8, setting.images)
    found = []
    for device in (setting.device, "cpu"):
        model = setting.model(device)
        patches = int(np.prod(model.patch_embed.grid_size))
        outlier = np.random.default_rng(0).random((count, patches)) < 0.1
        batches = [(setting.inputs(count, device), outlier, np.arange(count) % 2)]
        found.append(score(model, batches, len(model.blocks)))
    apart = 0.0
    for mine, right in zip(*found, strict=True):
        best = np.argsort(-right.outlier.mean(0) * right.length)[:100]
        values, known = mine.outlier.mean(0)[best], right.outlier.mean(0)[best]
        apart = max(apart, float(np.median(abs(values / known - 1))))
    return Said(apart < NEURONS, f"median difference of a score {100 * apart:.3f} %")
