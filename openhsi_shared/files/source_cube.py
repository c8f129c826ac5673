"""What is known of a saved cube that is to be processed: its level, settings, exposure, bands, quantity and times.

Read once; the pixels stay in the file. Jobs, and `ProcessRawDatacube`, make their plans of it.
"""

import dataclasses
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration, read_calibration
from openhsi_shared.errors import LevelError, SettingsError
from openhsi_shared.exposure import known_exposure_ms
from openhsi_shared.files.reading import open_cube
from openhsi_shared.files.recorded import extra_columns, groups_of, line_flags_of, numbers_of_bands, recorded_settings
from openhsi_shared.files.source_files import NO_FILE, SourceFiles, version_of
from openhsi_shared.levels import (
    Functions,
    LevelPlan,
    Transforms,
    check_level,
    is_our_radiance,
    quantity_of,
    recognise_level,
)
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processing_levels import LEVELS, Quantity

if TYPE_CHECKING:
    from openhsi_shared.settings import CameraSettings

__all__ = ["Compat", "SourceCube"]

logger = safe_logger(__name__)

Compat = Literal["openhsi"] | None
MAX_SHIFT_NM = 1.0
"""Largest difference of the bands of a file from those of the calibration."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SourceCube:
    """A saved cube: facts only, so that it can be pickled and travel to workers, which open the file themselves."""

    path: Path
    n_lines: int
    line_shape: tuple[int, int]
    """(cross-track, wavelength)."""
    dtype: np.dtype[Any]
    level: int | None
    """Of the file, or inferred from its lines; None if that is ambiguous."""
    level_in_file: int | None
    """Of the file; None if it contains none."""
    settings: "CameraSettings"
    """Those given, else those of the recording; with the exposure of the file, if it contains one."""
    calibration: Calibration
    exposure_is_known: bool
    wavelengths_nm: NDArray[np.float64] | None
    band_labels: NDArray[np.float64] | None
    """What labels the bands, also without a unit: where it agrees with the calibration, it shows which they are."""
    quantity: Quantity
    labels: Mapping[str, Any]
    """Attributes of the datacube, such as units and long_name."""
    attributes: Mapping[str, Any]
    """Of the file."""
    is_ours: bool
    uuid: str | None
    times_ns: NDArray[np.int64] | None
    times_are_uncertain: bool
    """Whether the file has times, but it is not certain which belongs to which line: then `times_ns` is None."""
    line_flags: NDArray[np.uint8] | None = None
    """Not 0 for lines that an earlier job marked as having no values: they are NaN, or 0 in integers. None without."""
    columns: tuple[str, ...]
    """Names of variables along `y` besides those of every cube (times, frame ids, camera's clock, temperature)."""
    groups: tuple[str, ...]
    files: SourceFiles
    """An input that changes while it is read is refused."""
    _plans: dict[tuple[int, Compat], LevelPlan] = dataclasses.field(default_factory=dict, init=False)
    """By level and `compat`: each takes some 30 ms to make."""

    def __getstate__(self) -> dict[str, Any]:
        """Settings travel as bytes, which are unpacked when used: pydantic takes a worker 0.1 s."""
        state = {**self.__dict__, "_plans": {}}
        if "settings" in state:
            state["_packed_settings"] = pickle.dumps(state.pop("settings"))
        return state

    if not TYPE_CHECKING:  # else every name would be an attribute

        def __getattr__(self, name: str) -> Any:
            if name != "settings" or "_packed_settings" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            settings = pickle.loads(self.__dict__["_packed_settings"])
            object.__setattr__(self, name, settings)
            return settings

    @classmethod
    def look_at(
        cls,
        path: Path,
        *,
        json_path: str | Path | None = None,
        cal_path: str | Path | None = None,
        settings: "CameraSettings | None" = None,
        check: bool = True,
    ) -> "SourceCube":
        """Read it. FileError for a file that is no cube, incomplete, or empty; SettingsError, CalibrationError.

        Without `json_path` the settings are those of the recording, if this library wrote the file. `settings`: in
        place of both.
        """
        from openhsi_shared.settings import read_settings

        version = version_of(path) if path.exists() else NO_FILE  # before it is read; if it is missing, it raises
        with open_cube(path, check) as cube:
            cube.check_not_empty()
            n_lines, *line_shape = cube.lines.shape
            labels = cube.contents.attributes("datacube")
            known = LEVELS.get(cube.level) if cube.level is not None else None
            quantity = known.quantity if known is not None else quantity_of({} if cube.is_ours else labels)
            if settings is None:
                settings = recorded_settings(cube) if not json_path else read_settings(json_path, crops=False)
            uuid = cube.attributes.get("uuid") if cube.is_ours else None
            return cls(
                path=path,
                n_lines=n_lines,
                line_shape=(line_shape[0], line_shape[1]),
                dtype=np.dtype(cube.lines.dtype).newbyteorder("="),
                level=cube.level,
                level_in_file=cube.level,
                settings=settings,
                calibration=Calibration(),
                exposure_is_known=False,
                wavelengths_nm=cube.wavelengths_nm,
                band_labels=cube.wavelengths_nm if cube.wavelengths_nm is not None else numbers_of_bands(cube),
                quantity=quantity,
                labels=labels,
                attributes=dict(cube.attributes),
                is_ours=cube.is_ours,
                uuid=None if uuid is None else str(uuid),
                times_ns=cube.times_ns,
                times_are_uncertain=cube.times_are_uncertain,
                line_flags=line_flags_of(cube),
                columns=extra_columns(cube),
                groups=groups_of(cube),
                files=SourceFiles.of(cube, version, None if uuid is None else str(uuid)),
            ).with_settings(settings, read_calibration(cal_path))

    def with_settings(self, settings: "CameraSettings", calibration: Calibration) -> "SourceCube":
        """The same, with settings and calibration that were given; the exposure stays that of the file, if known."""
        exposure_ms = self.recorded_exposure_ms
        is_known = exposure_ms is not None or "exposure_ms" in settings.model_fields_set
        if exposure_ms is not None and exposure_ms != settings.exposure_ms:
            values = settings.model_dump(exclude_unset=True) | {"exposure_ms": exposure_ms}
            from openhsi_shared.settings import make_settings

            settings = make_settings(values, f"settings of {self.path}")
        made = dataclasses.replace(
            self, settings=settings, calibration=calibration, exposure_is_known=is_known, level=self.level_in_file
        )
        return made if made.level is not None else dataclasses.replace(made, level=made.inferred_level())

    @property
    def recorded_exposure_ms(self) -> float | None:
        """The exposure that the file contains."""
        return known_exposure_ms(self.attributes.get("exposure_ms"))

    @property
    def units(self) -> str:
        """Units of the pixels in a file of another program; "" if unknown, and for those of this library."""
        return "" if self.is_ours else str(self.labels.get("units", ""))

    @property
    def has_raw_numbers(self) -> bool:
        """Whether its pixels are whole numbers of a sensor."""
        return self.dtype.kind in "iu" and self.quantity == "counts"

    @property
    def sensor_shape(self) -> tuple[int, int]:
        """(rows, columns) of the frames that it was made of: by the settings, else those of its lines."""
        return self.settings.resolution or self.line_shape

    def describe_lines(self) -> str:
        """Shape, type and units of its lines, for messages."""
        rows, bands = self.line_shape
        units = f" in {self.units!r}" if self.units else ""
        return f"lines of {rows} x {bands} {self.dtype}{units}"

    def check_unchanged(self) -> None:
        """FileError if the file, or one that it refers to, has another size, time or uuid than it had."""
        self.files.check_unchanged()

    def __repr__(self) -> str:
        return f"<SourceCube {self.path}: {self.n_lines} {self.describe_lines()}, level {self.level}>"

    # ---- to another level ----

    def inferred_level(self) -> int | None:
        """The level as inferred from its lines; None if that is ambiguous."""
        for compat in (None, "openhsi"):  # openhsi takes a calibration of more rows, too
            transforms = self.transforms(-1, compat)
            shape, settings = self.line_shape, self.settings
            level = recognise_level(self.quantity, self.dtype, shape, self.band_labels, settings.resolution, transforms)
            if level is not None:
                return level
        return None

    def transforms(self, level: int, compat: Compat = None, rows: slice | None = None) -> Transforms:
        """Openhsi's transforms for frames of the sensor. SettingsError if `level` crops, and row_slice is outside.

        `rows`: in place of those of `row_slice`.
        """
        settings = self.settings
        return Transforms(
            level,
            self.sensor_shape,
            self.dtype if self.dtype in (np.uint8, np.uint16) else settings.dtype_in,
            rows or self._rows(level, self.sensor_shape[0]),
            self.calibration,
            settings.fwhm_nm,
            settings.exposure_ms,
            settings.luminance,
            is_compat=compat is not None,
        )

    def _rows(self, level: int, n_rows: int) -> slice:
        try:
            return self.settings.rows_of(n_rows)
        except SettingsError:
            if "crop" in LEVELS[level].steps:
                raise
        first, end = self.settings.row_slice or (0, -1)
        return slice(first, max(first + 1, n_rows) if end == -1 else end)

    def check_order(self, level: int) -> None:
        """LevelError if `level` is below that of the file."""
        if self.level is not None and level < self.level:
            raise LevelError(
                f"processing_lvl={level} is below that of {self.path}, {self.level}: "
                "processing cannot be undone; start from the raw cube"
            )

    def steps_to(self, level: int, compat: Compat = None) -> tuple[str, ...]:
        """Names of the transforms from its level to `level`. LevelError if the level is unknown, or no step to it."""
        if self.level is None:
            raise LevelError(
                f"the processing level of {self.path} is unknown, so level {level} cannot be "
                f"computed from its {self.describe_lines()}: give the functions with load_next_tfms or custom_tfms, "
                f"such as load_next_tfms([cube.rad2ref_6SV]), or start from the raw cube"
            )
        before, after = LEVELS[self.level], LEVELS[level]
        remaining = after.steps[len(before.steps) :]
        radiance_is_binned = after.makes_radiance and not after.calibrates_bands and after.binning in remaining
        if after.steps[: len(before.steps)] != before.steps or (radiance_is_binned and compat is None):
            way = "use ProcessRawDatacube" if self.level == -1 else "start from the raw cube"
            raise LevelError(
                f"level {level} cannot be computed from lines of level {self.level} ({self.path}): "
                f"{way}, or give the functions with custom_tfms or load_next_tfms"
            )
        return remaining

    def check_radiance(self, transforms: Transforms) -> None:
        """LevelError unless its lines are radiance in the units and the bands of the calibration.

        The radiance of a white target has no labels: it is applied band by band, in the calibration's order.
        """
        way = "convert it by a function before rad2ref_6SV in load_next_tfms, or start from the raw cube"
        if not is_our_radiance(self.units):
            raise LevelError(f"{self.path} holds radiance in {self.units!r}, expected uW/cm^2/sr/nm: {way}")
        found, expected = self.wavelengths_nm, transforms.band_wavelengths_nm
        if found is None or expected is None:
            return
        n, n_expected = len(found), len(expected)
        if n != n_expected or np.abs(found - expected).max() > MAX_SHIFT_NM:
            bands = f"{n} bands from {found[0]:.1f} to {found[-1]:.1f} nm"
            raise LevelError(
                f"{self.path} holds {bands}, which are not those of the calibration, {n_expected} from "
                f"{expected[0]:.1f} to {expected[-1]:.1f} nm: {way}"
            )

    def check_arithmetic(self, level: int, compat: Compat) -> None:
        """LevelError if its radiance is summed over each band, as by openhsi, and `level` is of averages, or reverse.

        A cube of this library that does not contain its arithmetic is not refused.
        """
        known = None if self.level is None else LEVELS[self.level]
        if known is None or known.calibrates_bands:
            return  # both are the same
        asked, own = compat or "openhsi_shared", self.attributes.get("level_arithmetic")
        own = own if own is not None or self.is_ours else "openhsi"
        if own in ("openhsi", "openhsi_shared") and own != asked:
            made, expected, way = (
                ("summed", "averages", "give") if own == "openhsi" else ("averaged", "sums", "leave out")
            )
            raise LevelError(
                f"{self.path} holds radiance of level {self.level} that is {made} over each band (by {own}), and level "
                f"{level} of {asked} is made of {expected}: {way} compat='openhsi', or start from the raw cube"
            )

    def plan_to(self, level: int, compat: Compat = None) -> LevelPlan:
        """The processing of its lines to `level`. LevelError if it is below that of the file, or not served.

        Also SettingsError if `row_slice` is outside of its frames, and CalibrationError for invalid values. From raw
        frames a level is computed in one pass, from other levels step by step. Thread-safe, as the plan is.
        """
        check_level(level)
        if (level, compat) not in self._plans:
            self._plans[level, compat] = self._plan_to(level, compat)
        return self._plans[level, compat]

    def _plan_to(self, level: int, compat: Compat) -> LevelPlan:
        self.check_order(level)
        if self.level == -1 and not self.has_raw_numbers and level > -1:
            raise LevelError(
                f"{self.path} holds {self.describe_lines()}, not raw frames (whole numbers of a sensor): level {level} "
                f"cannot be computed from them; start from the raw cube"
            )
        if self.level == -1:
            self._require_exposure("dn2rad" in LEVELS[level].steps, level)
            return self._plan(None, level, compat, self._rows(level, self.line_shape[0]))
        steps = self.steps_to(level, compat)
        self._require_exposure("dn2rad" in steps, level)
        transforms = self.transforms(level, compat)
        if steps[:1] == ("rad2ref_6SV",):
            self.check_radiance(transforms)
            self.check_arithmetic(level, compat)
        return self.plan_of([getattr(transforms, name) for name in steps], level, compat)

    def plan_of(self, functions: Functions, level: int, compat: Compat = None) -> LevelPlan:
        """A plan of these transforms from its level to `level`. LevelError if its lines do not fit them."""
        try:
            return self.plan_by(functions, level, compat)
        except LevelError as error:
            if error.__cause__ is None:
                raise
            raise LevelError(
                f"{self.path} holds {self.describe_lines()} of level {self.level}, which do not fit "
                f"settings and calibration for level {level} ({error.__cause__}): give those of the "
                f"recording, or give the functions with custom_tfms or load_next_tfms"
            ) from error.__cause__

    def plan_by(self, functions: Functions, level: int, compat: Compat = None) -> LevelPlan:
        """A plan of functions that the user gave. LevelError if one of them fails."""
        return self._plan(functions, level, compat, slice(0, self.line_shape[0]))

    def _plan(self, functions: Functions | None, level: int, compat: Compat, rows: slice) -> LevelPlan:
        settings = self.settings
        return LevelPlan(
            level=level,
            frame_shape=self.line_shape,
            frame_dtype=self.dtype,
            rows=rows,
            calibration=self.calibration,
            fwhm_nm=settings.fwhm_nm,
            exposure_ms=settings.exposure_ms,
            luminance=settings.luminance,
            compat=compat,
            custom_tfms=functions,
        )

    def _require_exposure(self, is_needed: bool, level: int) -> None:
        if is_needed and not self.exposure_is_known:
            raise LevelError(
                f"processing_lvl={level} computes radiance, which needs the exposure of the frames, but {self.path} "
                f"does not contain it: give settings with exposure_ms"
            )

    def wavelengths_after(self, plan: LevelPlan) -> NDArray[Any] | None:
        """Wavelengths of the lines that a plan of `plan_to` makes.

        Those of the calibration if they are made of raw frames in one pass; else those of the file if the number of
        bands is unchanged.
        """
        n_bands, found, is_fused = plan.line_shape[1], self.wavelengths_nm, plan.custom_tfms is None
        if is_fused and plan.wavelengths_nm is not None:
            return plan.wavelengths_nm
        if found is not None and len(found) == n_bands:
            return found
        if is_fused or LEVELS[plan.level].binning is None:
            return plan.wavelengths_nm
        labels = self.transforms(plan.level, plan.compat).band_wavelengths_nm
        return labels if labels is not None and len(labels) == n_bands else None
