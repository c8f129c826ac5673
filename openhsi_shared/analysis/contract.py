"""How classes of users are called: a worker, a reducer, and which of our values their methods take.

Contract as in dranspose 0.2 (`worker.py`, `reducer.py`, `replay.py`), whose classes run unchanged.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MethodType
from typing import Any, Self

from openhsi_shared.analysis.calling import calling
from openhsi_shared.analysis.importing import class_of
from openhsi_shared.analysis.parameters import Parameter, described_by
from openhsi_shared.analysis.pickling import is_importable, pack_classes, unpack_classes
from openhsi_shared.errors import AnalysisError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_or_all

__all__ = ["Pair", "State", "bound", "constructing"]

logger = safe_logger(__name__)

CONSTRUCTOR = ("parameters", "context", "state")
METHODS: dict[str, tuple[str, ...]] = {
    "process_event": ("parameters", "tick"),
    "process_result": ("parameters",),
    "get_tick_interval": ("parameters",),
    "flush": ("parameters",),
    "timer": ("parameters",),
    "finish": ("parameters",),
    "close": ("context",),
}
"""What each may take. The first two take an event and a result before that."""
_seen: dict[str, str] = {}
"""Hash of the text of each module when it was last used."""
OF_WORKER = ("process_event", "get_tick_interval", "flush", "finish", "close")
OF_REDUCER = ("process_result", "timer", "finish", "close")


@dataclass(frozen=True)
class State:
    """What a worker or a reducer gets to know of itself."""

    name: str
    """Unique among all workers."""
    mapreduce_version: str
    """Hash of the text of the modules of both."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A worker and a reducer, imported and checked. Can be sent to other processes, classes of a notebook too."""

    worker: type
    reducer: type | None
    worker_name: str
    """As "module:Class"."""
    reducer_name: str | None
    described: Mapping[str, Parameter]
    """The parameters of both, by name."""
    source_hashes: Mapping[str, str]
    """SHA-256 of the text of both modules, by the names above; of the methods, for classes of a notebook."""

    @classmethod
    def of(cls, worker: type | str, reducer: type | str | None = None) -> Self:
        """Import and check both: a class, or "module:Class", found from the current folder on.

        AnalysisError if there is no such class, or if it does not fit; ParameterError if its parameters do not.
        """
        of_worker = class_of(worker, "worker")
        _check(of_worker, "worker", OF_WORKER)
        of_reducer = None if reducer is None else class_of(reducer, "reducer")
        if of_reducer is not None:
            _check(of_reducer, "reducer", OF_REDUCER)
        pair = cls(
            worker=of_worker,
            reducer=of_reducer,
            worker_name=_name(of_worker),
            reducer_name=None if of_reducer is None else _name(of_reducer),
            described=described_by(of_worker, of_reducer),
            source_hashes={_name(of): _source_hash(of) for of in (of_worker, of_reducer) if of is not None},
        )
        for of in (of_worker, of_reducer):
            if of is not None and not is_importable(of):
                pack_classes(pair)  # fails now if it cannot be sent
        return pair

    def __reduce__(self) -> tuple[Callable[[bytes], "Pair"], tuple[bytes]]:
        return _unpacked, (pack_classes(vars(self)),)

    @property
    def version(self) -> str:
        """Hash of both texts: `state.mapreduce_version`."""
        return sha256("".join(self.source_hashes.values()).encode()).hexdigest()


def constructing(of: type) -> Callable[..., Any]:
    """Return how to make an object of a class of a user: by position parameters, context, state."""
    return calling(of, *CONSTRUCTOR, what=_name(of), is_constructor=True)


def bound(thing: object, name: str) -> Callable[..., Any] | None:
    """Return how to call a method of an object of a user, with all its values by position; None if it has none."""
    method = getattr(thing, name, None)
    return _calling_method(method, name, type(thing)) if callable(method) else None


def _calling_method(method: Callable[..., Any], name: str, of: type) -> Callable[..., Any]:
    return calling(method, *METHODS[name], n_given=int(name.startswith("process")), what=f"{_name(of)}.{name}")


def _check(of: type, role: str, methods: tuple[str, ...]) -> None:
    if not callable(getattr(of, methods[0], None)):
        if hasattr(of, methods[0]):
            raise AnalysisError(f"{methods[0]} of the {role} {_name(of)} is no method: define it by `def`")
        raise AnalysisError(f"{role} {_name(of)} has no method {methods[0]}{nearest_or_all(methods[0], _methods(of))}")
    constructing(of)
    for name in methods:
        attribute = inspect.getattr_static(of, name, None)
        if not callable(getattr(of, name, None)):
            continue
        is_unbound = inspect.isroutine(attribute) and not isinstance(attribute, staticmethod | classmethod)
        function = MethodType(attribute, object()) if is_unbound else getattr(of, name)
        for is_other, kind in (
            (inspect.iscoroutinefunction, "a coroutine"),
            (inspect.isgeneratorfunction, "a generator"),
        ):
            if is_other(function):
                raise AnalysisError(f"{_name(of)}.{name} returns {kind}: expected an ordinary function")
        _calling_method(function, name, of)


def _methods(of: type) -> list[str]:
    return [name for name in dir(of) if not name.startswith("_")]


def _name(of: type) -> str:
    return f"{of.__module__}:{of.__qualname__}"


def _source_hash(of: type) -> str:
    module = inspect.getmodule(of)
    try:
        text = inspect.getsource(of if module is None else module)
    except (OSError, TypeError):  # of a notebook, or compiled
        return sha256("".join(map(_code, vars(of).values())).encode()).hexdigest()
    now = sha256(text.encode()).hexdigest()
    if _seen.setdefault(of.__module__, now) != now:
        logger.warning("the text of %s has changed: unless it was reloaded, its old code runs", of.__module__)
        _seen[of.__module__] = now
    return now


def _code(attribute: Any) -> str:
    function = inspect.unwrap(attribute) if callable(attribute) else attribute
    try:
        return inspect.getsource(function.__code__)
    except (OSError, TypeError, AttributeError):
        return ""


def _unpacked(payload: bytes) -> Pair:
    return Pair(**unpack_classes(payload))
