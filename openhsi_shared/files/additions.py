"""What other programs added to a file of this library: variables, groups, attributes."""

import json
from collections.abc import Iterator
from typing import Any

import h5py

from openhsi_shared.files.attributes import OF_LIBRARIES, OF_OURS, in_order
from openhsi_shared.files.axes import is_dimension_only, walk
from openhsi_shared.files.contents import Contents, checksums_of

__all__ = ["additions"]

LATER = {"recovered"}
"""Attributes that this library adds to a finished file."""


def additions(contents: Contents) -> Iterator[str]:
    """Yield names: "lat" and "gps" at the root, "/gps/lat" in a group, "time:comment" for an attribute of a variable.

    An attribute that another program wrote again counts as added where the file does not have its checksum.
    """
    yield from _after("complete", contents.file)
    for path, item in walk(contents.file):
        shown = f"/{path}" if "/" in path else path
        is_group = isinstance(item, h5py.Group)
        if path == "datacube":
            names = _after("DIMENSION_LIST", item)
        elif not is_group and is_dimension_only(item):
            names = iter(())
        elif not (contents.is_written_group(path) if is_group else contents.is_written(path)):
            yield shown
            continue
        elif is_group or "/" in path:
            listed = json.loads(checksums_of(item) or "{}")
            names = (name for name in item.attrs if name not in listed)
        else:
            names = _after("values_crc32", item)
        yield from (f"{shown}:{name}" for name in names if name not in OF_LIBRARIES | OF_OURS)


def _after(last: str, target: Any) -> Iterator[str]:
    """Attributes that were made after one of ours that is the last."""
    orders = {name: number for number, name in in_order(target)}
    for name, number in orders.items():
        if number > orders.get(last, number) and name not in LATER:
            yield name
