"""Opens saved cubes, written by this library or by openhsi, for reading.

::

    with open_cube("2026_11_20/2026_11_20-10_00_00_000000.nc") as cube:
        line = cube.lines[17]                     # (cross-track, wavelength), compared with its checksum
        cube.dataset.datacube.sel(wavelength=550, method="nearest")
"""

import os
from collections.abc import Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from openhsi_shared.columns import FRAMES_USED, SATURATED
from openhsi_shared.dataset import CONTENTS_CHECKSUMS, LINK_ATTRIBUTE
from openhsi_shared.errors import ArgumentError, FileError, IncompleteFileError
from openhsi_shared.files.contents import Contents
from openhsi_shared.files.damage import broken_file
from openhsi_shared.files.line_columns import (
    axes_of_lines,
    filled_lines,
    numbers_of_lines,
    temperatures_of_lines,
    times_of_lines,
)
from openhsi_shared.files.lines import CheckedLines, DecodedLines, FileLines, PlainLines, SelectedLines
from openhsi_shared.files.linked import Link, LinkedContents, link_in, open_source
from openhsi_shared.files.open_group import OpenGroup, groups_in
from openhsi_shared.files.opening import is_locked, open_hdf5
from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.versions import check_version
from openhsi_shared.groups import Variable
from openhsi_shared.line_times import begin_of
from openhsi_shared.loggers import safe_logger
from openhsi_shared.packages import require
from openhsi_shared.paths import given_path
from openhsi_shared.wavelengths import are_band_numbers, in_nanometres, units_in

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["OpenCube", "open_cube"]

logger = safe_logger(__name__)

AXES = {"x", "y", "wavelength"}


def open_cube(path: str | os.PathLike[str], check: bool = True) -> "OpenCube":
    """Open a cube of this library or of openhsi, in either order of its axes; use it in a `with` block.

    Raises FileError (an OSError) for a file that is not a cube, IncompleteFileError for one that its writer has not
    finished. A file that refers to the cube that it was computed from is read together with that cube: FileError if it
    is nowhere, or was replaced. With `check`, lines that are read are compared with their checksums, if the file has
    any: ChecksumError.
    """
    return OpenCube(given_path(path, kind="the path of a file"), check)


class OpenCube:
    """An open cube, see `open_cube` (FileError, IncompleteFileError). What the file does not contain is None."""

    path: Path
    """The file."""
    lines: FileLines
    """(along-track, cross-track, wavelength), read on access. Of a packed or masked cube decoded: NaN where a pixel is
    missing. Without lines that openhsi never filled."""
    raw_lines: FileLines
    """As `lines`, but the numbers as stored. The same object, unless the cube is packed or masked."""
    dims: tuple[str, ...]
    """Names of the axes in the file, in its order."""
    is_ours: bool
    """Whether this library wrote it, with checksums."""
    n_stored: int
    """Number of lines in the file, with those that are left out."""
    contents: Contents
    """All besides the lines, by path."""
    link: Link | None = None
    """How the file refers to the cube that it was computed from, if it does."""
    source: "OpenCube | None" = None
    """That cube, from which is read what the file lacks."""
    _selected: NDArray[np.intp] | None = None

    def __init__(self, path: Path, check: bool = True) -> None:
        self.path, self._check = path, check
        self._datasets: list[xr.Dataset] = []
        self._file = open_hdf5(path)
        try:
            with broken_file(path):
                self._read_header()
        except BaseException:
            if self.source is not None:
                self.source.close()
            self._file.close()
            raise

    def _read_header(self) -> None:
        file = self._file
        version = check_version(self.path, file.attrs)
        has_lines = "datacube" in file or LINK_ATTRIBUTE not in file.attrs
        if has_lines and ("datacube" not in file or not isinstance(file["datacube"], h5py.Dataset)):
            raise FileError(
                f"{self.path} is not a cube: it contains {sorted(map(str, file))[:9]}, expected a variable datacube"
            )
        # copies by other programs keep these attributes, but contain other lines: netCDF's library marks what it writes
        is_rewritten = "_NCProperties" in file.attrs
        is_complete = "complete" in file.attrs and file.attrs["complete"] == 1
        has_been_started = "complete" in file.attrs or version > 0
        is_checked = "line_crc32" in file or (not has_lines and CONTENTS_CHECKSUMS in file.attrs)
        self.is_ours = not is_rewritten and (is_checked or (has_been_started and not is_complete))
        kind = LinkedContents if LINK_ATTRIBUTE in file.attrs else Contents
        self.contents = kind(self.path, file, self.is_ours, version, self._check)
        if self.is_ours and not is_complete:
            raise IncompleteFileError(f"{self.path} is incomplete: its writer did not finish it; look for another copy")
        if isinstance(self.contents, LinkedContents):
            self._follow(self.contents, has_lines)
        self._packing = self.contents.packing("datacube")
        self.raw_lines = self._own_lines(file["datacube"]) if has_lines else self._lines_of_source()
        self.lines = self.raw_lines if self._packing is None else DecodedLines(self.raw_lines, self._packing)

    def _follow(self, contents: LinkedContents, has_lines: bool) -> None:
        self.link = link_in(self.path, self.attributes)
        if self.link is None:
            return
        try:
            self.source = open_source(self.path, self.link, lambda path: OpenCube(path, self._check))
        except FileError as error:
            if self._check or not has_lines:
                raise
            logger.warning("%s", error)
            return
        contents.follow(self.source, self.link)

    def _lines_of_source(self) -> FileLines:
        if self.source is None or self.link is None:
            raise FileError(f"{self.path} is not a cube: it contains no datacube, and no link to one")
        self.dims, self.n_stored = self.source.dims, self.link.n_lines
        return SelectedLines(self.source.raw_lines, np.arange(len(self.source.lines))[self.link.lines])

    def _own_lines(self, datacube: Any) -> FileLines:
        self.dims = self.contents.root_axes["datacube"]
        if set(self.dims) != AXES or datacube.dtype.kind not in "uif":
            raise FileError(
                f"{self.path} is not a cube: datacube {datacube.dtype} has axes {self.dims}, expected {sorted(AXES)}"
            )
        self.n_stored = int(datacube.shape[self.dims.index("y")])  # with lines that are left out
        if self.is_ours:
            checksums = self.contents.values("line_crc32")
            return CheckedLines(self.path, datacube, self.dims, checksums, self._check)
        self._check_extent(datacube)
        lines = PlainLines(self.path, datacube, self.dims)
        self._selected = filled_lines(self.contents, lines)
        return lines if self._selected is None else SelectedLines(lines, self._selected)

    def _check_extent(self, datacube: Any) -> None:
        """FileError if an unlimited axis is longer than the cube: netCDF would make up the pixels that are missing."""
        for name, n_written, most in zip(self.dims, datacube.shape, datacube.maxshape, strict=True):
            sizes = (
                self._file[variable].shape[axes.index(name)]
                for variable, axes in self.contents.root_axes.items()
                if most is None and name in axes
            )
            n = max(sizes, default=0)
            if n > n_written:
                raise FileError(
                    f"{self.path}: datacube has {n_written} of {n} along {name}: another variable was extended beyond "
                    f"it; cut that one, or write the rest of the cube"
                )

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Global attributes: texts, numbers, arrays of numbers. With `check`, ChecksumError if one is damaged."""
        return self.contents.root_attributes()

    @cached_property
    def groups(self) -> Mapping[str, OpenGroup]:
        """Groups of variables that are stored beside the cube, by name, read on access."""
        return groups_in(self.contents)

    @cached_property
    def channels(self) -> Mapping[str, OpenGroup]:
        """The raw series of the channels that were recorded with the cube, by name; see `docs/file_format.md`."""
        return self.groups["channels"].groups if "channels" in self.groups else {}

    def reflectance(self, panel: float = 1.0) -> FileLines:
        """(line - dark) / (white - dark) * panel by the references in the file, per pixel, as lines read on access.

        `panel` is the reflectance of the white target. NaN where white is not significantly above dark: by less than
        three standard errors. Of float32, of float64 for lines of float64 and integers from 32 bits on. FileError if
        the file has not both references, ReferenceRefused if its lines are others than those that they belong to, such
        as the result of a job, ArgumentError for a `panel` that is not above 0.
        """
        from openhsi_shared.files.reflectance import ReflectanceLines, correction_of

        return ReflectanceLines(self.lines, correction_of(self, panel))

    @cached_property
    def level(self) -> int | None:
        """Processing level; also None for a file of another program, which may have copied an outdated attribute."""
        level = self.attributes.get("level") if self.is_ours else None
        return int(level) if isinstance(level, int | float) else None

    @cached_property
    def _stored_times(self) -> NDArray[np.int64] | None:
        times = times_of_lines(self.contents, self.n_stored)
        return None if times is None else self.of_lines(times)

    @property
    def times_ns(self) -> NDArray[np.int64] | None:
        """UTC time of each line, numpy's NaT (UNKNOWN_TIME_NS) where it is missing. None if all are unknown."""
        times = self._stored_times
        return None if times is None or (len(times) and begin_of(times) is None) else times

    @property
    def times_are_uncertain(self) -> bool:
        """Whether the file has times, but it is not certain which belongs to which line."""
        return self._stored_times is None and self.contents.has("time")

    @cached_property
    def frame_ids(self) -> NDArray[Any] | None:
        """Frame id of each line."""
        ids = self._numbers_of_lines("frame_id")
        return ids if ids is not None and ids.dtype.kind in "iu" else None

    @property
    def frames_per_line(self) -> int:
        """How many frames are one line, with those that were lost: more than 1 if lines are means (`average`)."""
        if not (self.is_ours and self.contents.has(FRAMES_USED.name)):
            return 1
        average = self.attributes.get("average", self.attributes.get("source_average"))
        return int(average) if isinstance(average, int | np.integer) and average > 0 else 1

    @cached_property
    def camera_times_ns(self) -> NDArray[Any] | None:
        """The camera's own clock at each line, -1 where it is unknown."""
        times = self._numbers_of_lines("camera_time_ns")
        return times if times is not None and times.dtype.kind in "iu" else None

    @cached_property
    def temperatures(self) -> NDArray[Any] | None:
        """Temperature of the camera at each line, in celsius."""
        found = temperatures_of_lines(self.contents, self.n_stored)
        return None if found is None else self.of_lines(found)

    @cached_property
    def saturated(self) -> NDArray[np.float32] | None:
        """Share of saturated pixels of each line, 0 to 1: of the pixels of its frame inside `row_slice`."""
        name = SATURATED.name
        is_ours = self.contents.has(name) and self._attribute(name, "long_name") == SATURATED.long_name
        return self._numbers_of_lines(name) if is_ours else None

    @cached_property
    def wavelengths_nm(self) -> NDArray[np.float64] | None:
        """Centre of each band, in its order in the file. None, with a warning, if the units or a value are unknown."""
        if not self.contents.has("wavelength") or self.contents.is_dimension_only("wavelength"):
            return None
        units = units_in(self.contents.attributes("wavelength"))
        values = self.contents.values("wavelength")
        if values.dtype.kind in "iuf":
            values = self.contents.numbers("wavelength")  # decoded
        if are_band_numbers(values, units):
            return None
        try:
            if values.shape != self.lines.shape[2:]:
                raise ArgumentError(f"{values.shape} wavelengths do not fit {self.lines.shape[2]} bands")
            return in_nanometres(values, units)
        except ArgumentError as error:
            logger.warning("%s: %s: the wavelengths are unknown, and pictures are grey", self.path, error)
            return None

    def column(self, name: str) -> NDArray[Any]:
        """The stored values of a small variable, in its shape. FileError if there is none, ChecksumError if damaged."""
        return self.contents.values(name)

    def of_lines(self, values: NDArray[Any]) -> NDArray[Any]:
        """Those of the values of each line in the file that belong to `lines`: lines may be left out.

        FileError if there is not one for each line: another program extended the axis, and wrote only some variables.
        """
        if len(values) != self.n_stored:
            raise FileError(f"{self.path} has {len(values)} values along y, expected one for each of {self.n_stored}")
        return values if self._selected is None else values[self._selected]

    def is_column(self, name: str) -> bool:
        """Whether a variable along `y` has a value for each line of the file."""
        return self.contents.dims(name) == ("y",) and self.contents.shape(name) == (self.n_stored,)

    @property
    def axes_of_lines(self) -> list[str]:
        """Names of all axes along which the file has a value for each line."""
        return axes_of_lines(self.contents, self.n_stored)

    def _numbers_of_lines(self, name: str) -> NDArray[Any] | None:
        values = numbers_of_lines(self.contents, name, self.n_stored)
        return None if values is None else self.of_lines(values)

    def _column(self, name: str) -> NDArray[Any] | None:
        return self.contents.numbers(name) if self.contents.has(name) else None

    def _attribute(self, name: str, attribute: str) -> Any:
        return self.contents.attributes(name).get(attribute)

    @cached_property
    def dataset(self) -> "xr.Dataset":
        """The file for xarray, without its groups, in the order of its own axes; lines are read on access.

        With `check`, each line that is accessed is read completely and compared with its checksum. PackageMissing
        without xarray.
        """
        require("OpenCube.dataset", "xarray")
        from openhsi_shared.files.lazy import dataset_of, foreign_dataset

        if self.is_ours and self._check:
            labels = self.contents.attributes("datacube")
            if self._packing is not None:  # the lines are decoded
                labels = {name: value for name, value in labels.items() if name not in PACKING_ATTRIBUTES}
            return dataset_of(self.lines, self.dims, labels, self._variables(), self.attributes)
        with broken_file(self.path):
            if is_locked(self._file) and self._has_netcdf_types():
                dataset = foreign_dataset(self.path, engine="netcdf4")
            else:  # netCDF's library opens no file that it cannot lock, and crashes on floats of 2 and 16 bytes
                require("OpenCube.dataset of this file", "h5netcdf")
                locking = {} if is_locked(self._file) else {"locking": False}
                dataset = foreign_dataset(self.path, engine="h5netcdf", driver_kwds=locking)
            self._datasets.append(dataset)
            return self._as_lines(dataset)

    def _as_lines(self, dataset: "xr.Dataset") -> "xr.Dataset":
        """The dataset of xarray, with the lines and pixels that `lines` has."""
        from openhsi_shared.files.lazy import with_lines

        if self._selected is not None:
            axes = dict.fromkeys(self.axes_of_lines, self._selected)
            dataset = dataset.isel(axes)
        elif self._packing is None:
            return dataset
        return with_lines(dataset, self.lines, self.dims)

    def _has_netcdf_types(self) -> bool:
        """Whether all variables are of types that netCDF has: its library crashes on floats of 2 or 16 bytes."""
        types = (one.dtype for one in self._file.values() if isinstance(one, h5py.Dataset))
        return all(dtype.kind != "f" or dtype.itemsize in (4, 8) for dtype in types)

    def _variables(self) -> dict[str, Variable]:
        """All small variables; those that another program added and that cannot be read are left out."""
        found = {}
        for name in self.contents.members("")[0]:
            if name != "datacube":
                try:
                    found[name] = self.contents.variable(name)
                except FileError as error:
                    if self.contents.is_written(name):
                        raise
                    logger.warning("an added variable cannot be read and is left out: %s", error)
        return found

    def check_not_empty(self) -> None:
        """FileError if it has no line, no pixel or no band."""
        if 0 in self.lines.shape:
            shape = f"{self.lines.shape} (along-track, cross-track, wavelength)"
            raise FileError(f"{self.path} is empty: its shape is {shape}")

    def show(self, **options: Any) -> Any:
        """Show the cube in colours; options as those of `SharedDataCube.show`. FileError if it is empty."""
        self.check_not_empty()
        from openhsi_shared.show import show_lines

        return show_lines(self.lines, self.wavelengths_nm, **options)

    def _repr_html_(self) -> str:
        from openhsi_shared.show import table_of_cube

        return table_of_cube(self) if self._file else f"<code>{escape(repr(self))}, closed</code>"

    def __repr__(self) -> str:
        return f"<OpenCube {self.path} {self.lines.shape} {self.lines.dtype}>"

    def close(self) -> None:
        """Close the file. Idempotent."""
        if isinstance(self.raw_lines, CheckedLines):
            self.raw_lines.close()
        if self.source is not None:
            self.source.close()
        for dataset in self._datasets:
            dataset.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
