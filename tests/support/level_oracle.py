"""A small camera with a complete calibration, and its levels computed by the documented formulas."""

from itertools import pairwise

import numpy as np

from openhsi_shared.calibration import Calibration
from openhsi_shared.levels import LevelPlan

SHAPE, ROWS = (20, 48), slice(3, 17)
N_ROWS, N_COLUMNS = 14, 44
FWHM_NM = 4.0
EXPOSURES, LUMINANCES = np.array([10, 20], np.int32), np.array([0, 5000, 10000], np.int32)


def make_calibration(**changed):
    """A calibration for all levels; curves are not linear, and pixels differ."""
    rng = np.random.default_rng(7)
    column, row = np.arange(N_COLUMNS), np.arange(N_ROWS)
    curve_nm = np.linspace(380, 560, 61)
    light = np.array([0.0, 40.0, 80.0])
    lamp = light * EXPOSURES[:, None]
    answer = rng.uniform(0.8, 1.2, (N_ROWS, SHAPE[1]))
    dark = 30 + rng.integers(0, 20, (N_ROWS, SHAPE[1]))
    values = {
        "camera_id": "small",
        "smile_shifts": np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4], np.int16),
        "wavelengths": 430 + 1.8 * column + 0.003 * column**2,
        "wavelengths_linear": 430.3 + 1.93 * column,
        "rad_ref": (dark[:, :, None, None] + answer[:, :, None, None] * lamp).astype(np.int32),
        "sfit_x": curve_nm,
        "sfit_y": 8 + np.sin(curve_nm / 30),
        "rad_fit_x": curve_nm,
        "rad_fit_y": 20 + np.cos(curve_nm / 40),
        "spec_rad_ref_luminance": 52020.0,
    }
    dims = {"rad_ref": ("cross_track", "wavelength_index", "exposure", "luminance")}
    coordinates = {"exposure": EXPOSURES, "luminance": LUMINANCES, "cross_track": row}
    kept = {key: value for key, value in (values | changed).items() if value is not None}
    return Calibration(kept, dims, coordinates)


CALIBRATION = make_calibration()


def make_plan(level, **changed):
    values = {
        "frame_shape": SHAPE,
        "frame_dtype": np.dtype(np.uint16),
        "rows": ROWS,
        "calibration": CALIBRATION,
        "fwhm_nm": FWHM_NM,
    }
    return LevelPlan(level=level, **(values | changed))


def make_frame(dtype=np.uint16, seed=0):
    """Random pixels over the whole range of the type."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, SHAPE, dtype, endpoint=True)


def line_of(plan, frame):
    line = np.full(plan.line_shape, 77, plan.line_dtype)
    plan.apply(frame, line)
    return line


class Formulas:
    """The levels, band by band. With a `buffer` as in openhsi: integers of that type, and summed radiance."""

    def __init__(self, exposure_ms=10.0, luminance=10000, fwhm_nm=FWHM_NM, buffer=None):
        self.buffer = buffer
        self.luminance, self.exposure_ms, self.fwhm_nm = luminance, exposure_ms, fwhm_nm
        self.nm = CALIBRATION["wavelengths"]
        linear = CALIBRATION["wavelengths_linear"]
        self.width = int(fwhm_nm * SHAPE[1] / (linear.max() - linear.min()))
        self.fast = [range(k * self.width, (k + 1) * self.width) for k in range(N_COLUMNS // self.width)]
        self.fast_nm = np.round([np.float32(linear)[list(columns)].mean() for columns in self.fast], 1)
        n = int((self.nm.max() - self.nm.min()) // fwhm_nm)
        edges_nm = [round(self.nm.min() + k * fwhm_nm, 1) for k in range(n + 1)]
        edges = [int(np.argmin(abs(self.nm - edge))) for edge in edges_nm]
        self.slow = [range(*pair) for pair in pairwise(edges)]
        self.slow_nm = np.array(edges_nm[:-1]) + fwhm_nm // 2
        nearest = int(np.argmin(abs(EXPOSURES - exposure_ms))) if exposure_ms != 15 else 1
        scale = exposure_ms / EXPOSURES[nearest]
        lit = CALIBRATION["rad_ref"][:, :, nearest, list(LUMINANCES).index(luminance)]
        dark = scale * CALIBRATION["rad_ref"][:, :, nearest, 0]
        self.dark, self.lit = self.smile(dark), self.smile(scale * lit - dark)
        if buffer is not None:
            self.dark, self.lit = np.float32(self.dark), np.float32(self.lit)

    def level(self, level, frame):
        cropped = frame[ROWS]
        if level < 1:
            return frame if level == -1 else cropped
        x = self.smile(cropped)
        if level == 1:
            return x
        if level in (2, 3):
            return self.bin(x, self.fast) if level == 2 else self.slow_bin(x)
        if level in (4, 6):
            parts = [self.bin(part, self.fast) for part in (x, self.dark, self.lit)]
            radiance = self.radiance(*parts, self.curve("sfit", self.fast_nm))
        else:
            pixels = self.radiance(x, self.dark, self.lit, self.curve("sfit", self.nm))
            radiance = self.bin(pixels, self.fast) if level == 5 else self.slow_bin(pixels)
            if self.buffer is None:
                radiance = radiance / [len(columns) for columns in (self.fast if level == 5 else self.slow)]
        if level in (6, 8):
            radiance = radiance / self.curve("rad_fit", self.fast_nm if level == 6 else self.slow_nm)
        return radiance

    def wavelengths(self, level):
        return self.slow_nm if level in (3, 7, 8) else self.fast_nm

    def smile(self, pixels):
        out = np.zeros((N_ROWS, N_COLUMNS), self.buffer or pixels.dtype)
        for row, shift in enumerate(CALIBRATION["smile_shifts"]):
            out[row] = pixels[row, shift : shift + N_COLUMNS]
        return out

    def bin(self, pixels, bands):
        return np.stack([pixels[:, list(columns)].sum(axis=1) for columns in bands], axis=1)

    def slow_bin(self, pixels):
        if self.buffer is None:
            return self.bin(pixels, self.slow)
        with np.errstate(invalid="ignore"):
            summed = [pixels[:, list(columns)].sum(axis=1, dtype=np.float32) for columns in self.slow]
            return np.stack(summed, axis=1).astype(self.buffer)

    def radiance(self, x, dark, lit, lamp):
        if self.buffer is None:
            return (x - dark) * self.luminance / lit * lamp / CALIBRATION["spec_rad_ref_luminance"]
        return (np.float32(x) - dark) * self.luminance / lit * lamp / np.float64(CALIBRATION["spec_rad_ref_luminance"])

    def curve(self, name, at_nm):
        from scipy.interpolate import interp1d  # here: children import this module, and few of them need it

        values = interp1d(CALIBRATION[f"{name}_x"], CALIBRATION[f"{name}_y"], kind="cubic")(at_nm)
        return values if self.buffer is None else np.float32(values)
