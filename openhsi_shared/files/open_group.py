"""A group of an open file, read lazily."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from openhsi_shared.files.checksums import COLUMN_CHECKSUM
from openhsi_shared.files.contents import Contents
from openhsi_shared.groups import Group, Variable
from openhsi_shared.packages import require

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["OpenGroup", "groups_in"]

Value = TypeVar("Value")


class _ByName(Mapping[str, Value], Generic[Value]):
    """A mapping whose values are read on access."""

    def __init__(self, names: list[str], read: Callable[[str], Value]) -> None:
        self._names, self._read = names, read

    def __getitem__(self, name: str) -> Value:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<{', '.join(self._names)}>"


class OpenGroup:
    """A group of a saved cube: `variables`, `attributes`, `groups`, and all for xarray as `dataset`.

    What this library wrote is compared with its checksums: ChecksumError names the group and the variable. What another
    program added is read unchecked.
    """

    path: str
    """Such as "/gps"."""

    def __init__(self, contents: Contents, path: str) -> None:
        self._contents, self._path = contents, path
        self.path = f"/{path}"

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """Variables by name, read on access: dimensions, data (times as numbers with units) and attributes."""
        names, _ = self._contents.members(self._path)
        return _ByName(names, self._variable)

    def _variable(self, name: str) -> Variable:
        dims, data, attributes = self._contents.variable(f"{self._path}/{name}")
        return Variable(dims, data, {key: value for key, value in attributes.items() if key != COLUMN_CHECKSUM})

    @cached_property
    def groups(self) -> Mapping[str, "OpenGroup"]:
        """Groups that are stored in this one."""
        return groups_in(self._contents, self._path)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Texts, numbers, arrays of numbers."""
        return self._contents.attributes(self._path, is_group=True)

    @cached_property
    def dataset(self) -> "xr.Dataset":
        """All variables for xarray, decoded by xarray (times, fill values), without nested groups.

        PackageMissing without xarray.
        """
        require("OpenGroup.dataset", "xarray")
        from openhsi_shared.files.lazy import decoded

        return decoded(self.variables, self.attributes)

    def read(self) -> Group:
        """Read it with all nested groups, as a Group that can be saved. ArgumentError if it cannot."""
        groups = {name: group.read() for name, group in self.groups.items()}
        return Group(dict(self.variables), self.attributes, groups)

    def __repr__(self) -> str:
        return f"<OpenGroup {self.path} {self.variables!r}>"


def groups_in(contents: Contents, path: str = "") -> Mapping[str, OpenGroup]:
    """The groups in a group; "" is the root."""
    _, names = contents.members(path)
    return _ByName(names, lambda name: OpenGroup(contents, f"{path}/{name}" if path else name))
