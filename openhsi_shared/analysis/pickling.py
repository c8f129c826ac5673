"""How classes of users, and what their workers return, travel between processes.

A class of a module is found by its name, in each process. One of `__main__`, a notebook or a function is sent once, by
cloudpickle, together with its pair; after that only its key travels, so `isinstance` holds wherever an object arrives.
"""

import io
import pickle
import sys
from types import FunctionType
from typing import Any
from uuid import uuid4
from weakref import WeakSet

import numpy as np

from openhsi_shared.errors import AnalysisError

__all__ = ["is_importable", "pack_classes", "pickled", "unpack_classes", "unpickled"]

_classes: dict[str, type] = {}
"""By key: classes that no other process can import."""
_keys: dict[type, str] = {}
_importable: WeakSet[type] = WeakSet()
PLAIN = {bool, int, float, complex, str, bytes, np.float32, np.float64, np.int64}
"""Types whose objects contain no others."""


def pack_classes(thing: Any) -> bytes:
    """Pickle what refers to classes of users, with all that cannot be imported. AnalysisError if that is impossible."""
    import cloudpickle

    found: dict[str, type] = {}

    class Packer(cloudpickle.Pickler):  # type: ignore[misc] # it has no annotations
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type) and not is_importable(obj):
                found[_known(obj)] = obj
            return super().reducer_override(obj)

    def packed(what: Any) -> bytes:
        file = io.BytesIO()
        Packer(file).dump(what)
        return file.getvalue()

    try:
        packed(thing)  # finds all classes
        return packed((thing, found))
    except Exception as error:
        raise AnalysisError(f"{thing!r} cannot be sent to another process: {error}") from error


def unpack_classes(payload: bytes) -> Any:
    """Return what was packed; its classes are known from then on."""
    import cloudpickle

    thing, classes = cloudpickle.loads(payload)
    for key, of in classes.items():
        _keys.setdefault(of, key)
        _classes.setdefault(key, of)
    return thing


def _known(of: type) -> str:
    key = _keys.setdefault(of, str(uuid4()))
    _classes[key] = of
    return key


def is_importable(thing: Any) -> bool:
    """Return whether a class or function is found by its name in another process."""
    found: Any = sys.modules.get(thing.__module__)
    if found is None or thing.__module__ == "__main__":
        return False
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


class _PayloadPickler(pickle.Pickler):
    """Standard pickle, so that what fails between processes fails within one; with classes of notebooks."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type):
            if obj in _importable:
                return NotImplemented
            if not is_importable(obj):
                return _class_of_key, (_key(obj),)
            _importable.add(obj)
        if type(obj) is np.ndarray and not obj.flags.writeable:
            return obj.copy().__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # a view into a frame: writeable in the reducer
        if isinstance(obj, memoryview):
            return bytes, (obj.tobytes(),)
        if isinstance(obj, FunctionType) and not is_importable(obj):
            raise pickle.PicklingError(f"{obj!r} cannot be found by its name in another process")
        return NotImplemented


def _key(of: type) -> str:
    if of not in _keys:
        raise pickle.PicklingError(f"{of!r} cannot be found by its name in another process: define it in a module")
    return _keys[of]


def _class_of_key(key: str) -> type:
    return _classes[key]


def pickled(payload: Any) -> bytes:
    """Pickle what a worker returned. Raises what pickle raises."""
    if type(payload) is np.ndarray and payload.dtype != object:
        return pickle.dumps(payload if payload.flags.writeable else payload.copy(), pickle.HIGHEST_PROTOCOL)
    if type(payload) in PLAIN:
        return pickle.dumps(payload, pickle.HIGHEST_PROTOCOL)
    file = io.BytesIO()
    _PayloadPickler(file, pickle.HIGHEST_PROTOCOL).dump(payload)
    return file.getvalue()


def unpickled(payload: bytes) -> Any:
    """Return what was pickled. Raises whatever a class of the user raises."""
    return pickle.loads(payload)
