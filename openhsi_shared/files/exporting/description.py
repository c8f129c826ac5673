"""What a file contains besides the pixels: all that a writer of another format needs before the first line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.dataset import (
    LABELS_OF_AXIS,
    Cube,
    checksums,
    coordinates,
    datacube_attributes,
    global_attributes,
    time_variable,
)
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.checksums import COLUMN_CHECKSUM
from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.reading import OpenCube
from openhsi_shared.groups import Group, Variable
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processing_levels import LEVELS
from openhsi_shared.rgb import preview_bands

__all__ = ["Description", "described", "description_of"]

logger = safe_logger(__name__)

OF_THE_FILE = frozenset(
    {"complete", "attributes_crc32", "contents_crc32", "format_version", "format_reads_from", "durability"}
)
"""Attributes that describe the file that is copied, not the cube."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Description:
    """All besides the pixels."""

    n_lines: int
    line_shape: tuple[int, int]
    """(cross-track, wavelength)."""
    dtype: np.dtype[Any]
    variables: Mapping[str, Variable]
    """Along `x`, `y` and `wavelength`, with their coordinates; without the datacube."""
    labels: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the datacube."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Of the file, without `complete`."""
    groups: Mapping[str, Group] = field(default_factory=dict)
    wavelengths_nm: NDArray[np.float64] | None = None

    @property
    def line_bytes(self) -> int:
        """Bytes of a line."""
        return self.line_shape[0] * self.line_shape[1] * self.dtype.itemsize

    @property
    def columns(self) -> dict[str, Variable]:
        """The variables with one value for each line."""
        return {name: variable for name, variable in self.variables.items() if variable.dims == ("y",)}

    @property
    def fwhm_nm(self) -> float | None:
        """Width of the bands, if they were made by binning to a width."""
        try:
            width = json.loads(str(self.attributes.get("settings", "{}"))).get("fwhm_nm")
        except (ValueError, AttributeError):
            return None
        level = LEVELS.get(self.attributes.get("level", -1))
        return float(width) if width and level is not None and level.binning else None

    @property
    def colour_bands(self) -> list[int] | None:
        """Indices of a red, a green and a blue band; None if the wavelengths do not show them."""
        bands = np.arange(self.line_shape[1])
        found = [bands[band] for band in preview_bands(self.wavelengths_nm, len(bands))]
        return [int(numbers[(len(numbers) - 1) // 2]) for numbers in found] if len(found) == 3 else None


def described(cube: OpenCube) -> Description:
    """Describe an open cube. Its packed pixels count as decoded, and lines that were never filled as absent.

    FileError if it is empty; ChecksumError if something is damaged. What another program added and what the formats
    cannot store is left out, with a warning.
    """
    cube.check_not_empty()
    n_lines, *line_shape = cube.lines.shape
    labels = dict(cube.contents.attributes("datacube"))
    labels.pop("dtype", None)  # xarray's, of booleans that it stores as int8; here they are int8
    if cube.lines is not cube.raw_lines:
        labels = {name: value for name, value in labels.items() if name not in PACKING_ATTRIBUTES}
    return Description(
        n_lines=n_lines,
        line_shape=(line_shape[0], line_shape[1]),
        dtype=np.dtype(cube.lines.dtype).newbyteorder("="),
        variables=_variables(cube),
        labels=labels,
        attributes={name: value for name, value in cube.attributes.items() if name not in OF_THE_FILE},
        groups=_groups(cube),
        wavelengths_nm=cube.wavelengths_nm,
    )


def description_of(
    cube: Cube, labels: Mapping[str, Any] = MappingProxyType({}), lines_crc32: NDArray[np.uint32] | None = None
) -> Description:
    """Describe a cube that is to be saved, as its NetCDF file would be; `labels`: further ones of the datacube."""
    variables = coordinates(cube)
    if lines_crc32 is not None:
        variables["line_crc32"] = checksums(lines_crc32)
    of_level = datacube_attributes(cube.level, "time", cube.attributes.get("level_arithmetic"))
    wavelengths = cube.wavelengths_nm
    return Description(
        n_lines=cube.n_lines,
        line_shape=cube.line_shape,
        dtype=cube.memory.dtype,
        variables=variables,
        labels={**of_level, **labels},
        attributes=global_attributes(cube),
        groups=cube.groups,
        wavelengths_nm=None if wavelengths is None else np.asarray(wavelengths, np.float64),
    )


def _variables(cube: OpenCube) -> dict[str, Variable]:
    sizes = dict(zip(("y", "x", "wavelength"), cube.lines.shape, strict=True))
    found = {}
    is_same = cube.is_ours and cube.lines is cube.raw_lines
    outdated = {"line_crc32": not is_same, "time": cube.times_ns is None}  # after changes by other programs
    for name in cube.contents.members("")[0]:
        if name == "datacube" or outdated.get(name) or cube.contents.is_dimension_only(name):
            continue
        try:
            dims, data, attributes = cube.contents.variable(name)
        except FileError as error:
            if cube.contents.is_written(name):
                raise
            logger.warning("an added variable cannot be read and is left out: %s", error)
            continue
        if dims[:1] == ("y",) and len(data) == cube.n_stored:
            data = cube.of_lines(data)
        if not dims or data.dtype.kind not in "iuf" or tuple(sizes.get(dim) for dim in dims) != data.shape:
            logger.info("%s: the variable %s is not along the axes of the cube, and is left out", cube.path, name)
            continue
        kept = {key: value for key, value in attributes.items() if key not in (COLUMN_CHECKSUM, "attributes_crc32")}
        found[name] = Variable(dims, data, kept)
    for name, size in sizes.items():
        label = LABELS_OF_AXIS["band" if name == "wavelength" else name]
        found.setdefault(name, Variable((name,), np.arange(size), label))
    if cube.times_ns is not None:  # also where openhsi stores them on an axis of their own
        found["time"] = time_variable(cube.times_ns)
    return found


def _groups(cube: OpenCube) -> dict[str, Group]:
    found = {}
    for name, group in cube.groups.items():
        try:
            found[name] = group.read()
        except ArgumentError as error:
            logger.warning("%s: the group %s is left out: %s", cube.path, name, error)
    return found
