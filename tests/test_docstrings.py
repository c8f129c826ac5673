"""What public docstrings must contain: errors, shapes, units, blocking; ruff knows only docstrings with sections."""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from openhsi_shared import errors

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
WAITING = {"acquire", "join", "receive", "recv", "result", "select", "sleep", "wait", "wait_for"}
"""Methods that wait."""
BLOCKS = re.compile(r"[Bb]locks|[Ww]ait|at once|timeout|seconds")
SHAPE = re.compile(r"\(\w+,\)|\([\w .:/*'-]+(, ?[\w .:/*'-]+)+,?\)|shape|\d-D|axes|axis|frame|each (line|band|column)")
UNIT = re.compile(r"_(bytes|celsius|deg|hz|ms|nm|ns|s)$")


def _documented() -> Iterator[Any]:
    """Classes and functions that have a place in the reference; of modules, those that these promise."""
    for page in sorted(REFERENCE.glob("*.md")):
        for name in re.findall(r"^::: (openhsi_shared[\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            module, _, last = name.rpartition(".")
            found = getattr(importlib.import_module(module), last, None)
            if found is None or inspect.ismodule(found):
                found = importlib.import_module(name)
                things = [getattr(found, one) for one in found.__all__]
                yield from (one for one in things if inspect.isroutine(one) or inspect.isclass(one))
            else:
                yield found


@cache
def _functions() -> dict[str, tuple[Callable[..., Any], str]]:
    """All public functions and methods, also those that are inherited, with what documents them."""
    found: dict[str, tuple[Callable[..., Any], str]] = {}
    seen = set()
    for thing in _documented():
        if not inspect.isclass(thing):
            found[thing.__name__] = thing, thing.__doc__ or ""
            continue
        for name in dir(thing):
            if name.startswith("_") and name not in ("__init__", "__post_init__"):
                continue
            member = inspect.getattr_static(thing, name)
            function = next(
                (inner for kind in ("fget", "func", "__func__") if (inner := getattr(member, kind, None))), member
            )
            is_ours = inspect.isfunction(function) and function.__module__.startswith("openhsi_shared")
            if is_ours and function not in seen:
                seen.add(function)
                found[f"{thing.__name__}.{name}"] = function, f"{function.__doc__ or ''} {thing.__doc__ or ''}"
    return found


@cache
def _body(function: Callable[..., Any]) -> list[ast.AST]:
    if function.__code__.co_filename == "<string>":  # made by dataclass
        return []
    return list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))


def _not_caught(function: Callable[..., Any]) -> Iterator[ast.AST]:
    """Its body, without where it catches errors of this library."""
    caught = {
        inner
        for node in _body(function)
        if isinstance(node, ast.Try)
        if {one.id for each in node.handlers for one in ast.walk(each.type or each) if isinstance(one, ast.Name)}
        & set(errors.__all__)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    return (node for node in _body(function) if node not in caught)


def _raised(function: Callable[..., Any]) -> set[type[Exception]]:
    """The errors of this library that its own body raises, and does not catch."""
    raised = [node.exc for node in _not_caught(function) if isinstance(node, ast.Raise) and node.exc]
    names = [one.func if isinstance(one, ast.Call) else one for one in raised]
    return {getattr(errors, one.id) for one in names if isinstance(one, ast.Name) and one.id in errors.__all__}


def _called(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Functions of this library that it calls by their names, and methods of its class."""
    module = sys.modules[function.__module__]
    own_class = getattr(module, function.__qualname__.split(".")[0])
    for node in _not_caught(function):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                called = getattr(module, name, None)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                called = getattr(own_class, name, None)
            case _:
                continue
        if inspect.isfunction(called) and called.__module__.startswith("openhsi_shared"):
            yield called


def test_public_docstrings_name_the_errors_that_the_function_or_what_it_calls_raises() -> None:
    lacking = {}
    for name, (function, text) in _functions().items():
        raised = _raised(function).union(*map(_raised, _called(function)))
        named = tuple(getattr(errors, one) for one in errors.__all__ if re.search(rf"\b{one}\b", text))
        if lacks := sorted(one.__name__ for one in raised if not issubclass(one, named)):
            lacking[name] = lacks
    assert len(_functions()) > 150
    assert lacking == {}


def test_public_docstrings_contain_the_shapes_of_arrays() -> None:
    with_arrays = {
        name: text
        for name, (function, text) in _functions().items()
        if any(
            re.search(r"^(?!.*Callable).*(ndarray|_SupportsArray)", str(kind))
            for kind in function.__annotations__.values()
        )
    }
    assert len(with_arrays) > 20
    without = [name for name, text in with_arrays.items() if not SHAPE.search(text)]
    assert [name for name in without if ".test_" not in name] == []  # fixtures have them


def test_numbers_have_their_unit_in_the_name_or_in_the_docstring() -> None:
    lacking = [
        f"{name}({argument})"
        for name, (function, text) in _functions().items()
        for argument, kind in function.__annotations__.items()
        if argument != "return" and re.search(r"\bfloat\b", str(kind)) and "bool" not in str(kind) and _body(function)
        if not UNIT.search(argument) and not re.search(rf"\b{argument}\b", text)
    ]
    assert lacking == []


def test_public_docstrings_say_whether_what_waits_blocks() -> None:
    lacking = [
        name
        for name, (function, text) in _functions().items()
        for node in _body(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITING
        if not isinstance(node.func.value, ast.Constant) and not BLOCKS.search(text) and ".test_" not in name
    ]
    assert lacking == []
