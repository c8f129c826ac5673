"""A saved cube, open to be looked at and worked with: ours or openhsi's.

with open_cube("2026_11_20/2026_11_20-10_00_00_000000.nc") as cube:
    line = cube.lines[17]                     # (cross-track, wavelength), compared with its checksum
    cube.dataset.datacube.sel(wavelength=550, method="nearest")
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from openhsi_shared.dataset import ATTRIBUTE_CHECKSUMS, FORMAT, decode_times
from openhsi_shared.durable import PART
from openhsi_shared.errors import ArgumentError, ChecksumError, FileError, IncompleteFileError
from openhsi_shared.files.axes import axes_of
from openhsi_shared.files.columns import read_column
from openhsi_shared.files.image import attribute_crc32
from openhsi_shared.files.lines import CheckedLines, FileLines, PlainLines

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["OpenCube", "open_cube"]

AXES = {"x", "y", "wavelength"}


def open_cube(path: str | os.PathLike[str], check: bool = True) -> "OpenCube":
    """Open a cube of ours or of openhsi's, in either order of its axes; use it in a `with` block.

    Raises FileError (an OSError) for what is no cube, IncompleteFileError for one that its writer has not finished.
    With `check`, lines that are read are compared with their checksums, if the file has any: ChecksumError.
    """
    return OpenCube(path_of(path), check)


def path_of(path: str | os.PathLike[str]) -> Path:
    """The path of a file. ArgumentError for what is none."""
    try:
        return Path(path)
    except TypeError as error:
        raise ArgumentError(f"path must be that of a file, got {path!r}") from error


class OpenCube:
    """What `open_cube` returns. Whatever a file does not tell is None."""

    path: Path
    lines: FileLines
    """(along-track, cross-track, wavelength), read when asked for."""
    dims: tuple[str, ...]
    """Names of the axes in the file, in its order."""
    is_ours: bool
    """Whether it has checksums."""

    def __init__(self, path: Path, check: bool = True) -> None:
        self.path, self._check = path, check
        self._datasets: list[xr.Dataset] = []
        self._file = _opened(path)
        try:
            with broken_file(path):
                self._look()
        except BaseException:
            self._file.close()
            raise

    def _look(self) -> None:
        file = self._file
        if "datacube" not in file or not isinstance(file["datacube"], h5py.Dataset):
            raise FileError(f"{self.path} is no cube: it holds {sorted(file)[:9]}, expected a variable datacube")
        datacube = file["datacube"]
        self.dims = self._axes["datacube"]
        if set(self.dims) != AXES or datacube.dtype.kind not in "uif":
            raise FileError(
                f"{self.path} is no cube: datacube {datacube.dtype} lies on {self.dims}, expected {sorted(AXES)}"
            )
        # copies made by other programs keep our attributes, but hold other lines: netCDF's library marks what it writes
        is_rewritten = "_NCProperties" in file.attrs
        is_complete = "complete" in file.attrs and file.attrs["complete"] == 1
        is_begun = "complete" in file.attrs or _plain(file.attrs.get("format")) == FORMAT
        self.is_ours = not is_rewritten and ("line_crc32" in file or (is_begun and not is_complete))
        if not self.is_ours:
            self.lines = PlainLines(self.path, datacube, self.dims)
            return
        if not is_complete:
            raise IncompleteFileError(f"{self.path} is incomplete: its writer did not finish it; look for another copy")
        with damaged(self.path, "line_crc32"):
            checksums = read_column(self.path, file["line_crc32"])
        self.lines = CheckedLines(self.path, datacube, self.dims, checksums, self._check)

    @cached_property
    def _axes(self) -> dict[str, tuple[str, ...]]:
        return axes_of(self._file)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Global attributes: texts, numbers, rows of numbers. With `check`, ChecksumError if one is damaged."""
        with broken_file(self.path):
            attributes = _attributes_of(self._opened)
            if self.is_ours and self._check:
                self._check_attributes(attributes)
            return attributes

    def _check_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Compare the long ones with their checksums; the short ones, HDF5 has compared."""
        for name, written in json.loads(_plain(self._opened.attrs.get(ATTRIBUTE_CHECKSUMS, "{}"))).items():
            if name not in attributes or attribute_crc32(attributes[name]) != written:
                raise ChecksumError(
                    f"{self.path}: the attribute {name} is damaged: its checksum is not the one that was written; "
                    f"open the file with check=False to see what is left"
                )

    @cached_property
    def level(self) -> int | None:
        """Processing level; None, too, for a file that others wrote, who copy what we said of the lines before."""
        level = self.attributes.get("level") if self.is_ours else None
        return int(level) if isinstance(level, int | float) else None

    @cached_property
    def times_ns(self) -> NDArray[np.int64] | None:
        """UTC time of each line."""
        times = self._column("time")
        return None if times is None else decode_times(times, str(self._attribute("time", "units")))

    @cached_property
    def frame_ids(self) -> NDArray[Any] | None:
        """The camera's number of each line."""
        return self._column("frame_id")

    @cached_property
    def temperatures(self) -> NDArray[Any] | None:
        """Temperature of the camera at each line, in celsius."""
        return self._column("temperature")

    @cached_property
    def wavelengths_nm(self) -> NDArray[np.float64] | None:
        """Middle of each band. None, too, for openhsi's plain 0, 1, 2, ..."""
        values = self._column("wavelength")
        if values is None or self._attribute("wavelength", "units") == "1":
            return None
        return None if np.array_equal(values, np.arange(len(values))) else np.asarray(values, np.float64)

    def column(self, name: str) -> NDArray[Any]:
        """Return a small variable of the file as it is. FileError if there is none, ChecksumError if damaged."""
        values = self._column(name)
        if values is None:
            raise FileError(f"{self.path} has no variable {name!r}; it has {sorted(self._opened)}")
        return values

    def _column(self, name: str) -> NDArray[Any] | None:
        with damaged(self.path, name):
            if name not in self._opened:
                return None
            return read_column(self.path, self._opened[name]) if self.is_ours else self._opened[name][()]

    def _attribute(self, name: str, attribute: str) -> Any:
        with broken_file(self.path):
            return _attributes_of(self._opened[name]).get(attribute)

    @cached_property
    def dataset(self) -> "xr.Dataset":
        """The whole file for xarray, in the order of its own axes; the datacube is read when it is worked with.

        With `check`, each line that this touches is read whole and compared with its checksum.
        """
        import xarray as xr

        if isinstance(self.lines, CheckedLines) and self._check:
            from openhsi_shared.files.lazy import dataset_of

            variables = {name: self._variable(name) for name in self._opened if name not in ("datacube",)}
            return dataset_of(self.lines, self.dims, self._labels("datacube"), variables, self.attributes)
        with broken_file(self.path):
            dataset = xr.open_dataset(self.path, engine="netcdf4")
        self._datasets.append(dataset)
        return dataset

    def _variable(self, name: str) -> tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]:
        return self._axes[name], self.column(name), self._labels(name)

    def _labels(self, name: str) -> dict[str, Any]:
        with broken_file(self.path):
            return _attributes_of(self._opened[name])

    @property
    def _opened(self) -> Any:
        if not self._file:
            raise ArgumentError(f"{self.path} is closed: open it again with open_cube")
        return self._file

    def show(self, **options: Any) -> Any:
        """Show the cube in colours; options as those of `SharedDataCube.show`."""
        from openhsi_shared.show import show_lines

        return show_lines(self.lines, self.wavelengths_nm, **options)

    def _repr_html_(self) -> str:
        from openhsi_shared.files.describing import html_of

        return html_of(self) if self._file else f"<code>{escape(repr(self))}, closed</code>"

    def __repr__(self) -> str:
        return f"<OpenCube {self.path} {self.lines.shape} {self.lines.dtype}>"

    def close(self) -> None:
        """Close the file; calling it twice is once."""
        if isinstance(self.lines, CheckedLines):
            self.lines.close()
        for dataset in self._datasets:
            dataset.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _opened(path: Path) -> Any:
    try:
        if path.is_fifo():
            raise FileError(f"{path} is a pipe, not a file: whoever opens it waits for what may never come")
        return h5py.File(path, "r", locking="best-effort")
    except FileError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EPERM, errno.ENAMETOOLONG):
            raise FileError(error.errno, os.strerror(error.errno), str(path)) from error
        raise _unreadable(path, error) from error
    except (RuntimeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> FileError:
    """What to say of a file that HDF5 cannot open: a writer may be at work on it."""
    part = PART.fullmatch(path.name)
    if part is None:
        return FileError(f"{path} is no NetCDF-4 file, or a damaged one: {error}")
    return IncompleteFileError(
        f"{path} is incomplete: its writer has not finished it; wait until it is called {part['name']}, or, if its "
        f"writer is dead, call openhsi_shared.recover({str(path.parent)!r})"
    )


@contextlib.contextmanager
def broken_file(path: Path) -> Iterator[None]:
    """Say FileError for whatever HDF5 finds wrong with a file."""
    try:
        yield
    except (FileError, ArgumentError):
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, MemoryError) as error:
        raise FileError(f"{path} is damaged: {error}") from error


@contextlib.contextmanager
def damaged(path: Path, name: str) -> Iterator[None]:
    """Say ChecksumError for a variable that cannot be read."""
    try:
        yield
    except (FileError, ArgumentError):
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise ChecksumError(f"{path}: the variable {name} is damaged: {error}") from error


HIDDEN = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}
HIDDEN |= {ATTRIBUTE_CHECKSUMS}


def _attributes_of(target: Any) -> dict[str, Any]:
    """What is said of a variable or file, without what HDF5 and netCDF say to themselves."""
    return {name: _plain(value) for name, value in _items(target.attrs) if name not in HIDDEN}


def _items(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in attributes:
        if name not in HIDDEN:
            yield name, attributes[name]


def _plain(value: Any) -> Any:
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value.tolist()]
    return value.item() if isinstance(value, np.generic) else value
