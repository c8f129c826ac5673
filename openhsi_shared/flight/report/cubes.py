"""What a report needs of one file. Read in a process of its own: a file that crashes a library costs only itself."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.cube_files import CubeFile, cube_file
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.files.preview import Picture, preview_path, read_picture
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.files.sheet import tile_of
from openhsi_shared.files.verifying import verify_and_read
from openhsi_shared.line_times import UNKNOWN_TIME_NS, known_times
from openhsi_shared.rgb import decimation

__all__ = ["CubeNotes", "Image", "Task", "encoded", "read_notes", "size_of"]

NOT_READ = {"x", "y", "wavelength", "time", "frame_id", "camera_time_ns", "line_crc32", "datacube"}
QUALITY = 85
"""Of JPEG: a hundred pictures are 2 MB."""
SHARPNESS = 2
"""Pixels of a picture for each pixel of the page."""
SIZES = ((6, 478, 320), (30, 232, 220), (60, 182, 180))
"""(up to this number of cubes, width and height on the page)."""
MIN_SIZE = (126, 160)

Value = TypeVar("Value")


class Image(NamedTuple):
    """A picture for the page."""

    data: bytes
    """JPEG."""
    width: int
    """On the page."""
    height: int


class Task(NamedTuple):
    """A file to be read."""

    path: Path
    size: tuple[int, int]
    """Width and height that its picture may have on the page."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CubeNotes:
    """What is known of one file; without lines if it cannot be read as a cube."""

    path: Path
    problems: tuple[str, ...]
    n_bytes: int = 0
    damaged_lines: tuple[int, ...] = ()
    added: tuple[str, ...] = ()
    """What another program added."""
    shape: tuple[int, int, int] = (0, 0, 0)
    """(along-track, cross-track, wavelength)."""
    dtype: str = ""
    level: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    times_ns: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """UTC of each line; UNKNOWN_TIME_NS where it is unknown."""
    frame_ids: NDArray[np.int64] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """All other numbers of lines."""
    clock: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the column `clock_offset`."""
    channels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Attributes of the groups of channels."""
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Attributes of the groups of references."""
    series: CubeFile | None = None
    """Raw series of its channels."""
    image: Image | None = None

    @property
    def is_readable(self) -> bool:
        """Whether it is a cube with lines."""
        return self.shape[0] > 0

    @property
    def known_ns(self) -> NDArray[np.int64]:
        """Times that are known."""
        return known_times(self.times_ns)


def read_notes(task: Task) -> CubeNotes:
    """Verify a file, read all but its lines, and make its picture. Never raises for a bad file: it has problems."""
    problems: list[str] = []

    def read(cube: OpenCube) -> dict[str, Any]:
        known: dict[str, Any] = {}
        try:
            cube.check_not_empty()
            known = {"shape": cube.lines.shape, "dtype": str(cube.lines.dtype)} | _contents(cube, problems)
            known["image"] = _attempt(problems, lambda: _image(cube, task.size), None)
        except (OpenHSIError, OSError, ValueError) as error:
            _note(problems, error)
        return known

    checked, known = verify_and_read(task.path, read)
    if known is None:
        known = {}
        try:
            with open_cube(task.path, check=checked.ok) as cube:  # else one damaged text would hide all others
                known = read(cube)
        except (OpenHSIError, OSError, ValueError) as error:
            _note(problems, error)
    return CubeNotes(
        path=task.path,
        problems=checked.problems or tuple(problems),  # what was damaged is named there, with all else
        n_bytes=checked.n_bytes,
        damaged_lines=checked.damaged_lines,
        added=checked.added,
        **known,
    )


def _attempt(problems: list[str], read: Callable[[], Value], otherwise: Value) -> Value:
    """What can be read; else `otherwise`, and a problem."""
    try:
        return read()
    except (OpenHSIError, OSError, ValueError) as error:
        _note(problems, error)
        return otherwise


def _note(problems: list[str], error: Exception) -> None:
    if str(error) not in problems:
        problems.append(str(error))


def _contents(cube: OpenCube, problems: list[str]) -> dict[str, Any]:
    n_lines = len(cube.lines)
    unknown = np.full(n_lines, UNKNOWN_TIME_NS)
    times = _attempt(problems, lambda: cube.times_ns, None)
    ids = _attempt(problems, lambda: cube.frame_ids, None)
    attributes: dict[str, Any] = {}
    attributes = _attempt(problems, lambda: cube.attributes, attributes)
    found: dict[str, Any] = {
        "attributes": attributes,
        "level": _attempt(problems, lambda: cube.level, None),
        "times_ns": unknown if times is None else np.asarray(times, np.int64),
        "frame_ids": None if ids is None else np.asarray(ids, np.int64),
    }
    if not cube.is_ours:
        return found
    columns: dict[str, NDArray[Any]] = {}
    for name in set(cube.contents.members("")[0]) - NOT_READ:
        values = _attempt(problems, partial(_column, cube, name), None)
        columns |= {} if values is None else {name: values}
    clock: dict[str, Any] = {}
    if "clock_offset" in columns:
        clock = _attempt(problems, lambda: cube.contents.attributes("clock_offset"), clock)
    groups: dict[str, dict[str, Mapping[str, Any]]] = {"channels": {}, "references": {}}
    for group, none in groups.items():
        groups[group] = _attempt(problems, partial(_attributes_in, cube, group), none)
    has_series = groups["channels"] and times is not None
    series = _attempt(problems, lambda: cube_file(cube), None) if has_series else None
    return found | groups | {"columns": columns, "clock": clock, "series": series}


def _column(cube: OpenCube, name: str) -> NDArray[Any] | None:
    if not cube.is_column(name):
        return None
    return cube.of_lines(cube.contents.numbers(name))


def _attributes_in(cube: OpenCube, name: str) -> dict[str, Mapping[str, Any]]:
    if name not in cube.groups:
        return {}
    return {one: dict(group.attributes) for one, group in cube.groups[name].groups.items()}


# ---- pictures --------------------------------------------------------------------------------


def size_of(n_cubes: int) -> tuple[int, int]:
    """Width and height of pictures on the page: the more there are, the smaller.

    >>> size_of(3), size_of(100)
    ((478, 320), (126, 160))
    """
    return next(((width, height) for most, width, height in SIZES if n_cubes <= most), MIN_SIZE)


def _image(cube: OpenCube, size: tuple[int, int]) -> Image:
    """Of the preview beside the cube, which is quick; else of its lines."""
    made = _preview(cube) or read_picture(cube.path)
    height = max(1, min(size[1], size[0] * made.n_cross // made.n_lines))
    return encoded(tile_of(cube.path.stem, made, SHARPNESS * height).image)


def _preview(cube: OpenCube) -> Picture | None:
    from PIL import Image as Pillow

    path = preview_path(cube.path)
    n_lines, n_cross, _ = cube.lines.shape
    try:
        with Pillow.open(path) as file:
            image = np.asarray(file.convert("RGB"))
    except (OSError, ValueError, SyntaxError):  # there is none, or it is damaged
        return None
    expected = tuple(-(-n // decimation(n)) for n in (n_cross, n_lines))
    return Picture(image, n_lines, n_cross, None) if image.shape[:2] == expected else None


def encoded(image: NDArray[np.uint8]) -> Image:
    """A picture for the page, of (rows, columns, 3) or (rows, columns) in grey."""
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "JPEG", quality=QUALITY)
    height, width = (max(1, n // SHARPNESS) for n in image.shape[:2])
    return Image(stream.getvalue(), width, height)
