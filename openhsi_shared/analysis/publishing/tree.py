"""What of the dict `publish` can be published: groups, datasets and attributes; and, by name, what cannot.

The shape of the dict is that of dranspose's `h5dict`: a dict is a group, numbers, text, lists and arrays are datasets,
`<key>_attrs` has the attributes of `<key>`, and `_attrs` those of the group that it is in.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.near_names import nearest_or_all

__all__ = ["Member", "array_of", "attributes_of", "find", "members"]

SUFFIX = "_attrs"
MAX_DEPTH = 32
"""Of nested dicts."""


class Member(NamedTuple):
    """A group or a dataset."""

    value: Any
    """A mapping: a group. Else a dataset, which `array_of` may refuse."""
    attributes: Mapping[Any, Any]
    """As the user has written them; `attributes_of` has those that can be published."""

    @property
    def is_group(self) -> bool:
        """Whether it is a group."""
        return isinstance(self.value, Mapping)


def members(
    group: Mapping[Any, Any], above: Sequence[Any] = (), at_most: int | None = None
) -> tuple[dict[str, Member], list[str]]:
    """Return the members of a group by name, and why others are not among them.

    `above`: the groups that it is in, none of which can be in it as well. No value is copied.
    """
    found: dict[str, Member] = {}
    problems = []
    items = list(group.items()) if at_most is None else list(itertools.islice(group.items(), at_most + 1))
    if at_most is not None and len(items) > at_most:
        problems.append(f"only the first {at_most:,} of {len(group):,} keys are published")
        del items[at_most:]
    for key, value in items:
        if isinstance(key, str) and key.endswith(SUFFIX) and isinstance(value, Mapping):
            owner = key.removesuffix(SUFFIX)
            if owner and owner not in group:
                problems.append(f"{key}: attributes of {owner!r}, which is not there")
            continue
        why = _refused(key, value, [*above, group])
        if why:
            problems.append(f"{_short(key)}: {why}")
        else:
            found[key] = Member(value, _attributes(group, key, value))
    return found, problems


def find(publish: Mapping[Any, Any], path: Sequence[str]) -> Member:
    """Return what has this path. KeyError if it is not there, or cannot be published."""
    at = Member(publish, _own_attributes(publish))
    above: list[Any] = []
    for name in path:
        key_is_attributes = name.endswith(SUFFIX) and at.is_group and isinstance(at.value.get(name), Mapping)
        if not at.is_group or name not in at.value or key_is_attributes:
            known = [key for key in itertools.islice(at.value, 100) if isinstance(key, str)] if at.is_group else []
            raise KeyError(f"nothing is published as {'/'.join(path)}{nearest_or_all(name, known)}")
        above.append(at.value)
        value = at.value[name]
        if why := _refused(name, value, above):
            raise KeyError(f"{'/'.join(path)} is not published: {why}")
        at = Member(value, _attributes(at.value, name, value))
    return at


def _refused(key: Any, value: Any, above: Sequence[Any]) -> str:
    """Why a key cannot be published; "" if it can."""
    if not isinstance(key, str):
        return f"the key is of type {type(key).__name__}: expected text"
    if key in ("", ".", "..") or "/" in key or "\0" in key:
        return "names in HDF5 have no slash and are not empty: rename it, or use nested dicts"
    if isinstance(value, Mapping):
        if any(value is group for group in above):
            return "it contains itself"
        if len(above) >= MAX_DEPTH:
            return f"dicts are nested deeper than {MAX_DEPTH}"
    return ""


def _own_attributes(value: Any) -> Mapping[Any, Any]:
    own = value.get(SUFFIX) if isinstance(value, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def _attributes(group: Mapping[Any, Any], key: str, value: Any) -> Mapping[Any, Any]:
    beside = group.get(key + SUFFIX)
    return {**(beside if isinstance(beside, Mapping) else {}), **_own_attributes(value)}


def attributes_of(member: Member) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return attributes as arrays, by name, and why others are not among them."""
    found, problems = {}, []
    for key, value in list(member.attributes.items()):
        try:
            if why := _refused(key, value, ()):
                raise TypeError(why)
            found[key] = array_of(value)
        except TypeError as error:
            problems.append(f"attribute {_short(key)}: {error}")
    return found, problems


def array_of(value: Any) -> NDArray[Any]:
    """Return a number, text, list or array as an array, without a copy if it is one. TypeError if it cannot be one.

    Text has the dtype U, and no other text than a list of nothing else.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("a masked array has no counterpart in HDF5: publish .filled(...)")
    try:
        array = np.asarray(value)
    except Exception as error:  # of code of users, or of another library
        raise TypeError(f"{type(value).__name__} that does not become an array: {error}") from error
    if not _is_publishable(array.dtype) or (array.dtype.kind == "U" and not _is_text(value)):
        what = f"an array of {array.dtype}" if isinstance(value, np.ndarray) else f"of type {type(value).__name__}"
        raise TypeError(f"{what}: expected a number, text, or a list or array of these, all of one kind")
    return array


def _is_publishable(dtype: np.dtype[Any]) -> bool:
    if dtype.names is not None:
        return all(
            dtype[name].names is None and dtype[name].shape == () and dtype[name].kind in "biuf" for name in dtype.names
        )
    return dtype.kind in "biufcU" and dtype.itemsize <= (
        16 if dtype.kind == "c" else np.inf if dtype.kind == "U" else 8
    )


def _is_text(value: Any) -> bool:
    """Numpy makes text of a list that contains numbers as well."""
    if isinstance(value, list | tuple):
        return all(_is_text(one) for one in value)
    return isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind == "U")


def _short(key: Any) -> str:
    text = key if isinstance(key, str) else repr(key)
    return text if len(text) <= 60 else f"{text[:57]}..."
