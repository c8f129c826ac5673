"""What an analysis has published at one time, as it travels through the control socket: in anonymous memory."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

__all__ = ["Dataset", "Group", "Snapshot"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Numbers or text, of any number of dimensions."""

    values: NDArray[Any]
    attributes: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    """Of what was published, every n-th value along each axis is here; () if all are."""


@dataclass(frozen=True, eq=False)
class Group:
    """A dict."""

    members: Mapping[str, "Group | Dataset"] = field(default_factory=dict)
    attributes: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that was published at one time."""

    root: Group = field(default_factory=Group)
    problems: tuple[str, ...] = ()
    """What is not in it, and why."""

    def as_dict(self) -> dict[str, Any]:
        """Return it in the shape of `publish`: numbers, text, lists of text, and arrays, in nested dicts."""
        return _as_dict(self.root)

    def datasets(self) -> dict[str, Dataset]:
        """Return all datasets by their path, such as "map/ndvi"."""
        return dict(_datasets(self.root, ""))

    def to_memory(self) -> int:
        """Write it into anonymous memory; return the descriptor, which the caller closes. OSError without memory."""
        with _anonymous() as file:
            file.write(json.dumps({"problems": self.problems, "root": _described(self.root)}).encode() + b"\n")
            for array in _arrays(self.root):
                npy.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
            file.flush()
            return os.dup(file.fileno())

    @classmethod
    def from_memory(cls, fd: int) -> "Snapshot":
        """Read what `to_memory` wrote, and close the descriptor. ValueError if it is something else."""
        with os.fdopen(fd, "rb") as file:
            file.seek(0)
            description = json.loads(file.readline())
            root = _read(description["root"], file)
        if not isinstance(root, Group):
            raise ValueError("what was received is not published by an analysis")
        return cls(root, tuple(description["problems"]))


def _anonymous() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("published", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile()


def _described(node: Group | Dataset) -> dict[str, Any]:
    described: dict[str, Any] = {"attributes": list(node.attributes)}
    if isinstance(node, Dataset):
        return {**described, "steps": node.steps}
    return {**described, "members": {name: _described(member) for name, member in node.members.items()}}


def _arrays(node: Group | Dataset) -> Iterator[NDArray[Any]]:
    """All arrays, in the order in which `_read` reads them."""
    yield from node.attributes.values()
    if isinstance(node, Dataset):
        yield node.values
    else:
        yield from chain.from_iterable(map(_arrays, node.members.values()))


def _read(described: Mapping[str, Any], file: IO[bytes]) -> Group | Dataset:
    attributes = {name: _array(file) for name in described["attributes"]}
    if "members" in described:
        return Group({name: _read(one, file) for name, one in described["members"].items()}, attributes)
    return Dataset(_array(file), attributes, tuple(described["steps"]))


def _array(file: IO[bytes]) -> NDArray[Any]:
    array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


def _datasets(group: Group, above: str) -> Iterator[tuple[str, Dataset]]:
    for name, node in group.members.items():
        if isinstance(node, Dataset):
            yield above + name, node
        else:
            yield from _datasets(node, f"{above}{name}/")


def _as_dict(group: Group) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, node in group.members.items():
        found[name] = _as_dict(node) if isinstance(node, Group) else _plain(node.values)
        if node.attributes and isinstance(node, Dataset):
            found[f"{name}_attrs"] = {key: _plain(value) for key, value in node.attributes.items()}
    if group.attributes:
        found["_attrs"] = {key: _plain(value) for key, value in group.attributes.items()}
    return found


def _plain(values: NDArray[Any]) -> Any:
    return values.tolist() if values.dtype.kind == "U" or (values.ndim == 0 and values.dtype.names is None) else values
