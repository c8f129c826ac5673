"""Labels of a finished file that another program rewrote, although no checksum covers them.

Short attributes of the root and of its variables have no checksum of their own, so that users can change theirs. Those
that say what the numbers are contradict each other, or what this library writes, when they are changed.
"""

from collections.abc import Iterator

from openhsi_shared.files.contents import display_name
from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.reading import OpenCube
from openhsi_shared.line_times import UNKNOWN_TIME_NS

__all__ = ["rewritten_labels"]

UNITS_OF_WAVELENGTH = ("nm", "1", "nanometer", "nanometers", "nanometre", "nanometres")


def rewritten_labels(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    """Yield a sentence for each label that was rewritten; `covers`: the variables that this library wrote."""
    yield from _packing(cube, covers)
    yield from _attributes(cube, covers)
    yield from _names(cube, covers)


def _packing(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    for name in covers:
        if "/" not in name and cube.contents.packing(name) is not None:
            attributes = cube.contents.attributes(name)
            found = sorted(PACKING_ATTRIBUTES.intersection(attributes))
            if name == "time" and found == ["_FillValue"] and attributes["_FillValue"] == UNKNOWN_TIME_NS:
                continue  # as this library writes it where times are unknown
            yield f"{cube.path}: {display_name(name)} got {', '.join(found)} later, so other numbers are read from it"


def _attributes(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    attributes = cube.attributes
    level, described = attributes.get("level"), str(attributes.get("processing_level", ""))
    if described.startswith("level ") and not described.startswith(f"level {level}:"):
        yield f"{cube.path}: level is {level!r}, but processing_level is {described!r}: one of them was rewritten"
    parts = [attributes.get(f"lines_lost_{where}") for where in ("before", "within")]
    numbers = [part for part in (attributes.get("lines_lost"), *parts) if isinstance(part, int)]
    if len(numbers) == 3 and numbers[0] != numbers[1] + numbers[2]:
        yield f"{cube.path}: lines_lost is {numbers[0]}, but {numbers[1]} before and {numbers[2]} within are stated"
    units = cube.contents.attributes("wavelength").get("units") if "wavelength" in covers else "nm"
    if units not in UNITS_OF_WAVELENGTH:
        yield f"{cube.path}: the units of wavelength are {units!r}, but 'nm' or '1' were written"


def _names(cube: OpenCube, covers: list[str]) -> Iterator[str]:
    """A variable that this library wrote under another name: it has a checksum, and no other has the same."""
    contents = cube.contents
    others = [name for name in contents.members("")[0] if name != "datacube" and name not in covers]
    written = [contents.checksum(name) for name in covers if name != "datacube" and "/" not in name]
    for name in others:
        checksum = contents.checksum(name)
        if checksum is not None and checksum not in written:
            yield f"{cube.path}: {display_name(name)} was written under another name"
