"""What a function is made of: its source text, its code, and the values that it uses.

A function that was pickled by value has no file in the process that loads it: `sources_of` and `remember` carry the
source texts beside it.
"""

import copyreg
import dataclasses
import dis
import functools
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np

from openhsi_shared.loggers import safe_logger

__all__ = [
    "function_parts",
    "functions_in",
    "inner_function",
    "is_of_library",
    "library_name",
    "pickled_parts",
    "remember",
    "source_of",
    "sources_of",
]

logger = safe_logger(__name__)

SOURCE = "__source_text__"
"""Attribute of a function that was loaded from a pickle: its source text."""
ATOMS = (str, int, bool, float, complex, bytes, type(...), np.ndarray)
"""Types of values without parts."""
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME"}
_CACHED = type(functools.cache(len))
_ADDED = frozenset(
    {"__dict__", "__weakref__", "__module__", "__doc__", "__slotnames__", "_abc_impl"}
    | {"__firstlineno__", "__static_attributes__", "__annotate_func__", "__annotations_cache__"}
)
_ADDED_TO_DATACLASSES = frozenset(
    {"__dataclass_fields__", "__dataclass_params__", "__match_args__", "__init__", "__repr__", "__eq__", "__hash__"}
    | {"__lt__", "__le__", "__gt__", "__ge__", "__setattr__", "__delattr__", "__replace__"}
)
_LIBRARIES = tuple(
    {str(Path(sysconfig.get_paths()[name]).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).resolve().parents[1])}
)


def source_of(function: types.FunctionType) -> str | None:
    """Its source text, without the indentation; None if there is none."""
    kept = getattr(function, SOURCE, None)
    if isinstance(kept, str):
        return kept
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None


def sources_of(thing: Any) -> list[str | None]:
    """Source texts of all functions in `thing`, in the order of `functions_in`."""
    return [source_of(function) for function in functions_in(thing)]


def remember(thing: Any, sources: list[str | None]) -> None:
    """Keep the source texts of the functions in a thing that was loaded from a pickle."""
    for function, source in zip(functions_in(thing), sources, strict=False):
        if source is not None and source_of(function) != source:
            setattr(function, SOURCE, source)


def changed_since(thing: Any, sources: list[str | None]) -> list[str]:
    """Names of functions in a thing loaded from a pickle that come from a module, where they are not as they were."""
    pairs = zip(functions_in(thing), sources, strict=False)
    return [_name_of(one) for one, source in pairs if _is_imported(one) and source not in (None, source_of(one))]


def _is_imported(function: types.FunctionType) -> bool:
    """Whether a pickle contains only its name."""
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function and function.__module__ != "__main__"


def _name_of(function: types.FunctionType) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def functions_in(thing: Any) -> Iterator[types.FunctionType]:
    """The functions of the user's that `thing` consists of, in a fixed order: itself, and those that it uses."""
    known: set[int] = set()
    todo = [thing]
    while todo:
        one = todo.pop()
        if id(one) in known or is_of_library(one):
            continue
        known.add(id(one))
        if isinstance(one, types.FunctionType):
            yield one
        todo += reversed(list(_uses(one)))


def _uses(thing: Any) -> Iterator[Any]:
    """What a function, a class, an object of a user's class or a container consists of."""
    if isinstance(thing, types.FunctionType):
        for part in function_parts(thing).values():
            yield from part.values() if isinstance(part, Mapping) else part
    elif isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, types.MethodType):
        yield from (thing.__func__, thing.__self__)
    elif isinstance(thing, type):
        yield from (thing.__bases__, [value for _, value in own_attributes(thing)])
    elif type(thing) in (list, tuple, set, frozenset):
        yield from thing
    elif type(thing) in (dict, types.MappingProxyType):
        yield from thing.values()
    elif isinstance(thing, staticmethod | classmethod):
        yield thing.__func__
    elif isinstance(thing, property):
        yield from (thing.fget, thing.fset)
    elif (inner := inner_function(thing)) is not None:
        yield inner
    elif thing is not None and type(thing) not in ATOMS and not isinstance(thing, types.ModuleType):
        yield from pickled_parts(thing) or ()


def inner_function(thing: Any) -> Any:
    """The function in what numba's `jit`, `functools.cache` and `functools.cached_property` make of it, else None.

    None also of decorators and objects that have more than the function, such as `numpy.vectorize` with its types.
    """
    if isinstance(thing, functools.cached_property):
        return thing.func
    if isinstance(thing, _CACHED):
        return thing.__wrapped__
    return getattr(thing, "py_func", None) if is_of_library(type(thing)) else None


def pickled_parts(thing: Any) -> list[Any] | None:
    """What an object consists of for a pickle: its class, slots, items and all else; None if it cannot be pickled so.

    A pickle is what workers are given, so what is not in it cannot decide a result.
    """
    reduce = copyreg.dispatch_table.get(type(thing))
    try:
        found = reduce(thing) if reduce is not None else thing.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - whatever it raises; cloudpickle can do more
        return None
    if isinstance(found, str):
        return [type(thing), found]
    function, arguments, state, *items = [*found, None, None, None][:5]
    return [type(thing), function, arguments, _in_order(state), *(list(one or ()) for one in items)]


def _in_order(state: Any) -> Any:
    """Attributes of an object, in an order that does not depend on which was assigned first."""
    if isinstance(state, dict) and all(isinstance(name, str) for name in state):
        return sorted(state.items())
    return tuple(map(_in_order, state)) if isinstance(state, tuple) else state


def own_attributes(kind: type) -> list[tuple[str, Any]]:
    """What a class itself defines, besides what Python, pickles and dataclasses add."""
    own = vars(kind)
    added = _ADDED
    if "__dataclass_fields__" in own:
        added = added | (
            _ADDED_TO_DATACLASSES if own["__dataclass_params__"].init else _ADDED_TO_DATACLASSES - {"__init__"}
        )
    slots = types.MemberDescriptorType | types.GetSetDescriptorType
    found = [(name, value) for name, value in own.items() if name not in added and not isinstance(value, slots)]
    if "__dataclass_fields__" in own:
        fields = [(field.name, field.default, field.default_factory) for field in dataclasses.fields(kind)]
        found.append(("__dataclass_fields__", [[_plain(value) for value in field] for field in fields]))
    return sorted(found, key=lambda one: one[0])


def _plain(value: Any) -> Any:
    return "no default" if isinstance(value, type(dataclasses.MISSING)) else value  # a pickle makes another one


def function_parts(function: types.FunctionType) -> dict[str, Any]:
    """The values that a function uses: defaults; by name closure, globals, imports, own attributes, what modules have.

    Modules of the user's that it imports when it is called are imported.
    """
    closure = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            closure[name] = cell.cell_contents
        except ValueError:  # not yet assigned
            closure[name] = None
    names = sorted(set(_global_names(function.__code__)))
    used = {name: function.__globals__[name] for name in names if name in function.__globals__}
    imports = _imports_of(function)
    values = (*used.values(), *closure.values(), *imports.values())
    modules = [value for value in values if isinstance(value, types.ModuleType)]
    return {
        "defaults": list(function.__defaults__ or ()),
        "keyword_defaults": dict(sorted((function.__kwdefaults__ or {}).items())),
        "closure": closure,
        "globals": used,
        "imports": imports,
        "attributes": {name: value for name, value in sorted(vars(function).items()) if name != SOURCE},
        "modules": dict(sorted(_used_of_modules(modules, set(_names(function.__code__))))),
    }


def _used_of_modules(modules: Iterable[types.ModuleType], names: set[str]) -> Iterator[tuple[str, Any]]:
    """What modules of the user's have of these names: their values may be other ones than those in their source."""
    known, todo = set[int](), list(modules)
    while todo:
        module = todo.pop()
        if id(module) in known or _is_installed(module):
            continue
        known.add(id(module))
        found = {name: value for name, value in vars(module).items() if name in names}
        todo += [value for value in found.values() if isinstance(value, types.ModuleType)]
        yield from ((f"{module.__name__}.{name}", value) for name, value in found.items())


def _imports_of(function: types.FunctionType) -> dict[str, Any]:
    """What a function imports when it is called, by name: modules of the user's; of libraries name and version."""
    package = function.__globals__.get("__package__") or ""
    found: dict[str, Any] = {}
    for level, names, module in _import_statements(function.__code__):
        try:
            whole = importlib.util.resolve_name("." * level + module, package)
        except ImportError:  # as it will be when it is called
            continue
        parts = whole.split(".")
        for name in [whole] if names else [".".join(parts[:n]) for n in range(1, len(parts) + 1)]:
            found[name] = _imported(name)
        for name in names or ():
            if isinstance(found[whole], types.ModuleType) and not hasattr(found[whole], name):
                _imported(f"{whole}.{name}")  # then the package has it
    return dict(sorted(found.items()))


def _import_statements(code: types.CodeType) -> Iterator[tuple[int, Sequence[str] | None, str]]:
    """Of each `import` in a function: dots before the name, names after `from ... import`, name of the module."""
    before: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            yield before[-2], before[-1], instruction.argval
        if instruction.opname != "EXTENDED_ARG":
            before = [*before[-1:], instruction.argval]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _import_statements(constant)


def _imported(name: str) -> Any:
    """A module of the user's; a text if it is that of a library, or cannot be imported."""
    top = name.split(".", maxsplit=1)[0]
    try:
        loaded = sys.modules.get(top)
        file = _origin_of(importlib.util.find_spec(top)) if loaded is None else _file_of(loaded)
        if top in sys.stdlib_module_names or (file is not None and _is_below_libraries(file)):
            return f"library {name} {_version_of(top)}"
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as it will raise when it is called
        return f"not imported: {type(error).__name__}"


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _global_names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _LOADS:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


# ---- libraries -----------------------------------------------------------------------------------


def is_of_library(thing: Any) -> bool:
    """Whether it is a module, function or class of an installed package, of Python, or of this package."""
    if isinstance(thing, types.ModuleType):
        return _is_installed(thing)
    if isinstance(thing, types.BuiltinFunctionType):
        return thing.__self__ is None or isinstance(thing.__self__, types.ModuleType)
    if not isinstance(thing, types.FunctionType | type) and not _is_ufunc(thing):
        return False
    module = sys.modules.get(getattr(thing, "__module__", None) or "builtins")
    if module is None or not _is_installed(module):
        return False
    found: Any = module
    for name in getattr(thing, "__qualname__", getattr(thing, "__name__", "")).split("."):
        found = getattr(found, name, None)
    return found is thing or isinstance(thing, type) or _is_ufunc(thing)


def _is_ufunc(thing: Any) -> bool:
    return type(thing).__module__ == "numpy" and type(thing).__name__ in ("ufunc", "_ArrayFunctionDispatcher")


def library_name(thing: Any) -> str:
    """Name of a thing of a library, with the version of that library."""
    module = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None) or "builtins"
    name = "" if isinstance(thing, types.ModuleType) else getattr(thing, "__qualname__", getattr(thing, "__name__", ""))
    return f"{module}.{name} {_version_of(module.split('.')[0])}"


@functools.cache
def _version_of(package: str) -> str:
    if package in sys.stdlib_module_names or package == "openhsi_shared":
        return ""  # that of this library is the generation of its arithmetic
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", ""))


def _is_installed(module: types.ModuleType) -> bool:
    if module.__name__ == "__main__":
        return False
    file = _file_of(module)
    return file is None or _is_below_libraries(file)


def _file_of(module: types.ModuleType) -> str | None:
    """Its file, or the first folder of a package without one; None of modules that are part of Python."""
    found: str | None = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    return found


def _is_below_libraries(file: str) -> bool:
    path = Path(file).resolve()
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts) or str(path).startswith(_LIBRARIES)


def _origin_of(spec: ModuleSpec | None) -> str | None:
    """The file of a module, or the first folder of a package without one; None of one that does not exist."""
    return None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def file_hash(module: types.ModuleType) -> str:
    """SHA-256 of the source of a module that is not installed; "" of a package that has none of its own."""
    if getattr(module, "__file__", None) is None:
        return ""
    try:
        return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
    except OSError:
        logger.warning(
            "the source of the module %s cannot be read: the id of a job does not include it", module.__name__
        )
        return ""


def code_parts(code: types.CodeType, text_of: Callable[[Any], str]) -> list[str]:
    """What decides what a code does, without its file and its lines."""
    constants = [
        "|".join(code_parts(one, text_of)) if isinstance(one, types.CodeType) else text_of(one)
        for one in code.co_consts
    ]
    names = [*code.co_names, "/", *code.co_varnames, "/", *code.co_freevars, "/", *code.co_cellvars]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return [code.co_code.hex(), *constants, *names, *map(str, counts), getattr(code, "co_exceptiontable", b"").hex()]
