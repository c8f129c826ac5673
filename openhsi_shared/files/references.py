"""Dark and white references: the mean of frames without light, or of a white target, as small files.

A file `DIR/references/KIND_TIME.reference.nc` has the mean and the standard deviation of each pixel at the level of the
camera, and as attributes how it was taken. Cubes contain the same in their groups `/references/dark` and `white`.
"""

import dataclasses
import hashlib
import json
import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import dataset
from openhsi_shared.attributes import attribute_value
from openhsi_shared.dataset import ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS, FORMAT
from openhsi_shared.durable import PartFile, make_folder, save_error
from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.damage import broken_file
from openhsi_shared.files.table_file import OpenTable, is_table, write_variables
from openhsi_shared.groups import Group, Variable
from openhsi_shared.line_times import iso_time
from openhsi_shared.paths import REFERENCE, given_path

if TYPE_CHECKING:
    from openhsi_shared.files.open_group import OpenGroup

__all__ = ["FOLDER", "KINDS", "Kind", "Reference", "check_kind", "differences", "is_reference", "newest_references"]

Kind = Literal["dark", "white"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FOLDER = "references"
"""Name of the folder, beside the folders of days, and of the group in a cube."""
AXES = ("x", "wavelength")
MEAN, DEVIATION = "mean", "standard_deviation"
OF_THE_FILE = {"Conventions", "format", "format_version", "format_reads_from", "uuid", "title", "history"} | {
    *("complete", ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS)
}
"""Attributes of a file that are not of the reference."""
OF_SETTINGS = ("resolution", "row_slice", "win_offset", "win_resolution", "binxy", "pixel_format")
OF_LEVELS = ("fwhm_nm", "luminance")
"""Settings by which levels above 0 differ."""
SAME_EXPOSURE = 1e-4
"""Relative difference of two exposures that are the same, as a camera reports them."""


def check_kind(kind: Any) -> Kind:
    """ArgumentError unless it is "dark" or "white"."""
    if kind not in KINDS:
        raise ArgumentError(f"a reference is 'dark' or 'white', got {kind!r}")
    found: Kind = kind
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """A dark or white reference of a camera."""

    kind: Kind
    mean: NDArray[np.float32]
    """(cross-track, wavelength) of lines of the camera's level."""
    standard_deviation: NDArray[np.float32]
    """Of one line, in the same shape."""
    n_frames: int
    time_ns: int
    """UTC, middle of the frames."""
    temperature: float
    """Of the sensor, in celsius; NaN if it is unknown."""
    saturated: float
    """Share of saturated pixels within `row_slice`, in raw frames, 0 to 1."""
    brightness: float
    """Of raw frames within `row_slice`, as a share of full scale: the mean of a dark one, the median of a white one."""
    units: str
    """Of `mean`."""
    attributes: Mapping[str, Any]
    """How it was taken, as in the file of a cube: camera, settings, exposure, level."""
    wavelengths_nm: NDArray[np.float64] | None = None
    path: Path | None = None
    """The file; None for one that is in no file, or in a cube."""
    sha256: str = ""
    """Of the file."""

    def __str__(self) -> str:
        at = f", sensor at {self.temperature:.1f} C" if math.isfinite(self.temperature) else ""
        exposure = self.attributes.get("exposure_ms")
        return (
            f"{self.kind}: mean of {self.n_frames} frames"
            + (f" of {exposure:g} ms" if exposure is not None else "")
            + f", {100 * self.brightness:.1f} % of full scale, {100 * self.saturated:.3g} % saturated{at}"
        )

    # ---- files ----

    def write(self, directory: Path) -> Self:
        """Write it as a file in the folder `references` of `directory`, durably; blocks. Never overwrites a file.

        Returns the reference with its path. SaveError.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise save_error(error, directory) from error
        folder = make_folder(directory, FOLDER)
        stem = dataset.cube_stem(self.time_ns, prefix=f"{self.kind}_")
        with PartFile(folder, f"{stem}{REFERENCE}.nc") as part:
            write_variables(part, *self._contents())
            path = part.publish(stem, f"{REFERENCE}.nc")
        return dataclasses.replace(self, path=path, sha256=checksum_of(path))

    def _contents(self) -> tuple[dict[str, int], dict[str, Variable], dict[str, Any]]:
        group = self.group({})
        variables = dict(group.variables)
        if self.wavelengths_nm is not None:
            labels = dataset.LABELS_OF_AXIS["wavelength"]
            variables["wavelength"] = Variable(("wavelength",), np.asarray(self.wavelengths_nm), labels)
        attributes: dict[str, Any] = {
            "Conventions": "CF-1.11, ACDD-1.3",
            "format": FORMAT,
            "format_version": 2,
            "format_reads_from": 1,
            "uuid": str(uuid.uuid4()),
            "title": f"{self.kind} reference",
            "history": f"{iso_time(time.time_ns())} written by openhsi_shared",
        }
        own = {name: attribute_value(value) for name, value in group.attributes.items()}
        return dict(zip(AXES, self.mean.shape, strict=True)), variables, attributes | own

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a file. FileError, also ChecksumError, if it is missing, damaged, or no reference."""
        found = given_path(path, "a reference", "the path of a file")
        sha256 = checksum_of(found)
        with OpenTable(found) as table, broken_file(found):
            if not table.contents.has(MEAN):
                raise FileError(f"{found} is no reference: it has no variable {MEAN!r}")
            variables = {name: table.contents.variable(name) for name in (MEAN, DEVIATION)}
            known = table.contents.has("wavelength") and not table.contents.is_dimension_only("wavelength")
            wavelengths = table.contents.values("wavelength") if known else None
            return cls._made_of(variables, table.attributes, wavelengths, str(found), path=found, sha256=sha256)

    # ---- groups of cubes ----

    def group(self, about: Mapping[str, Any]) -> Group:
        """The group of a cube's file, with `about` as further attributes."""
        labels = {"units": self.units}
        variables = {
            MEAN: Variable(AXES, self.mean, labels | {"long_name": f"mean of {self.n_frames} lines"}),
            DEVIATION: Variable(AXES, self.standard_deviation, labels | {"long_name": "standard deviation of a line"}),
        }
        own = {
            "kind": self.kind,
            "n_frames": self.n_frames,
            "time": iso_time(self.time_ns),
            "time_ns": self.time_ns,
            "temperature": self.temperature,
            "saturated": self.saturated,
            "brightness": self.brightness,
        }
        return Group(variables, {**self.attributes, **own, **about})

    @classmethod
    def of_group(cls, group: "OpenGroup", where: str) -> Self:
        """Of a group of the cube `where`. FileError if it is damaged, or none of this library."""
        return cls._made_of(group.variables, group.attributes, None, f"{where}{group.path}")

    @classmethod
    def _made_of(
        cls,
        variables: Mapping[str, Variable],
        attributes: Mapping[str, Any],
        wavelengths_nm: NDArray[Any] | None,
        where: str,
        **of_file: Any,
    ) -> Self:
        try:
            mean, deviation = variables[MEAN], variables[DEVIATION]
            if mean.dims != AXES or deviation.data.shape != mean.data.shape:
                raise ValueError(f"its mean has the axes {mean.dims}")
            return cls(
                kind=check_kind(attributes["kind"]),
                mean=np.ascontiguousarray(mean.data, np.float32),
                standard_deviation=np.ascontiguousarray(deviation.data, np.float32),
                n_frames=int(attributes["n_frames"]),
                time_ns=int(attributes["time_ns"]),
                temperature=float(attributes["temperature"]),
                saturated=float(attributes["saturated"]),
                brightness=float(attributes["brightness"]),
                units=str(mean.attributes.get("units", "1")),
                attributes={name: value for name, value in attributes.items() if name not in OF_THE_FILE},
                wavelengths_nm=wavelengths_nm,
                **of_file,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise FileError(f"{where} is no reference of this library: {error!r}; take it again") from error


def newest_references(directory: Path) -> dict[Kind, Path]:
    """The newest file of each kind in the folder `references` of `directory`, by the times in their names."""
    ending = f"{REFERENCE}.nc"
    found = {kind: (directory / FOLDER).glob(f"{kind}_*{ending}") for kind in KINDS}
    newest = {
        kind: max(paths, key=lambda path: path.name.removesuffix(ending), default=None) for kind, paths in found.items()
    }
    return {kind: path for kind, path in newest.items() if path is not None}


def is_reference(path: Path) -> bool:
    """Whether a file is one of `Reference.write`. FileError if it cannot be opened."""
    if not is_table(path):
        return False
    with OpenTable(path) as table:
        return table.contents.has(MEAN)


def checksum_of(path: Path) -> str:
    """SHA-256 of a file. FileError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"the reference {path} cannot be read: {error.strerror}") from error


# ---- whether a reference belongs to lines ----


def differences(reference: Mapping[str, Any], lines: Mapping[str, Any]) -> list[str]:
    """What makes a reference unfit for lines, by the attributes of both: camera, exposure, window, binning, format,
    level. Each in words; none if it fits. What one of them does not contain is not compared.
    """
    own, other = _conditions(reference), _conditions(lines)
    return [
        f"its {name} is {own[name]}, not {other[name]}"
        for name in own
        if name in other and not _is_same(name, own[name], other[name])
    ]


def _conditions(attributes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        settings = json.loads(attributes.get("settings", "{}"))
    except (TypeError, ValueError):
        settings = {}
    names = ("camera", "camera_id", "camera_name", "level", "level_arithmetic", "exposure_ms")
    found = {"level": settings.get("processing_lvl")} | {name: attributes.get(name) for name in names}
    level = found["level"] = attributes.get("level", settings.get("processing_lvl"))
    found |= {name: settings.get(name, ()) for name in OF_SETTINGS if name in settings}
    if isinstance(level, int | float) and level > 0:
        found["calibration_sha256"] = attributes.get("calibration_sha256")
        found |= {name: settings.get(name) for name in OF_LEVELS}
    return {name: value for name, value in found.items() if value is not None or name in OF_SETTINGS}


def _is_same(name: str, one: Any, other: Any) -> bool:
    if name == "exposure_ms":
        return math.isclose(one, other, rel_tol=SAME_EXPOSURE)
    return bool(one == other)
