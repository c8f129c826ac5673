"""The stage that selects bands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.given_numbers import is_finite, is_whole
from openhsi_shared.jobs.stages.pixels import check_slice, range_of
from openhsi_shared.jobs.stages.stage import LineFormat, Stage

__all__ = ["SelectBands"]


@dataclass
class SelectBands(Stage):
    """Keep some bands: those whose centres are from `from_nm` to `to_nm`, both included, or those of these numbers.

    Digital numbers have no level any more: calibrations are for all bands.
    """

    from_nm: float | None = None
    to_nm: float | None = None
    bands: slice | Sequence[int] | None = None
    """Numbers, from 0 on, in increasing order, such as (5, 17, 80), or a slice, such as slice(5, 20)."""

    code = "select_bands"
    takes_strided_out = True

    def __post_init__(self) -> None:
        by_nm = self.from_nm is not None or self.to_nm is not None
        if by_nm == (self.bands is not None):
            raise ArgumentError("select_bands needs either from_nm, to_nm or both, or bands")
        for name in ("from_nm", "to_nm"):
            value = getattr(self, name)
            if value is not None and not is_finite(value):
                raise ArgumentError(f"select_bands: {name} must be a wavelength in nm, got {value!r}")
        if by_nm and _or(self.from_nm, 0) > _or(self.to_nm, math.inf):
            raise ArgumentError(f"select_bands: from_nm={self.from_nm} is above to_nm={self.to_nm}")
        if isinstance(self.bands, slice) or self.bands is None:
            check_slice(self.code, "bands", self.bands)
        else:
            self.bands = _numbers(self.bands)

    def check(self, source: LineFormat) -> None:
        """StageNotApplicable if none of the bands exists, or the wavelengths are needed and unknown."""
        self._kept(source)

    def out_format(self, source: LineFormat) -> LineFormat:
        """Fewer bands."""
        n_rows, n_bands = source.line_shape
        kept = self._kept(source)
        wavelengths = None if source.wavelengths_nm is None else source.wavelengths_nm[kept]
        level = None if source.quantity in (None, "counts") and len(kept) < n_bands else source.level
        return source.replace(line_shape=(n_rows, len(kept)), wavelengths_nm=wavelengths, level=level)

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """(cross-track, wavelength)."""
        return self.out_format(source).line_shape

    def prepare(self, source: LineFormat) -> None:
        """Find the bands."""
        self._bands = self._kept(source)
        first, last = self._bands[[0, -1]].tolist()
        self._slice = slice(first, last + 1) if last + 1 - first == len(self._bands) else None

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Copy the bands."""
        if self._slice is not None:
            np.copyto(out, lines[:, :, self._slice])
        else:
            for line, made in zip(lines, out, strict=True):  # `take` copies an `out` with space between its lines
                np.take(line, self._bands, axis=1, out=made, mode="clip")

    def _kept(self, source: LineFormat) -> NDArray[np.intp]:
        n = source.line_shape[1]
        if self.bands is None:
            return self._between(source)
        if isinstance(self.bands, slice):
            return np.array(range_of(self.code, "bands", self.bands, n, "bands"), np.intp)
        if self.bands[-1] >= n:
            raise StageNotApplicable(f"select_bands: band {self.bands[-1]} does not exist: there are {n}, from 0 on")
        return np.array(self.bands, np.intp)

    def _between(self, source: LineFormat) -> NDArray[np.intp]:
        found = source.wavelengths_nm
        if found is None:
            raise StageNotApplicable(
                f"select_bands: the wavelengths of the {source.line_shape[1]} bands are unknown: give bands=, their "
                "numbers, or process to level 2 or above before"
            )
        is_kept = (found >= _or(self.from_nm, -math.inf)) & (found <= _or(self.to_nm, math.inf))
        if not is_kept.any():
            raise StageNotApplicable(
                f"select_bands: no band is from {_or(self.from_nm, 0):g} to {_or(self.to_nm, math.inf):g} nm: of "
                f"{len(found)} from {found.min():.1f} to {found.max():.1f} nm"
            )
        return np.flatnonzero(is_kept)


def _numbers(given: Any) -> tuple[int, ...]:
    found = list(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else [given]
    are_whole = all(is_whole(one) and one >= 0 for one in found)
    if not found or not are_whole or any(b <= a for a, b in pairwise(found)):
        raise ArgumentError(
            f"select_bands: bands must be numbers from 0 on in increasing order, each once, such as (5, 17, 80), or a "
            f"slice; got {given!r:.80}"
        )
    return tuple(int(one) for one in found)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
