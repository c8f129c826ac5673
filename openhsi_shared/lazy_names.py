"""Names of a package that are imported on first access (PEP 562): importing the package loads nothing large."""

import gc
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, names_in: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package; `names_in`: by module below `openhsi_shared`, names between blanks."""
    modules = {name: module for module, names in names_in.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        is_collecting = gc.isenabled()
        gc.disable()  # what is imported stays: to scan it for garbage meanwhile takes a tenth of the time
        try:
            value = getattr(import_module(f"openhsi_shared.{modules[name]}"), name)
        finally:
            if is_collecting:
                gc.enable()
        setattr(sys.modules[package], name, value)
        return value

    def directory() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, directory
