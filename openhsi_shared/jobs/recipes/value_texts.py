"""Values as texts for ids, and back: two values that differ have different texts.

Numbers, texts, lists and slices are readable; what is not plain is JSON, as in recipes; functions and files are hashes
of their content. No text contains `|:^=`, which separate the parts of an id.
"""

import base64
import binascii
import functools
import hashlib
import importlib
import json
import logging
import re
import types
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from openhsi_shared.errors import ArgumentError
from openhsi_shared.jobs.recipes.contents import Content, content_of_file
from openhsi_shared.jobs.recipes.serial import from_jsonable, stage_parameters, to_jsonable
from openhsi_shared.jobs.stages import function_sources
from openhsi_shared.jobs.stages.function_sources import (
    code_parts,
    function_parts,
    inner_function,
    is_of_library,
    library_name,
    own_attributes,
    pickled_parts,
)
from openhsi_shared.jobs.stages.stage import Stage
from openhsi_shared.loggers import safe_logger

__all__ = ["hash_of", "text_of", "value_of"]

logger = safe_logger(__name__)

MAX_TEXT = 1000
"""A longer text is compressed."""
_SAFE = ' !#$&*+,-./;<>?@\\_`~()[]{}"'
_CONSTANTS = {"None": None, "True": True, "False": False}
_NUMBER = re.compile(r"-?(\d+(\.\d+)?(e[+-]?\d+)?|inf)|nan")
_STRING = re.compile(r"'([^']*)'")
_CALL = re.compile(r"(slice|range|json|packed|function|object|content)\(")


def hash_of(text: str) -> str:
    """SHA-256 of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def text_of(value: Any, *, by_content: bool = True) -> str:
    """A value as a text. `by_content`: the path of a file is known by its content, not by its name.

    >>> text_of([1, 1.0, None, "a|b", slice(-5, None)])
    "[1,1.0,None,'a%7Cb',slice(-5,None,None)]"
    """
    text = _text_of(value, by_content)
    if len(text) <= MAX_TEXT:
        return text
    return f"packed({base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip('=')})"


def _text_of(value: Any, by_content: bool) -> str:  # noqa: PLR0911 - one for each kind of value
    if isinstance(value, np.bool_ | np.integer | np.floating) and value.dtype != np.longdouble:
        value = value.item()
    if value is None or isinstance(value, bool) or type(value) in (int, float):
        return repr(value)
    if type(value) is str:
        return f"'{_quoted(value)}'"
    if isinstance(value, Content):
        return f"content({_quoted(value.text)})"
    if isinstance(value, Path) and by_content:
        return _text_of(content_of_file(value), by_content)
    if type(value) in (list, tuple):
        inner = ",".join(_text_of(one, by_content) for one in value)
        return f"[{inner}]" if type(value) is list else f"({inner},)" if len(value) == 1 else f"({inner})"
    if type(value) is dict:
        pairs = (f"{_text_of(key, by_content)}~{_text_of(one, by_content)}" for key, one in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, slice | range):
        ends = ",".join(_text_of(one, by_content) for one in (value.start, value.stop, value.step))
        return f"{type(value).__name__}({ends})"
    if isinstance(value, Stage):
        parts = [type(value).__qualname__, value.code, stage_parameters(value)]
        return f"stage{_text_of(parts, by_content)}"
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return f"function({_quoted(name)},{hash_of(_described(value, {}))[:16]})"
    try:
        return f"json({_quoted(json.dumps(to_jsonable(value), separators=(',', ':')))})"
    except ArgumentError:  # an object of the user's
        return f"object({_quoted(type(value).__qualname__)},{hash_of(_described(value, {}))[:16]})"


def _quoted(text: str) -> str:
    return quote(text, safe=_SAFE.replace("(", "").replace(")", ""), errors="surrogatepass")


# ---- functions and objects -----------------------------------------------------------------------


def _described(thing: Any, known: dict[int, tuple[int, Any]], is_of_module: bool = False) -> str:  # noqa: PLR0911
    """All that decides what a function, a class or an object does. `known` holds each once, for those in circles.

    `is_of_module`: a module has it, whose source is described, too. So what it uses may be what cannot be described.
    """
    if isinstance(thing, types.ModuleType):
        return f"module {library_name(thing)} " + ("" if is_of_library(thing) else function_sources.file_hash(thing))
    if is_of_library(thing):
        return f"library {library_name(thing)}"
    if thing is None or type(thing) in (str, int, bool, float, complex, bytes, type(...)):
        return f"{type(thing).__name__} {thing!r}"
    if id(thing) in known:
        return f"again {known[id(thing)][0]}"
    known[id(thing)] = len(known), thing

    def described(one: Any, is_of_module: bool = is_of_module) -> str:
        return hash_of(_described(one, known, is_of_module))

    if isinstance(thing, types.FunctionType):
        return _described_function(thing, described, is_of_module)
    if type(thing) is np.ndarray and not thing.dtype.hasobject:
        digest = hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()
        return f"array {thing.dtype.descr} {thing.shape} {digest}"
    if isinstance(thing, np.ma.MaskedArray):  # a pickle changes its fill value
        return (
            f"masked {[described(one) for one in (np.ma.getdata(thing), np.ma.getmaskarray(thing), thing.fill_value)]}"
        )
    if type(thing) in (dict, types.MappingProxyType):
        return f"{type(thing).__name__} {[(described(key), described(value)) for key, value in thing.items()]}"
    if type(thing) in (set, frozenset):
        return f"{type(thing).__name__} {sorted(map(described, thing))}"
    if type(thing) in (list, tuple):
        return f"{type(thing).__name__} {list(map(described, thing))}"
    if isinstance(thing, type):
        return f"class {thing.__qualname__} {[described(one) for one in thing.__bases__]} " + str(
            [(name, described(value)) for name, value in own_attributes(thing)]
        )
    return _described_object(thing, described)


def _described_function(function: types.FunctionType, described: Any, is_of_module: bool) -> str:
    source = function_sources.source_of(function)
    if source is None:
        logger.warning(
            "the function %r has no source text: its id is that of its code in this version of Python, and the job is "
            "not reproducible from its recipe; define it in a file or a notebook",
            function.__qualname__,
        )
    parts = function_parts(function)

    def named(name: str, value: Any, is_of_module: bool) -> tuple[str, str]:
        try:
            return name, described(value, is_of_module)
        except ArgumentError:
            if not is_of_module:
                raise
            return name, f"made by its module {type(value).__qualname__}"  # such as a lock, or what has one

    values = [
        *map(described, parts["defaults"]),
        *(
            named(name, value, is_of_module or kind == "modules")
            for kind in ("keyword_defaults", "closure", "globals", "imports", "attributes", "modules")
            for name, value in parts[kind].items()
        ),
    ]
    return f"function {source!r} {code_parts(function.__code__, described)} {values}"


def _described_object(thing: Any, described: Any) -> str:  # noqa: PLR0911 - one for each kind
    if isinstance(thing, logging.Logger):  # what is logged is no part of the result
        return f"logger {thing.name}"
    if isinstance(thing, types.MethodType):
        return f"method {described(thing.__func__)} {described(thing.__self__)}"
    if isinstance(thing, staticmethod | classmethod):
        return f"{type(thing).__name__} {described(thing.__func__)}"
    if isinstance(thing, property):
        return f"property {described(thing.fget)} {described(thing.fset)}"
    if (inner := inner_function(thing)) is not None:
        is_lazy = getattr(thing, "_can_compile", True)  # else numba has the types that the user gave, and no others
        options, kinds = getattr(thing, "targetoptions", None), "" if is_lazy else str(thing.nopython_signatures)
        return f"{type(thing).__name__} {described(inner)} {described(options)} {kinds}"
    if isinstance(thing, functools.partial):
        return f"partial {described(thing.func)} {described(thing.args)} {described(thing.keywords)}"
    if (parts := pickled_parts(thing)) is not None:
        return f"object {list(map(described, parts))}"
    try:
        data: bytes = importlib.import_module("cloudpickle").dumps(thing)
    except Exception as error:  # whatever a part of it raises
        raise ArgumentError(
            f"{thing!r}, which a function of the job uses, cannot be part of its id, nor travel: {error}; make it "
            f"inside of the function"
        ) from error
    return f"pickle {hashlib.sha256(data).hexdigest()}"


# ---- the way back --------------------------------------------------------------------------------


def value_of(text: str, known: Mapping[str, Any] | None = None) -> Any:
    """The value of a text of `text_of`. `known`: functions and files by their texts.

    ArgumentError for any other text, and for a function or a file that is not known.
    """
    try:
        value, end = _value_at(text, 0, known or {})
    except (ValueError, IndexError, RecursionError, binascii.Error, zlib.error) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{text!r} is no value of a job's id: {error}") from error
    if end != len(text):
        raise ArgumentError(f"{text!r} is no value of a job's id: {text[end:]!r} follows its end")
    return value


def _value_at(text: str, at: int, known: Mapping[str, Any]) -> tuple[Any, int]:
    for name, value in _CONSTANTS.items():
        if text.startswith(name, at):
            return value, at + len(name)
    if found := _NUMBER.match(text, at):
        digits = found[0]
        return (int(digits) if re.fullmatch(r"-?\d+", digits) else float(digits)), found.end()
    if found := _STRING.match(text, at):
        return unquote(found[1], errors="surrogatepass"), found.end()
    if text[at] in "[({":
        return _items_at(text, at, known)
    if found := _CALL.match(text, at):
        return _called(text, at, found, known)
    raise ValueError(f"unknown at {text[at : at + 20]!r}")


def _items_at(text: str, at: int, known: Mapping[str, Any]) -> tuple[Any, int]:
    opening, items, at = text[at], [], at + 1
    closing = {"[": "]", "(": ")", "{": "}"}[opening]
    while text[at] != closing:
        item, at = _value_at(text, at, known)
        if opening == "{":
            if text[at] != "~":
                raise ValueError(f"expected '~' at {text[at:]!r}")
            value, at = _value_at(text, at + 1, known)
            item = (item, value)
        items.append(item)
        if text[at] == ",":
            at += 1
        elif text[at] != closing:
            raise ValueError(f"expected ',' at {text[at:]!r}")
    return {"[": list, "(": tuple, "{": dict}[opening](items), at + 1


def _called(text: str, at: int, found: "re.Match[str]", known: Mapping[str, Any]) -> tuple[Any, int]:
    name = found[1]
    if name in ("slice", "range"):
        ends, end = _items_at(text, found.end() - 1, known)
        return (slice if name == "slice" else range)(*ends), end
    end = text.index(")", found.end()) + 1
    content = text[found.end() : end - 1]
    if name == "packed":
        data = base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))
        return value_of(zlib.decompress(data).decode(), known), end
    if name == "json":
        return from_jsonable(json.loads(unquote(content, errors="surrogatepass"))), end
    whole = text[at:end]
    if whole not in known:
        thing = "a file" if name == "content" else f"the function {unquote(content.rpartition(',')[0])!r}"
        raise ArgumentError(
            f"the id contains only the hash of {thing}, {whole}: give it in known=[...], or use the recipe itself "
            f"(PipelineJob.from_output, from_json)"
        )
    value = known[whole]
    return (str(value) if name == "content" else value), end
