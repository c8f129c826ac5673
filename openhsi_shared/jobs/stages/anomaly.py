"""The stage that finds anomalies: pixels whose spectrum is far from those of the others."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.sampling import evenly_spread
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.loggers import safe_logger
from openhsi_shared.moments import NO_PIXELS, Background, Moments, background_of, compile_loops, joined, moments_of

__all__ = ["ReedXiaoli"]

logger = safe_logger(__name__)


@dataclass
class ReedXiaoli(Stage):
    """Anomalies by Reed and Xiaoli: the squared Mahalanobis distance of each pixel from the mean spectrum.

    (p - m)^T C^-1 (p - m), with mean m and covariance C of the pixels of at most `n` lines, evenly distributed over
    the cube: float32 (cross-track, 1), computed in float64. Of pixels with normal distribution it
    has a mean of about the number of bands. A pixel with a band that is not finite is NaN, and does not count in m and
    C. Directions without variance, such as of dead bands, have a smallest variance, 1e-10 of the largest one.

    I. S. Reed, X. Yu: Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral distribution.
    IEEE Trans. Acoustics, Speech, Signal Processing 38 (1990) 1760-1770.
    """

    code = "rx"
    takes_strided_out = True

    n: int = 256
    """Lines that mean and covariance are made of."""

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int | np.integer) or self.n < 1:
            raise ArgumentError(f"rx: n must be a number of lines >= 1, got {self.n!r}")

    def check(self, source: LineFormat) -> None:
        """Refuse lines of one band, of complex numbers, and cubes with fewer pixels than bands need."""
        n_pixels, n_bands = source.line_shape
        if np.dtype(source.dtype).kind not in "biuf":
            raise StageNotApplicable(f"rx: the pixels are {source.dtype}, expected real numbers")
        if n_bands < 2:
            raise StageNotApplicable("rx: the pixels have one band, expected a spectrum of 2 or more")
        n_surveyed = len(self.survey_lines(source)) * n_pixels
        if n_surveyed <= n_bands:
            raise StageNotApplicable(
                f"rx: a covariance of {n_bands} bands needs more than {n_bands} pixels, and {n_surveyed} are surveyed: "
                "expected more lines, or fewer bands, as by the stages bin_bands or select_bands before"
            )

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """One value for each pixel."""
        return source.line_shape[0], 1

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:  # noqa: ARG002 - part of the protocol
        """float32."""
        return np.dtype(np.float32)

    def out_format(self, source: LineFormat) -> LineFormat:
        """A distance without unit."""
        name = f"squared Mahalanobis distance from the mean spectrum of {len(self.survey_lines(source))} lines"
        labels = {"units": "1", "long_name": name}
        return super().out_format(source).replace(wavelengths_nm=None, level=None, quantity=None, labels=labels)

    def survey_lines(self, source: LineFormat) -> range:
        """At most `n` lines, evenly distributed."""
        return evenly_spread(source.n_lines, self.n)

    def survey(self, lines: NDArray[Any]) -> Moments:
        """The moments of these lines."""
        moments = NO_PIXELS
        for line in lines:
            moments = joined(moments, moments_of(line))
        return moments

    def combine(self, parts: Sequence[Any]) -> Background:
        """Mean and covariance. StageNotApplicable if there is none."""
        try:
            found = background_of(functools.reduce(joined, parts, NO_PIXELS))
        except ArgumentError as error:
            hint = ": leave out bands that are NaN by the stage select_bands before" if "finite" in str(error) else ""
            raise StageNotApplicable(f"rx: {error}{hint}") from error
        if found.n_flat:
            logger.warning(
                "rx: %d of %d directions have no variance: are bands dead or doubled?", found.n_flat, found.mean.size
            )
        return found

    def prepare(self, source: LineFormat) -> None:  # noqa: ARG002 - part of the protocol
        """Compile the loops, which takes a second for the first time."""
        compile_loops()

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Compute the distances, line by line."""
        with np.errstate(over="ignore"):  # of float32
            for line, result in zip(lines, out, strict=True):
                result[:, 0] = self.surveyed.distances(line)
        out[~np.isfinite(out)] = np.nan
