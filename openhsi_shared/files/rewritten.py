"""Labels of a finished file that another program rewrote, although no checksum covers them.

Short attributes of the root and of its variables have no checksum of their own, so that users can change theirs. Those
that say what the numbers are contradict each other, or what this library writes, when they are changed.
"""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from openhsi_shared.dataset import LABELS_OF_AXIS, datacube_attributes, written_labels
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.contents import display_name
from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.reading import OpenCube
from openhsi_shared.line_times import CALENDARS, TIME_UNITS, UNKNOWN_TIME_NS, decode_times

__all__ = ["rewritten_labels"]

MEANINGS = ("units", "calendar", "units_metadata", "standard_name")
"""Attributes that say what the numbers of a variable are, besides those of packed numbers."""
SAME_AS = {"nm": ("nanometer", "nanometers", "nanometre", "nanometres"), "standard": CALENDARS}
"""Other words for what this library writes."""


def rewritten_labels(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    """Yield a sentence for each label that was rewritten; `covers`: the variables that this library wrote."""
    yield from _packing(cube, covers)
    yield from _attributes(cube)
    yield from _meanings(cube, covers)
    for name in ("time", "x", "y", "wavelength") if "datacube" in cube.contents.file else ():
        if name not in covers:
            yield f"{cube.path}: {display_name(name)} is not the one that was written: it was replaced or removed"
    yield from _names(cube, covers)


def _packing(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    for name in covers:
        if "/" not in name and cube.contents.packing(name) is not None:
            attributes = cube.contents.attributes(name)
            found = sorted(PACKING_ATTRIBUTES.intersection(attributes))
            if name == "time" and found == ["_FillValue"] and attributes["_FillValue"] == UNKNOWN_TIME_NS:
                continue  # as this library writes it where times are unknown
            yield f"{cube.path}: {display_name(name)} got {', '.join(found)} later, so other numbers are read from it"


def _attributes(cube: OpenCube) -> Iterator[str]:
    attributes = cube.attributes
    level, described = attributes.get("level"), str(attributes.get("processing_level", ""))
    if described.startswith("level ") and not described.startswith(f"level {level}:"):
        yield f"{cube.path}: level is {level!r}, but processing_level is {described!r}: one of them was rewritten"
    parts = [attributes.get(f"lines_lost_{where}") for where in ("before", "within")]
    numbers = [part for part in (attributes.get("lines_lost"), *parts) if isinstance(part, int | float)]
    if len(numbers) == 3 and numbers[0] != numbers[1] + numbers[2]:
        yield f"{cube.path}: lines_lost is {numbers[0]}, but {numbers[1]} before and {numbers[2]} within are stated"


def _meanings(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    """Other units or another calendar give every number another meaning, while its checksum stays right."""
    for name in covers:
        if "/" in name:
            continue  # all attributes in groups have checksums
        try:
            found = cube.contents.attributes(name)
        except FileError:
            continue  # reported with the variable
        written = written_labels(name, found.get("long_name"))
        if name == "datacube":
            level, arithmetic = cube.attributes.get("level"), cube.attributes.get("level_arithmetic")
            written = datacube_attributes(level, arithmetic=arithmetic) if isinstance(level, int) else {}
        if name == "wavelength" and not written and found.get("units") != "1":
            written = {"units": LABELS_OF_AXIS["wavelength"]["units"]}
        for key in MEANINGS:
            if key in written and not _is_same(key, found.get(key), written[key]):
                value = repr(found[key]) if key in found else "missing"
                verb = "are" if key == "units" else "is"
                yield f"{cube.path}: the {key} of {name} {verb} {value}, but {written[key]!r} was written"


def _is_same(key: str, found: object, written: str) -> bool:
    if found == written or found in SAME_AS.get(written, ()):
        return True
    if key == "units" and written == TIME_UNITS:
        with suppress(ArgumentError):
            return bool((decode_times(np.arange(2), str(found)) == [0, 1]).all())
    return found is None and key != "units"  # then readers assume what was written, or nothing


def _names(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    """A variable that this library wrote under another name: it has a checksum, and no other has the same."""
    contents = cube.contents
    others = [name for name in contents.members("")[0] if name != "datacube" and name not in covers]
    written = [contents.checksum(name) for name in covers if name != "datacube" and "/" not in name]
    for name in others:
        checksum = contents.checksum(name)
        if checksum is not None and checksum not in written:
            yield f"{cube.path}: {display_name(name)} was written under another name"
