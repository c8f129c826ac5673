"""The stages that use references: a dark one is subtracted, a white one divided by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, ReferenceRefused, StageNotApplicable
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.reflectance import Correction, check_panel, correction_of
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.jobs.stages.binning import compiled_bin
from openhsi_shared.jobs.stages.pixels import (
    as_compiled,
    changes_in,
    check_real,
    check_slice,
    compiled_type,
    float_type,
    labels_of,
    range_of,
)
from openhsi_shared.jobs.stages.reference_files import ReferenceFile
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.levels.compiled import compiled_loop
from openhsi_shared.paths import given_text
from openhsi_shared.processing_levels import LABELS

__all__ = ["Dark", "Reflectance", "White"]


class _Reference(Stage):
    """A reference (x, wavelength), the mean of lines: of a file, or of the lines that the stage is given."""

    path: str | None
    lines: slice | None
    takes_strided_out = True

    def __post_init__(self) -> None:
        if self.path is None and self.lines is None:
            raise ArgumentError(f"{self.code}: give path=, a reference, or lines=, those of the cube that show it")
        self.path = _as_text(self.code, "path", self.path)
        check_slice(self.code, "lines", self.lines)

    def check(self, source: LineFormat) -> None:
        """StageNotApplicable if the reference has other pixels, bands, level or exposure. FileError."""
        check_real(self.code, source)
        if self.path is not None:
            self._file(self.path).check(source, self._expected_level(source), self._expected_changes(source))
        else:
            self._surveyed_lines(source)

    def _expected_level(self, source: LineFormat) -> int | None:
        return source.level

    def _expected_changes(self, source: LineFormat) -> list[str]:
        return changes_in(source.labels)

    def _file(self, path: str) -> ReferenceFile:
        return ReferenceFile(self.code, Path(path), self.lines)

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:
        """float32, or float64 for float64 and integers from 32 bits on."""
        return float_type(source.dtype)

    # ---- the mean of lines ----

    def survey_lines(self, source: LineFormat) -> range | None:
        """The lines of the reference, if no file has it."""
        return None if self.path is not None else self._surveyed_lines(source)

    def _surveyed_lines(self, source: LineFormat) -> range:
        return range_of(self.code, "lines", self.lines, source.n_lines, "lines")

    def survey(self, lines: NDArray[Any]) -> tuple[int, NDArray[np.float64]]:
        """Number of lines, and their sum."""
        total = np.empty(lines.shape[1:], np.float64)
        compiled_bin(lines.dtype, total.dtype, is_mean=False)(as_compiled(lines), np.array([1]), total)
        return len(lines), total

    def combine(self, parts: Sequence[Any]) -> NDArray[np.float64]:
        """Their mean. StageNotApplicable if none was good."""
        n = sum(number for number, _ in parts)
        if n == 0:
            raise StageNotApplicable(f"{self.code}: none of the lines of the reference could be read: choose others")
        mean: NDArray[np.float64] = np.sum([total for _, total in parts], axis=0) / n
        return mean

    def _mean(self) -> NDArray[np.float64]:
        """The reference."""
        if self.path is not None:
            return self._file(self.path).mean()
        mean: NDArray[np.float64] = self.surveyed
        return mean

    # ---- with each line ----

    def _compile(self, function: Any, source: LineFormat, reference: NDArray[np.float64]) -> None:
        out = self.out_dtype(source)
        self._operand = _operand(reference, out)
        types = (compiled_type(source.dtype), self._operand.dtype, out)
        self._loop = compiled_loop(function, *(f"{one}:2" for one in types))

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Compute line by line."""
        for line, made in zip(as_compiled(lines), out, strict=True):
            self._loop(line, self._operand, made)


@dataclass
class Dark(_Reference):
    """Subtract a dark reference: the mean of lines that were taken without light.

    The result is float32, or float64 of float64 and of integers from 32 bits on; it may be negative.
    """

    path: str | None = None
    """A reference of a camera, a cube, or a `.npy` file with one reference (cross-track, wavelength). Without it, the
    lines of this cube."""
    lines: slice | None = None
    """Which lines: of the cube at `path`, or of the lines that this stage is given, numbered from the first one."""

    code = "dark"

    def out_format(self, source: LineFormat) -> LineFormat:
        """A difference: it has no level."""
        return super().out_format(source).replace(level=None, labels=labels_of(source, "dark subtracted"))

    def prepare(self, source: LineFormat) -> None:
        """Read the reference: once in each process. Blocks. FileError."""
        self._compile(_subtract, source, self._mean())


@dataclass
class White(_Reference):
    """Reflectance: divide by a white reference, the mean of lines of a target of known reflectance.

    out = pixel x reflectance / mean, float32, or float64 of float64 and of integers from 32 bits on; NaN where the
    reference is not above 0, or infinite. Digital numbers have an offset: subtract a dark reference before (stage
    `dark`), from the white one, too (`dark_path`); with `lines` of this cube it is subtracted already.
    """

    path: str | None = None
    """A reference of a camera, a cube, or a `.npy` file with one reference (cross-track, wavelength). Without it, the
    lines of this cube."""
    lines: slice | None = None
    """Which lines: of the cube at `path`, or of the lines that this stage is given, numbered from the first one."""
    reflectance: float = 1.0
    """Of the target."""
    dark_path: str | None = None
    """The dark reference of the one at `path`, which is subtracted from it; a file as `path`."""

    code = "white"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_finite(self.reflectance) or self.reflectance <= 0:
            raise ArgumentError(f"white: reflectance must be above 0, such as 0.99, got {self.reflectance!r}")
        self.reflectance = float(self.reflectance)
        self.dark_path = _as_text(self.code, "dark_path", self.dark_path)
        if self.dark_path is not None and self.path is None:
            raise ArgumentError("white: dark_path is for the reference at path: for lines of this cube use stage dark")

    def check(self, source: LineFormat) -> None:
        """StageNotApplicable if the reference has other pixels, bands, level or exposure, or lines are reflectance."""
        if source.quantity == "reflectance":
            raise StageNotApplicable("white: the lines are reflectance already: choose a level up to 5, or 7")
        if self.dark_path is not None and source.level is not None:
            raise StageNotApplicable(
                f"white: dark_path={self.dark_path} is subtracted from the reference, but no dark reference is from "
                "the lines: use the stage dark before"
            )
        super().check(source)
        if self.dark_path is not None:
            dark, changes = self._dark(self.dark_path), self._expected_changes(source)
            dark.check(source, self._expected_level(source), changes)

    def _expected_level(self, source: LineFormat) -> int | None:
        """That of the white reference before the dark one is subtracted."""
        return source.level if self.dark_path is None else source.source.level

    def _expected_changes(self, source: LineFormat) -> list[str]:
        """Those of the white reference before the dark one is subtracted from it, as `dark` has from the lines."""
        found = super()._expected_changes(source)
        if self.dark_path is not None and "dark subtracted" in found:
            found.remove("dark subtracted")
        return found

    def _dark(self, path: str) -> ReferenceFile:
        return ReferenceFile(self.code, Path(path), None)

    def out_format(self, source: LineFormat) -> LineFormat:
        """Reflectance, of no level."""
        return super().out_format(source).replace(level=None, quantity="reflectance", labels={**LABELS["reflectance"]})

    def prepare(self, source: LineFormat) -> None:
        """Read the reference: once in each process. Blocks. FileError."""
        white = self._mean()
        if self.dark_path is not None:
            white = white - self._dark(self.dark_path).mean()
        factor = np.full(white.shape, np.nan)
        np.divide(self.reflectance, white, out=factor, where=(white > 0) & np.isfinite(white))
        self._compile(_multiply, source, factor)


@dataclass
class Reflectance(Stage):
    """Reflectance by the dark and white references that the cube itself contains, as `OpenCube.reflectance`.

    out = (pixel - dark) / (white - dark) x panel, float32, or float64 of float64 and of integers from 32 bits on; NaN
    where white is not significantly above dark.
    """

    panel: float = 1.0
    """Reflectance of the white target."""

    code = "reflectance"
    takes_strided_out = True

    def __post_init__(self) -> None:
        self.panel = check_panel(self.panel)

    def check(self, source: LineFormat) -> None:
        """StageNotApplicable if the cube lacks a reference, or a stage before it changed the lines. FileError."""
        check_real(self.code, source)
        if source.level is None or source.level != source.source.level or source.line_shape != source.source.line_shape:
            raise StageNotApplicable(
                f"{self.code}: the references of {source.source.path} belong to its lines as they are in the file: "
                "make it the first stage"
            )
        self._correction(source)

    def _correction(self, source: LineFormat) -> Correction:
        with open_cube(source.source.path) as cube:
            try:
                return correction_of(cube, self.panel)
            except ReferenceRefused as error:
                raise StageNotApplicable(f"{self.code}: {error}") from error

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:
        """float32, or float64 for float64 and integers from 32 bits on."""
        return float_type(source.dtype)

    def out_format(self, source: LineFormat) -> LineFormat:
        """Reflectance, of no level."""
        return super().out_format(source).replace(level=None, quantity="reflectance", labels={**LABELS["reflectance"]})

    def prepare(self, source: LineFormat) -> None:
        """Read the references: once in each process. Blocks. FileError."""
        out = self.out_dtype(source)
        self._operands = [_operand(part, out) for part in self._correction(source)]
        types = (compiled_type(source.dtype), *(operand.dtype for operand in self._operands), out)
        self._loop = compiled_loop(_reflect, *(f"{one}:2" for one in types))

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Compute line by line."""
        for line, made in zip(as_compiled(lines), out, strict=True):
            self._loop(line, *self._operands, made)


def _operand(reference: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The reference in the type of the result, or in float64 if that has no such large numbers."""
    with np.errstate(over="ignore"):
        found = reference.astype(dtype)
    return found if np.array_equal(np.isfinite(found), np.isfinite(reference)) else reference


def _reflect(line: NDArray[Any], dark: NDArray[Any], factor: NDArray[Any], out: NDArray[Any]) -> None:
    for row in range(out.shape[0]):
        for band in range(out.shape[1]):
            out[row, band] = (line[row, band] - dark[row, band]) * factor[row, band]


def _subtract(line: NDArray[Any], reference: NDArray[Any], out: NDArray[Any]) -> None:
    for row in range(out.shape[0]):
        for band in range(out.shape[1]):
            out[row, band] = line[row, band] - reference[row, band]


def _multiply(line: NDArray[Any], reference: NDArray[Any], out: NDArray[Any]) -> None:
    for row in range(out.shape[0]):
        for band in range(out.shape[1]):
            out[row, band] = line[row, band] * reference[row, band]


def _as_text(code: str, name: str, path: Any) -> str | None:
    return None if path is None else given_text(path, f"{name} of {code}", "the path of a reference")
