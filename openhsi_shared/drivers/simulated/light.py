"""Light in counts: exposure, dark level, noise and blur of the simulated camera as arithmetic.

A pixel of relative brightness b (1: the brightest of the scene) has, at an exposure of t ms, ::

    counts = light * t * b + dark + dark_per_ms * t + noise      rounded, and limited to 0 .. full scale
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers.simulated.optics import Optics, colour_spectra
from openhsi_shared.drivers.simulated.painters import with_infrared
from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_finite

__all__ = ["Image", "Light", "LitPainter", "Warmth", "scene_image", "still_image"]

N_NOISE_ROWS = 257
NOISE_STRIDE = 97
"""Coprime to the number of rows, so that consecutive frames have other noise."""
BLOCK_COLUMNS = 16
"""Columns of the picture that are computed at a time to find its brightest pixel."""


Image = Callable[[int, NDArray[np.float32]], None]
"""Puts the relative brightness of a frame, 0 to 1, into an array (rows, columns)."""


class Light(NamedTuple):
    """The options `light`, `dark`, `noise` and `defocus`, checked."""

    per_ms: float | None
    """Counts per ms of the brightest pixel; None: the full range, at any exposure."""
    dark: float
    dark_per_ms: float
    noise: float
    """Standard deviation in counts."""
    defocus: float
    """Standard deviation of the blur along the slit, in pixels."""

    @classmethod
    def of(cls, light: Any, dark: Any, noise: Any, defocus: Any) -> "Light | None":
        """Check the options; None if none is given. ArgumentError."""
        if light is dark is noise is defocus is None:
            return None
        pair = dark if isinstance(dark, list | tuple) and len(dark) == 2 else (dark, 0.0)
        return cls(
            None if light is None else _number("light", light, "counts per ms of the brightest pixel"),
            _number("dark", pair[0] or 0.0, "a number of counts, or (counts, counts per ms)"),
            _number("dark", pair[1], "a number of counts, or (counts, counts per ms)"),
            _number("noise", noise or 0.0, "a standard deviation in counts"),
            _number("defocus", defocus or 0.0, "a blur in pixels"),
        )

    def in_words(self) -> str:
        """Say what the numbers of a frame are."""
        signal = "full range at any exposure" if self.per_ms is None else f"{self.per_ms:g} counts/ms"
        dark = f"dark {self.dark:g} counts + {self.dark_per_ms:g} counts/ms"
        return f"{signal}, {dark}, noise {self.noise:g} counts, blur {self.defocus:g} pixels"


class Warmth(NamedTuple):
    """Temperature of the simulated sensor."""

    celsius: float = 20.0
    per_minute: float = 0.0

    @classmethod
    def of(cls, celsius: Any) -> "Warmth":
        """Of the option `celsius`: None, a number, or (degrees at the start, degrees per minute). ArgumentError."""
        if celsius is None:
            return cls()
        pair = celsius if isinstance(celsius, list | tuple) and len(celsius) == 2 else (celsius, 0.0)
        expected = "degrees, or (degrees at the start, degrees per minute)"
        return cls(*(_number("celsius", value, expected, -math.inf) for value in pair))

    def after(self, seconds: float) -> float:
        """Degrees after that time."""
        return self.celsius + self.per_minute * seconds / 60


def _number(name: str, value: Any, expected: str, least: float = 0.0) -> float:
    if not is_finite(value) or value < least:
        raise ArgumentError(f"{name} must be {expected}, got {value!r}")
    return float(value)


class LitPainter:
    """Paints frames whose counts follow from the exposure."""

    def __init__(
        self,
        image: Image,
        frame_shape: tuple[int, int],
        light: Light,
        top: int,
        exposure_ms: float,
    ) -> None:
        """`top` is full scale."""
        self._image, self._light, self._top = image, light, top
        self.exposure_ms = exposure_ms
        self._counts = np.empty(frame_shape, np.float32)
        random = np.random.default_rng(5800)
        shape = (frame_shape[0] + N_NOISE_ROWS, frame_shape[1])
        self._noise = random.standard_normal(shape, np.float32) * np.float32(light.noise) if light.noise else None

    def paint(self, out: NDArray[Any], frame_id: int) -> None:
        """Fill `out` with the frame of that number."""
        light, counts = self._light, self._counts
        self._image(frame_id, counts)
        if light.defocus:
            from scipy.ndimage import gaussian_filter1d

            gaussian_filter1d(counts, light.defocus, axis=0, output=counts, mode="nearest")
        dark = light.dark + light.dark_per_ms * self.exposure_ms
        counts *= max(0.0, self._top - dark) if light.per_ms is None else light.per_ms * self.exposure_ms
        counts += dark
        if self._noise is not None:
            first = frame_id * NOISE_STRIDE % N_NOISE_ROWS
            counts += self._noise[first : first + len(counts)]
        np.rint(counts, out=counts)
        np.clip(counts, 0, self._top, out=counts)
        np.copyto(out, counts, casting="unsafe")


def scene_image(picture: NDArray[np.uint8], optics: Optics) -> Image:
    """Return a function for the brightness of the columns of a picture, cyclically; 1 is the brightest pixel."""
    spectra = colour_spectra(optics.wavelengths_nm).astype(np.float32)
    columns = np.ascontiguousarray(with_infrared(picture).transpose(1, 0, 2)).astype(np.float32)
    starts = range(0, len(columns), BLOCK_COLUMNS)
    brightest = max(float((columns[first : first + BLOCK_COLUMNS] @ spectra).max()) for first in starts)
    spectra /= brightest or 1.0
    of_rows = [optics.columns_of(int(shift)) for shift in optics.shifts]

    def image(frame_id: int, out: NDArray[np.float32]) -> None:
        whole = columns[frame_id % len(columns)] @ spectra
        for row, seen in enumerate(of_rows):
            out[row] = whole[row, seen]

    return image


def still_image(light: NDArray[Any]) -> Image:
    """Return a function for constant brightness."""

    def image(_frame_id: int, out: NDArray[np.float32]) -> None:
        np.copyto(out, light, casting="same_kind")

    return image
