"""The objects of an open HDF5 file by path: each is opened once, and each of its attributes is read once.

Opening and reading through h5py takes longer than anything else that is done with a small variable.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py

from openhsi_shared.files.attributes import StoredAttributes
from openhsi_shared.files.axes import members_of
from openhsi_shared.hdf5_guard import refuse_endless_heaps

__all__ = ["Objects"]


class HeapCheck:
    """ValueError, when it is called, if HDF5 would loop endlessly in a heap of texts of variable length."""

    def __init__(self, path: Path) -> None:
        self._path, self._is_done = path, False

    def __call__(self, known: Sequence[tuple[int, int]] = ()) -> None:
        """`known`: see `refuse_endless_heaps`. Only the first call reads the file."""
        if not self._is_done:
            with self._path.open("rb") as content:
                refuse_endless_heaps(content, known)
            self._is_done = True


class Objects:
    """Groups and datasets of a file; "" is the root. Raises the errors of h5py; what failed is tried again."""

    check_heap: "HeapCheck"
    """To be called before anything is read from the heap."""

    def __init__(self, path: Path, file: Any) -> None:
        self._file, self.check_heap = file, HeapCheck(path)
        self._opened: dict[str, Any] = {"": file}
        self._attributes: dict[str, StoredAttributes] = {}
        self._members: dict[str, list[tuple[str, Any]]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._opened or path in self._file

    def __getitem__(self, path: str) -> Any:
        if path not in self._opened:
            self._opened[path] = self._file[path]
        return self._opened[path]

    def attributes(self, path: str) -> StoredAttributes:
        """Attributes of an object as they are stored."""
        if path not in self._attributes:
            self._attributes[path] = StoredAttributes(self[path], self.check_heap)
        return self._attributes[path]

    def members(self, path: str) -> list[tuple[str, Any]]:
        """What `members_of` yields of the group `path`."""
        if path not in self._members:
            prefix, found = f"{path}/" if path else "", list(members_of(self[path]))
            self._opened |= {prefix + name: item for name, item in found if item is not None}
            self._members[path] = found
        return self._members[path]

    @cached_property
    def all(self) -> dict[str, Any]:
        """All datasets and groups: "time", "gps", "gps/lat", ...; groups before their members.

        What cannot be opened is left out.
        """
        return dict(self._walk())

    def _walk(self) -> Iterator[tuple[str, Any]]:
        to_visit, seen = [""], {self._file["/"]}
        while to_visit:
            group = to_visit.pop()
            prefix = f"{group}/" if group else ""
            for name, item in self.members(group):
                if item is None or item in seen:  # a group can be linked into itself
                    continue
                yield prefix + name, item
                if isinstance(item, h5py.Group):
                    seen.add(item)
                    to_visit.append(prefix + name)
