"""Classes of users by name: "module:Class", found from the current folder on."""

import importlib
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from openhsi_shared.errors import AnalysisError
from openhsi_shared.near_names import nearest_or_all

__all__ = ["class_of"]


def class_of(given: type | str, role: str) -> type:
    """Return a class, or import it: "module:Class", where modules may be dotted. The current folder is importable.

    AnalysisError if there is none, with the nearest name, or if its module fails; `role` is what it is needed for.
    """
    if isinstance(given, type):
        return given
    if not isinstance(given, str):
        raise AnalysisError(f"{role}: expected a class, or 'module:Class', got {given!r}, which is neither")
    module_name, _, name = given.partition(":")
    if not module_name or not name:
        raise AnalysisError(f"{role} {given!r}: expected 'module:Class', such as 'src.worker:TestWorker'")
    found: Any = _module(module_name, f"{role} {given!r}")
    for part in name.split("."):
        if not hasattr(found, part):
            names = [key for key, value in vars(found).items() if isinstance(value, type)]
            where = getattr(found, "__file__", None) or found
            raise AnalysisError(f"{role} {given!r}: {where} has no class {part!r}{nearest_or_all(part, names)}")
        found = getattr(found, part)
    if not isinstance(found, type):
        raise AnalysisError(f"{role} {given!r} is {found!r}: expected a class")
    return found


def _module(name: str, what: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(missing + "."):
            raise AnalysisError(f"{what}: {name} needs the module {missing!r}, which is not installed") from error
        hint = f"; write {_dotted(name)!r}" if _dotted(name) else _nearest_module(missing)
        raise AnalysisError(
            f"{what}: there is no module {missing!r} in {folder} or in what is installed{hint}"
        ) from error
    except KeyboardInterrupt:
        raise  # Ctrl-C
    except BaseException as error:  # not swallowed: a module that exits must not end this process
        where = traceback.format_exc()
        text = f"{type(error).__name__}: {error}"
        raise AnalysisError(f"{what}: the module {name} cannot be imported: {text}", where=where) from error


def _dotted(name: str) -> str:
    """Return the name of a module where a path was given, such as src/worker.py; "" if it is none."""
    dotted = name.removesuffix(".py").strip("./").replace("/", ".")
    return dotted if dotted != name else ""


def _nearest_module(name: str) -> str:
    parent, _, last = name.rpartition(".")
    where = list(sys.modules[parent].__path__) if parent in sys.modules else [str(Path.cwd())]
    folders = [path.parent.name for folder in where for path in Path(folder).glob("*/*.py")]
    return nearest_or_all(last, {*folders, *(module.name for module in pkgutil.iter_modules(where))})
