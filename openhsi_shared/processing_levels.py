"""Table of processing levels: transforms, needed calibration values, and the quantity of a pixel.

Every module that treats levels differently uses this table; no other one compares level numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["AXIS_LABELS", "LABELS", "LEVELS", "ProcessingLevel", "Quantity", "full_scale"]

Quantity = Literal["counts", "radiance", "reflectance"]
"""Physical quantity of a pixel."""

LABELS: Mapping[Quantity, Mapping[str, str]] = MappingProxyType(
    {
        "counts": {"units": "1", "long_name": "digital numbers of the sensor"},
        "radiance": {
            "units": "uW cm-2 sr-1 nm-1",
            "long_name": "at-sensor spectral radiance",
            "standard_name": "upwelling_radiance_per_unit_wavelength_in_air",
        },
        "reflectance": {"units": "1", "long_name": "reflectance"},
    }
)
"""Attributes of a datacube of that quantity, by the CF conventions."""
AXIS_LABELS: Mapping[Quantity, str] = MappingProxyType(
    {"counts": "digital number", "radiance": "uW/cm²/sr/nm", "reflectance": "reflectance"}
)
"""Axis labels of plots."""


@dataclass(frozen=True)
class ProcessingLevel:
    """One row of the table; its properties are derived from `steps`."""

    number: int
    steps: tuple[str, ...]
    """The transforms in order, by openhsi's names."""
    needs: tuple[str, ...]
    """Names of the values that the calibration must contain."""
    description: str
    """Description of the processing, for the file."""

    @property
    def is_smile_corrected(self) -> bool:
        """Whether the rows are shifted; lower levels copy pixels."""
        return "fast_smile" in self.steps

    @property
    def binning(self) -> str | None:
        """How columns become bands: "fast_bin" (equally many), "slow_bin" (of equal width), None: no binning.

        Without bands a line has the numbers and the type of the frame, with bands it is float32.
        """
        return next((step for step in self.steps if step.endswith("_bin")), None)

    @property
    def makes_radiance(self) -> bool:
        """Whether the exposure of the frames must be known."""
        return "dn2rad" in self.steps

    @property
    def calibrates_bands(self) -> bool:
        """Whether radiance is computed from summed columns, not from single ones."""
        return self.makes_radiance and self.binning in self.steps[: self.steps.index("dn2rad")]

    @property
    def quantity(self) -> Quantity:
        """Physical quantity of a pixel."""
        if "rad2ref_6SV" in self.steps:
            return "reflectance"
        return "radiance" if self.makes_radiance else "counts"


_SMILE = ("crop", "fast_smile")
_RADIANCE = ("rad_ref", "sfit_x", "sfit_y", "spec_rad_ref_luminance")
_REFLECTANCE = ("rad_fit_x", "rad_fit_y")

LEVELS: Mapping[int, ProcessingLevel] = MappingProxyType(
    {
        number: ProcessingLevel(number, steps, needs, description)
        for number, steps, needs, description in (
            (-1, (), (), "frames as the sensor delivered them"),
            (0, ("crop",), (), "cropped to the illuminated rows"),
            (1, _SMILE, ("smile_shifts",), "cropped, smile corrected"),
            (
                2,
                (*_SMILE, "fast_bin"),
                ("smile_shifts", "wavelengths_linear"),
                "cropped, smile corrected, bands of equal pixel number",
            ),
            (
                3,
                (*_SMILE, "slow_bin"),
                ("smile_shifts", "wavelengths"),
                "cropped, smile corrected, bands of equal width in wavelength",
            ),
            (
                4,
                (*_SMILE, "fast_bin", "dn2rad"),
                ("smile_shifts", "wavelengths_linear", *_RADIANCE),
                "cropped, smile corrected, bands of equal pixel number, radiance",
            ),
            (
                5,
                (*_SMILE, "dn2rad", "fast_bin"),
                ("smile_shifts", "wavelengths", "wavelengths_linear", *_RADIANCE),
                "cropped, smile corrected, radiance, bands of equal pixel number",
            ),
            (
                6,
                (*_SMILE, "fast_bin", "dn2rad", "rad2ref_6SV"),
                ("smile_shifts", "wavelengths_linear", *_RADIANCE, *_REFLECTANCE),
                "cropped, smile corrected, bands of equal pixel number, radiance, reflectance",
            ),
            (
                7,
                (*_SMILE, "dn2rad", "slow_bin"),
                ("smile_shifts", "wavelengths", *_RADIANCE),
                "cropped, smile corrected, radiance, bands of equal width in wavelength",
            ),
            (
                8,
                (*_SMILE, "dn2rad", "slow_bin", "rad2ref_6SV"),
                ("smile_shifts", "wavelengths", *_RADIANCE, *_REFLECTANCE),
                "cropped, smile corrected, radiance, bands of equal width in wavelength, reflectance",
            ),
        )
    }
)
"""All levels, in order."""


def full_scale(level: int | None, dtype: str, of_frames: int | None) -> int | None:
    """Value of a saturated pixel of lines of an unsigned type; None where lines have other values.

    `of_frames` is that of frames, as `CameraSettings.full_scale` has it. Binning to bands may sum several pixels.

    >>> full_scale(-1, "uint16", 4095), full_scale(0, "uint8", 65535), full_scale(4, "float32", 4095)
    (4095, 255, None)
    """
    if level is None or level not in LEVELS or LEVELS[level].binning or not dtype.startswith("uint"):
        return None
    largest = (1 << int(dtype[4:])) - 1
    return largest if of_frames is None else min(of_frames, largest)
