"""Change a module of a library when it is imported, whoever imports it, and without importing it oneself."""
from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType


class ChangingFinder:
    """Find one module where it is, with a loader that changes it.

    Args:
        module: full name.
        change: called with the module, once it is loaded.
    """

    def __init__(self, module: str, change: Callable[[ModuleType], None]) -> None:
        self.module, self.change = module, change

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target) if fullname == self.module else None
        if found is None or found.origin is None or not isinstance(found.loader, SourceFileLoader):
            return None
        return spec_from_file_location(fullname, found.origin, loader=_Loader(fullname, found.origin, self.change))


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, change: Callable[[ModuleType], None]) -> None:
        super().__init__(fullname, path)
        self._change = change

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self._change(module)


def change_on_import(module: str, change: Callable[[ModuleType], None]) -> None:
    """Put a finder first in `sys.meta_path`, once for each module, and change the module if it was imported before.

    Args:
        module: full name.
        change: called with the module; a second call must do nothing.
    """
    if not any(isinstance(finder, ChangingFinder) and finder.module == module for finder in sys.meta_path):
        sys.meta_path.insert(0, ChangingFinder(module, change))
    if module in sys.modules:
        change(sys.modules[module])
