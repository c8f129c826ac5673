"""Reflectance of a cube by the dark and white references that its file contains."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, FileError, ReferenceRefused
from openhsi_shared.files.lines import FileLines
from openhsi_shared.files.references import FOLDER, Kind, Reference, differences
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.processing_levels import LEVELS

__all__ = ["Correction", "ReflectanceLines", "check_panel", "correction_of"]

SIGNIFICANT = 3.0
"""Standard errors by which white must be above dark: else there is no reflectance."""


class Correction(NamedTuple):
    """Reflectance = (line - dark) * factor, for each pixel."""

    dark: NDArray[np.float64]
    """(cross-track, wavelength)."""
    factor: NDArray[np.float64]
    """panel / (white - dark), NaN where that is too small."""

    @classmethod
    def by(cls, dark: Reference, white: Reference, panel: float) -> "Correction":
        """By two references. NaN where white is not significantly above dark, by the noise of both."""
        difference = white.mean.astype(np.float64) - dark.mean
        error = np.hypot(dark.standard_deviation / dark.n_frames**0.5, white.standard_deviation / white.n_frames**0.5)
        factor = np.full(difference.shape, np.nan)
        np.divide(panel, difference, out=factor, where=(difference > 0) & (difference > SIGNIFICANT * error))
        return cls(dark.mean.astype(np.float64), factor)


class ReflectanceLines(FileLines):
    """Lines of a file as reflectance, computed when they are read."""

    def __init__(self, lines: FileLines, correction: Correction) -> None:
        self._lines, self.shape = lines, lines.shape
        self.dtype = np.result_type(lines.dtype, np.float32)
        self._dark, self._factor = (part.astype(self.dtype) for part in correction)

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read these lines and compute their reflectance."""
        out: NDArray[Any] = np.subtract(self._lines.read(indices), self._dark, dtype=self.dtype)
        out *= self._factor
        return out

    def _read_into(self, first: int, stop: int, out: NDArray[Any], n_threads: int) -> NDArray[np.bool_]:
        stored = np.empty((stop - first, *self.shape[1:]), self._lines.dtype)
        good = self._lines.read_into(first, stop, stored, n_threads)
        np.subtract(stored, self._dark, dtype=self.dtype, out=out)
        out *= self._factor
        return good


def check_panel(panel: Any) -> float:
    """ArgumentError unless it is the reflectance of a target."""
    if not is_finite(panel) or panel <= 0:
        raise ArgumentError(f"panel must be the reflectance of the white target, such as 0.99, got {panel!r}")
    return float(panel)


def correction_of(cube: Any, panel: float) -> Correction:
    """By the groups `/references/dark` and `/references/white` of an OpenCube.

    FileError if it has not both, or one is damaged. ReferenceRefused if its lines are others than those that the
    references belong to, such as those of a job, or are reflectance already.
    """
    dark, white = (_reference_in(cube, kind) for kind in ("dark", "white"))
    return Correction.by(dark, white, check_panel(panel))


def _reference_in(cube: Any, kind: Kind) -> Reference:
    groups = cube.groups[FOLDER].groups if FOLDER in cube.groups else {}
    if kind not in groups:
        why = cube.attributes.get("references_failed") or cube.attributes.get("reference_files") or "none was taken"
        raise FileError(
            f"{cube.path} contains no {kind} reference ({why}): take_reference({kind!r}) before a recording; of "
            "references in other files the stages dark and white of a job make reflectance"
        )
    reference = Reference.of_group(groups[kind], str(cube.path))
    found = differences(reference.attributes, cube.attributes)
    if cube.level is None or reference.mean.shape != cube.lines.shape[1:]:
        found.append("the lines are not those of the camera any more")
    elif LEVELS[cube.level].quantity == "reflectance":
        found.append("the lines are reflectance already")
    if found:
        raise ReferenceRefused(f"the {kind} reference of {cube.path} does not belong to its lines: {'; '.join(found)}")
    return reference
