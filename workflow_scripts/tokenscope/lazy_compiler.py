"""torch's compiler, which no job here needs, is left out of what starting a job imports.

timm and torchvision import it for a decorator that keeps it *off* some functions, and for one
question that boxes ask. It costs more than half of importing timm (1.7 of 3.2 s), which dozens of
short jobs would pay each. While these modules are imported, its place is held; a function that was
decorated meanwhile meets the real one with its first call, as does whoever imports it later.
"""

import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

COMPILER = "torch._dynamo"
WANTED_BY = ("torchvision.ops.roi_align", "torchvision.tv_tensors", "timm.models.naflexvit")


def install() -> None:
    """Hold the compiler's place whenever one of :data:`WANTED_BY` is imported; once is enough."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in WANTED_BY or COMPILER in sys.modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Runs a module beside the place holder, or as ever where another version needs more of it."""

    def __init__(self, real: importlib.abc.Loader):
        self.real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            with _held():
                self.real.exec_module(module)
        except (ImportError, AttributeError):
            self.real.exec_module(module)


@contextmanager
def _held() -> Iterator[None]:
    holder, asked = ModuleType(COMPILER), ModuleType(f"{COMPILER}.utils")
    holder.__path__ = []
    holder.disable = _disable  # type: ignore[attr-defined]
    holder.utils = asked  # type: ignore[attr-defined]
    asked.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    held = {module.__name__: module for module in (holder, asked)}
    sys.modules.update(held)
    try:
        yield
    finally:
        for name, module in held.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _disable(function: Callable, recursive: bool = True, **given) -> Callable:
    @functools.cache
    def real() -> Callable:
        import torch._dynamo

        return torch._dynamo.disable(function, recursive, **given)

    @functools.wraps(function)
    def called(*args, **kwargs):
        return real()(*args, **kwargs)

    return called


def _is_compile_supported(device: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return is_compile_supported(device)
