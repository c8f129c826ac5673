"""Frames of the simulated camera in digital numbers: a moving scene, or constant light.

A painter fills a frame in place without allocating. Signal and noise are at least 0 and together at most the largest
digital number, so no value is clipped or wraps around.
"""

import itertools
import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.drivers.simulated.optics import Optics, colour_spectra

__all__ = ["Noise", "Painter", "ScenePainter", "StillPainter", "dark_number", "with_infrared"]

_SHOT_NOISE = 0.006
"""Standard deviation at the largest signal, as a fraction of the largest digital number: 25 of 4095."""
_N_NOISE_FRAMES = 257
_NOISE_STRIDE = 97  # coprime to the number of frames, so that consecutive frames are far apart in the texture

_BLAS_SINGLE_THREAD = 1 << 18
"""Number of multiplications up to which OpenBLAS uses the calling thread; above, some frames take 16 ms."""


class Painter(Protocol):
    """Paints the frames of one mode."""

    def paint(self, out: NDArray[Any], frame_id: int) -> None:
        """Fill `out`, a whole frame in C order, with the frame of that number."""


def dark_number(top: int) -> int:
    """Return the dark level for a sensor whose largest digital number is `top`: the mean of its noise."""
    return math.ceil(4.0 * _SHOT_NOISE * top)


class Noise:
    """A texture of shot noise, scaled with `brightness` (columns, 0 .. 1); each frame uses another part.

    Identical for every camera of the same shape, for reproducible simulations.
    """

    def __init__(self, frame_shape: tuple[int, int], dtype: np.dtype[Any], top: int, brightness: NDArray[Any]) -> None:
        dark = dark_number(top)
        sigma = _SHOT_NOISE * top * np.sqrt(np.clip(brightness, 0.01, 1.0))
        random = np.random.default_rng(5800)
        texture = random.standard_normal((frame_shape[0] + _N_NOISE_FRAMES, frame_shape[1]), np.float32)
        texture *= sigma.astype(np.float32)
        np.clip(np.rint(texture, out=texture), -dark, dark, out=texture)
        texture += dark
        self._texture = texture.astype(dtype)

    def add(self, signal: NDArray[Any], out: NDArray[Any], frame_id: int, first_row: int = 0) -> None:
        """Put into `out` the signal and the noise of that frame: all of its rows, or some from `first_row` on."""
        first_row += frame_id * _NOISE_STRIDE % _N_NOISE_FRAMES
        np.add(signal, self._texture[first_row : first_row + len(out)], out=out)


class StillPainter:
    """Paints constant light, with varying noise."""

    def __init__(self, light: NDArray[Any], dtype: np.dtype[Any], top: int) -> None:
        self._noise = Noise((light.shape[0], light.shape[1]), dtype, top, light.mean(axis=0))
        self._signal = (light * (top - 2 * dark_number(top))).astype(dtype)

    def paint(self, out: NDArray[Any], frame_id: int) -> None:
        """Fill `out` with the light and the noise of that frame."""
        self._noise.add(self._signal, out, frame_id)


class ScenePainter:
    """Paints the columns of a picture cyclically, each pixel converted to a spectrum."""

    def __init__(self, picture: NDArray[np.uint8], optics: Optics, dtype: np.dtype[Any], top: int) -> None:
        spectra = colour_spectra(optics.wavelengths_nm)
        n_rows, n_columns = picture.shape[0], len(optics.wavelengths_nm) - optics.max_shift
        self._columns = np.ascontiguousarray(with_infrared(picture).transpose(1, 0, 2))
        mean_light = self._columns.mean(axis=(0, 1)) / 255.0 @ spectra
        self._noise = Noise((n_rows, n_columns), dtype, top, mean_light[optics.columns_of(0)])
        full = top - 2 * dark_number(top)
        self._spectra = (spectra * (full / spectra.sum(axis=0).max() / 255.0)).astype(np.float32)
        self._blocks = _blocks(optics, n_columns)
        self._colours = np.empty((n_rows, 4), np.float32)
        self._light = np.empty((max(rows.stop - rows.start for rows, _ in self._blocks), n_columns), np.float32)

    def paint(self, out: NDArray[Any], frame_id: int) -> None:
        """Fill `out` with column `frame_id` of the picture, modulo its width."""
        np.copyto(self._colours, self._columns[frame_id % len(self._columns)])
        for rows, columns in self._blocks:  # small blocks, which fit into the processor's cache
            light, pixels = self._light[: rows.stop - rows.start], out[rows]
            np.matmul(self._colours[rows], self._spectra[:, columns], out=light)
            np.copyto(pixels, light, casting="unsafe")
            self._noise.add(pixels, pixels, frame_id, rows.start)


def with_infrared(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add a near-infrared channel: vegetation bright, water and shadow dark, all else like red."""
    red, green, blue = np.moveaxis(picture.astype(np.float32), -1, 0)
    infrared = np.clip(0.9 * red + 4.0 * np.clip(green - np.maximum(red, blue), 0.0, None), 0.0, 255.0)
    infrared *= np.clip(1.0 - (blue - red) / 64.0, 0.15, 1.0)
    return np.concatenate([picture, infrared.astype(np.uint8)[..., None]], axis=-1)


def _blocks(optics: Optics, n_columns: int) -> list[tuple[slice, slice]]:
    """Split the rows into blocks of equal shift: (rows, their slice of the wavelengths)."""
    n_max = max(1, _BLAS_SINGLE_THREAD // (4 * n_columns) - 1)
    n_rows = len(optics.shifts)
    edges = [0, *(np.flatnonzero(np.diff(optics.shifts)) + 1).tolist(), n_rows]
    return [
        (slice(first, min(first + n_max, stop)), optics.columns_of(int(optics.shifts[first])))
        for start, stop in itertools.pairwise(edges)
        for first in range(start, stop, n_max)
    ]
