"""torch without its compiler, until somebody compiles: a second of every job that opens a backbone.

timm and torchvision take two names of ``torch._dynamo`` while they are imported, and an optimizer's
first step a third; with it come sympy, the inductor and a good part of torch.distributed, 900
modules. Until anything else of it is asked for (``torch.compile`` does), a stand-in answers these
names; then the real one takes its place. What was marked as not to be compiled before that, within
timm, is not known to it as such.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from types import ModuleType

COMPILER = "torch._dynamo"
# What each name does where nothing is compiled.
NAMES: dict[str, dict[str, Callable]] = {
    COMPILER: {
        "disable": lambda fn=None, recursive=True, **_: fn or (lambda inner: inner),
        "graph_break": lambda *_, **__: None,
    },
    f"{COMPILER}.utils": {"is_compile_supported": lambda device: False},
}


class StandIn(ModuleType):
    """A module that knows a few names, and is replaced by the real one at any other."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__} has no attribute {name}")
        give_way()
        return getattr(importlib.import_module(self.__name__), name)


class Finder(MetaPathFinder, Loader):
    """Answers imports of the compiler."""

    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        if name in NAMES:
            return spec_from_loader(name, self, is_package=name == COMPILER)
        if not name.startswith(f"{COMPILER}."):
            return None
        give_way()
        return PathFinder.find_spec(name, importlib.import_module(COMPILER).__path__)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(NAMES[module.__name__])


FINDER = Finder()


def stand_in() -> None:
    """Let the compiler wait; where it is here already, it stays."""
    if COMPILER not in sys.modules and FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)


def give_way() -> None:
    """Let the next import take the real compiler."""
    if FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)
    for name in NAMES:
        if isinstance(sys.modules.get(name), StandIn):
            del sys.modules[name]
