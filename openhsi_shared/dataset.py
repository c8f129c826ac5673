"""The metadata of a cube's file: names, labels and units.

Only texts and tables; `files` writes them. Every per-line variable has the axis `y`.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.attributes import user_attributes
from openhsi_shared.columns import COLUMNS, OTHER_VARIABLES, SATURATED, Column, Saturation
from openhsi_shared.errors import ArgumentError
from openhsi_shared.groups import Group, Variable, check_groups, numbers
from openhsi_shared.line_times import TIME_UNITS, UNKNOWN_TIME_NS, iso_time, known_times, utc_of, was_never_set
from openhsi_shared.processing_levels import LABELS, LEVELS

__all__ = [
    "ATTRIBUTE_CHECKSUMS",
    "CONTENTS_CHECKSUMS",
    "FORMAT",
    "FORMAT_VERSION",
    "LINK_ATTRIBUTE",
    "Cube",
    "check_affixes",
    "coordinates",
    "cube_stem",
    "datacube_attributes",
    "day_folder",
    "global_attributes",
    "saturated_variable",
    "time_variable",
    "written_labels",
]

FORMAT = "openhsi_shared"
FORMAT_VERSION = 2
"""The newest version of the format: that of files with groups. Files without groups are of version 1."""
LINK_ATTRIBUTE = "source_link"
"""How a file refers to the cube that it was computed from, see `files.linked`; never the user's metadata."""
ATTRIBUTE_CHECKSUMS = "attributes_crc32"
"""Attribute with checksums of attributes, as JSON: {name: CRC-32}. In groups of all, else of long ones only."""
CONTENTS_CHECKSUMS = "contents_crc32"
"""Attribute of files with groups: the checksum of each variable and group that was written, as JSON: {path: CRC-32}."""
MAX_AFFIX_BYTES = 200
"""Of the 255 of a file name: the others are for the time, extensions, and a number if the name exists."""

CUSTOM = "custom_tfms"
"""The `level_arithmetic` of pixels from functions of the user: their meaning is unknown."""
TIME_ATTRIBUTES = {"standard_name": "time", "units": TIME_UNITS, "calendar": "standard"}
TIME_ATTRIBUTES |= {"units_metadata": "leap_seconds: none"}  # computer clocks do not count them

LABELS_OF_AXIS: dict[str, dict[str, str]] = {
    "x": {"long_name": "cross-track", "units": "1", "description": "cross-track pixel"},
    "y": {"long_name": "along-track", "units": "1", "description": "along-track line, in the order of time"},
    "band": {"long_name": "band", "units": "1", "description": "number of the band: its wavelength is not known"},
    "wavelength": {"long_name": "wavelength_nm", "standard_name": "radiation_wavelength", "units": "nm"}
    | {"description": "middle of the band"},
}
LABELS_OF_COLUMN: dict[str, dict[str, str]] = {  # besides name and unit, which are defined by the column
    "time": {"long_name": "time of the line (UTC)"} | TIME_ATTRIBUTES,
    "camera_time_ns": {"comment": "-1: unknown"},
    "line_crc32": {
        "long_name": "checksum of the line",
        "units": "1",
        "comment": "CRC-32 (zlib) of the line's bytes in (x, wavelength) C order, little-endian",
    },
}

DEFAULTS = {
    "title": "hyperspectral datacube",
    "summary": "lines of a scene recorded with a pushbroom hyperspectral camera",
    "keywords": "hyperspectral, pushbroom, imaging spectrometer",
    "source": "pushbroom imaging spectrometer",
    "comment": "line_crc32 holds a checksum of every line",
}
"""Defaults for attributes that the user does not set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cube:
    """A cube to be saved: lines in memory, and their metadata. ArgumentError for inconsistent parts."""

    memory: NDArray[Any]
    """(n_stored, cross-track, wavelength): a ring of lines, its oldest at `first`. Fastest: each line contiguous, and
    lines of 64 KiB and more page-aligned; then they are written without a copy."""
    first: int = 0
    """Index of the oldest line in `memory`."""
    n_lines: int
    """Number of lines: from `memory[first]` on; they wrap around to `memory[0]`."""
    columns: Mapping[str, NDArray[Any]]
    """Values per line, in the order of time, `n_lines` each. `time_ns` (int64, UTC or UNKNOWN_TIME_NS) is required;
    standard are `frame_id` (int64), `temperature` (float32, celsius or NaN), `camera_time_ns` (int64, -1 = unknown);
    others are written too."""
    column_descriptions: tuple[Column, ...] = COLUMNS
    """Unit, long name and further attributes of columns. A column without a description has its name as long name, and
    no unit."""
    groups: Mapping[str, Group] = field(default_factory=dict)
    """Groups that are stored beside the cube. Their variables can use the axes `y` (lines), `x` and `wavelength`."""
    wavelengths_nm: ArrayLike | None = None
    """Centre of each band, or None if unknown."""
    level: int | None = -1
    """The processing level of the pixels; None if they are none of the levels."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Global attributes from this library about the recording."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Global attributes from the user; `attributes` have priority."""
    uuid: str
    """Unique id of this cube, by which a cube that was saved already is recognised."""
    saturation: Saturation | None = None
    """How saturated pixels are counted when it is saved, for the variable `saturated`; None: not at all. A column of
    that name, which another cube had, is written only then."""

    def __post_init__(self) -> None:
        n_stored = self.memory.shape[0] if self.memory.ndim == 3 else 0
        if self.memory.ndim != 3 or 0 in self.memory.shape or self.memory.dtype.kind not in "uif":
            raise ArgumentError(
                f"memory of shape {self.memory.shape} and type {self.memory.dtype} is not a cube: expected numbers in "
                f"(lines, cross-track, wavelength)"
            )
        numbers("memory", self.memory[:0])
        if not (1 <= self.n_lines <= n_stored and 0 <= self.first < n_stored):
            raise ArgumentError(
                f"{self.n_lines} lines from line {self.first} on do not fit into memory of {n_stored} lines"
            )
        if "time_ns" not in self.columns:
            raise ArgumentError(f"columns {sorted(self.columns)} lack time_ns, the time of each line")
        for name, column in self.columns.items():
            if np.shape(column) != (self.n_lines,):
                raise ArgumentError(f"column {name} has the shape {np.shape(column)}, expected ({self.n_lines},)")
            Column(name, numbers(f"column {name}", column).dtype.str, "1", name)  # raises for a name that is reserved
        if self.wavelengths_nm is not None:
            if np.shape(self.wavelengths_nm) != self.memory.shape[2:]:
                shape = np.shape(self.wavelengths_nm)
                raise ArgumentError(f"{shape} wavelengths do not fit {self.memory.shape[2]} bands")
            if np.asarray(self.wavelengths_nm).dtype.kind not in "iuf":
                raise ArgumentError(f"wavelengths are {np.asarray(self.wavelengths_nm)!r:.60}, expected numbers")
            if not np.isfinite(np.asarray(self.wavelengths_nm)).all():
                raise ArgumentError("wavelengths contain NaN or infinity: give a number for each band, or None")
        dimensions = {"x": self.line_shape[0], "y": self.n_lines, "wavelength": self.line_shape[1]}
        made = () if self.saturation is None else (SATURATED.name,)
        check_groups(self.groups, dimensions, (*OTHER_VARIABLES, *self.columns, *made))

    @property
    def line_shape(self) -> tuple[int, int]:
        """(cross-track, wavelength)."""
        return self.memory.shape[1], self.memory.shape[2]

    def line(self, index: int) -> NDArray[Any]:
        """Line number `index` in the order of time, as a view."""
        stored: NDArray[Any] = self.memory[(self.first + index) % len(self.memory)]
        return stored

    def lines(self) -> Iterator[NDArray[Any]]:
        """All lines in the order of time, as views."""
        return (self.line(index) for index in range(self.n_lines))


# ---- names -----------------------------------------------------------------------------------


def day_folder(time_ns: int | None) -> str:
    """Name of the folder for cubes of that UTC day, or of an unknown one.

    >>> day_folder(1_700_000_000_123_456_789), day_folder(None)
    ('2023_11_14', 'unknown_date')
    """
    return "unknown_date" if time_ns is None else utc_of(time_ns).strftime("%Y_%m_%d")


def check_affixes(prefix: Any, suffix: Any) -> None:
    """Raise ArgumentError if prefix or suffix cannot be part of a file's name."""
    n_bytes = 0
    for what, text in (("prefix", prefix), ("suffix", suffix)):
        if not isinstance(text, str):
            raise ArgumentError(f"{what} must be text, or '' for none, got {text!r}")
        if set(text) & set("/\\:") or any(letter < " " for letter in text):
            raise ArgumentError(
                f"{what} {text!r} cannot be part of a file's name: it must be without / \\ : or control characters"
            )
        try:
            n_bytes += len(os.fsencode(text))
        except UnicodeEncodeError as error:
            raise ArgumentError(f"{what} {text!r} cannot be part of a file's name: {error}") from error
    if n_bytes > MAX_AFFIX_BYTES:
        raise ArgumentError(f"prefix and suffix have {n_bytes} bytes, at most {MAX_AFFIX_BYTES} fit into a file name")
    if prefix.startswith("."):
        raise ArgumentError(f"prefix {prefix!r} would hide the file: it must not begin with a dot")


def cube_stem(time_ns: int | None, prefix: str = "", suffix: str = "") -> str:
    """Name of a cube whose first line was taken at `time_ns`, None if that is unknown; without its ending.

    ArgumentError if prefix or suffix cannot be part of a file's name.

    >>> cube_stem(1_700_000_000_123_456_789, prefix="sea_")
    'sea_2023_11_14-22_13_20_123456'
    """
    check_affixes(prefix, suffix)
    begin = "unknown_time" if time_ns is None else utc_of(time_ns).strftime("%Y_%m_%d-%H_%M_%S_%f")
    return f"{prefix}{begin}{suffix}"


# ---- variables -------------------------------------------------------------------------------


def time_variable(times_ns: ArrayLike, dim: str = "y") -> Variable:
    """Times of lines, with attributes by which readers decode them to the nanosecond; unknown ones are missing."""
    times = np.asarray(times_ns, np.int64)
    missing = {"_FillValue": np.int64(UNKNOWN_TIME_NS)} if len(known_times(times)) < len(times) else {}
    return Variable((dim,), times, LABELS_OF_COLUMN["time"] | missing)


def coordinates(cube: Cube) -> dict[str, Variable]:
    """All variables of the file besides the datacube and its checksums."""
    x, bands = cube.line_shape
    variables = {"x": Variable(("x",), np.arange(x), LABELS_OF_AXIS["x"])}
    variables["y"] = Variable(("y",), np.arange(cube.n_lines), LABELS_OF_AXIS["y"])
    if cube.wavelengths_nm is None:
        variables["wavelength"] = Variable(("wavelength",), np.arange(bands), LABELS_OF_AXIS["band"])
    else:
        wavelengths = np.asarray(cube.wavelengths_nm)
        variables["wavelength"] = Variable(("wavelength",), wavelengths, LABELS_OF_AXIS["wavelength"])
    variables["time"] = time_variable(cube.columns["time_ns"])
    described = {item.name: _labels_of(item) for item in cube.column_descriptions}
    made = {"time_ns"} | ({SATURATED.name} if cube.saturation is not None else set())
    for name, column in cube.columns.items():
        if name not in made:
            labels = described.get(name) or {"long_name": name} | LABELS_OF_COLUMN.get(name, {})
            variables[name] = Variable(("y",), np.asarray(column), labels)
    return variables


def _labels_of(column: Column) -> dict[str, Any]:
    return column.labels | LABELS_OF_COLUMN.get(column.name, {})


def written_labels(name: str, long_name: object) -> Mapping[str, str]:
    """The labels that this library writes for a variable that has this long name now; empty for one of the user's.

    >>> written_labels("wavelength", "wavelength_nm")["units"]
    'nm'
    """
    if name == "wavelength":  # with another long name, its units show which it is
        return next((LABELS_OF_AXIS[one] for one in ("band", "wavelength") if _has(LABELS_OF_AXIS[one], long_name)), {})
    if name in OTHER_VARIABLES:
        return LABELS_OF_AXIS.get(name) or LABELS_OF_COLUMN.get(name, {})
    return next((labels for labels in map(_labels_of, (*COLUMNS, SATURATED)) if _has(labels, long_name)), {})


def _has(labels: Mapping[str, str], long_name: object) -> bool:
    return labels["long_name"] == long_name


def checksums(lines_crc32: NDArray[np.uint32]) -> Variable:
    """The checksum of every line."""
    return Variable(("y",), lines_crc32, LABELS_OF_COLUMN["line_crc32"])


def saturated_variable(shares: ArrayLike, saturation: Saturation) -> Variable:
    """The share of saturated pixels of every line."""
    labels = SATURATED.labels | {"full_scale": saturation.full_scale}
    return Variable(("y",), np.asarray(shares, SATURATED.dtype), labels)


def datacube_attributes(level: int | None, coordinate_names: str = "time", arithmetic: Any = "") -> dict[str, str]:
    """Attributes of the datacube at a processing level and `level_arithmetic`; without a level, no quantity."""
    labels = {} if level is None else LABELS[LEVELS[level].quantity if level in LEVELS else "counts"]
    if arithmetic == CUSTOM:
        labels = {"units": "1", "long_name": f"made by {CUSTOM}"}
    described = {"description": "hyperspectral datacube", "ancillary_variables": "line_crc32"}
    return {**labels} | described | {"coordinates": coordinate_names}


# ---- attributes ------------------------------------------------------------------------------


def global_attributes(cube: Cube, created_ns: int | None = None) -> dict[str, Any]:
    """All attributes of the file besides `complete`, which is written last: defaults, the user's, and the library's."""
    created_ns = time.time_ns() if created_ns is None else created_ns
    times = known_times(np.asarray(cube.columns["time_ns"]))
    times = times[~was_never_set(times)]
    coverage = (
        {"time_coverage_start": iso_time(times.min()), "time_coverage_end": iso_time(times.max())} if len(times) else {}
    )
    is_custom = cube.attributes.get("level_arithmetic") == CUSTOM
    known = LEVELS.get(cube.level) if cube.level is not None else None
    steps = f"made by {CUSTOM}" if is_custom else known.description if known else "processed by the user"
    version = {"format_version": 2, "format_reads_from": 1} if cube.groups else {"format_version": 1}
    own: dict[str, Any] = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "format": FORMAT,
        **version,
        "uuid": cube.uuid,
        "id": cube.uuid,
        "n_lines": cube.n_lines,
        **({} if cube.level is None else {"level": cube.level}),
        "processing_level": steps if cube.level is None else f"level {cube.level}: {steps}",
        **coverage,
        "date_created": iso_time(created_ns),
        "history": f"{iso_time(created_ns)} written by openhsi_shared",
    }
    written_later = {"complete", "durability", "format_reads_from", ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS}
    own |= user_attributes(cube.attributes, own.keys() | written_later)
    return DEFAULTS | user_attributes(cube.metadata, own.keys() | written_later | {LINK_ATTRIBUTE}) | own
