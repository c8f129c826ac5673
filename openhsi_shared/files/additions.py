"""What other programs added to a file of this library: variables, groups, attributes."""

import json
from collections.abc import Iterator
from typing import Any

import h5py

from openhsi_shared.files.attributes import LIBRARY_ATTRIBUTES, OWN_ATTRIBUTES, creation_order
from openhsi_shared.files.axes import NOT_A_COORDINATE, is_dimension_only, names_not_utf8
from openhsi_shared.files.contents import Contents, checksums_of

__all__ = ["additions"]

LATE_ATTRIBUTES = {"recovered"}
"""Attributes that this library adds to a finished file."""


def additions(contents: Contents) -> Iterator[str]:
    """Yield names: "lat" and "gps" at the root, "/gps/lat" in a group, "time:comment" for an attribute of a variable.

    An attribute that another program rewrote counts as added where the file does not have its checksum.
    """
    yield from _created_after("complete", contents.file)
    yield from names_not_utf8(contents.file)
    for path, item in contents.objects.all.items():
        attributes = contents.objects.attributes(path)
        shown = f"/{path}" if "/" in path else path
        shown = shown.replace(NOT_A_COORDINATE, "")
        is_group = isinstance(item, h5py.Group)
        if path == "datacube":
            names = _created_after("DIMENSION_LIST", item)
        elif not is_group and is_dimension_only(item, attributes):
            names = iter(())
        elif not (contents.is_written_group(path) if is_group else contents.is_written(path)):
            yield shown
            continue
        elif is_group or "/" in path:
            listed = json.loads(checksums_of(attributes) or "{}")
            names = (name for name in attributes if isinstance(name, str) and name not in listed)
            yield from (f"{shown}/{name}" for name in (names_not_utf8(item) if is_group else ()))
            yield from (f"{shown}:{name}" for name in names_not_utf8(attributes))
        else:
            names = _created_after("values_crc32", item)
        yield from (f"{shown}:{name}" for name in names if name not in LIBRARY_ATTRIBUTES | OWN_ATTRIBUTES)


def _created_after(last: str, target: Any) -> Iterator[str]:
    """Attributes that were created after `last`, the last attribute that this library writes."""
    orders = {name: number for number, name in creation_order(target)}
    for name, number in orders.items():
        if number > orders.get(last, number) and name not in LATE_ATTRIBUTES:
            yield name
