"""The stage of the processing levels: the kernels that a camera uses, for the lines of a file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.files.source_cube import Compat
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.levels import LevelPlan, check_level
from openhsi_shared.processing_levels import LABELS, LEVELS

__all__ = ["Level"]


@dataclass
class Level(Stage):
    """Processing level of the lines, as that of a camera; the first stage, since it needs the lines of the file.

    The exposure is that of the file; settings and calibration are those of the job. LevelError, SettingsError and
    CalibrationError from `check` as from `SourceCube.plan_to`.
    """

    level: int
    """-1 to 8; not below that of the file."""
    compat: Compat = None
    """"openhsi": bit-identical to openhsi."""

    code = "level"
    takes_strided_out = True

    def __post_init__(self) -> None:
        check_level(self.level)
        if self.compat not in (None, "openhsi"):
            raise ArgumentError(f"compat must be None or 'openhsi', got {self.compat!r}")
        self.level = int(self.level)

    def check(self, source: LineFormat) -> None:
        """StageNotApplicable if a stage before it changed the lines."""
        cube = source.source
        if (source.level, source.line_shape, source.dtype) != (cube.level, cube.line_shape, cube.dtype):
            rows, bands = source.line_shape
            raise StageNotApplicable(
                f"stage 'level' needs the lines of the file ({cube.describe_lines()}, level {cube.level}), but gets "
                f"{rows} x {bands} {source.dtype} of level {source.level}: make it the first stage"
            )
        cube.plan_to(self.level, self.compat)

    def out_format(self, source: LineFormat) -> LineFormat:
        """Lines of that level."""
        plan = source.source.plan_to(self.level, self.compat)
        quantity = LEVELS[self.level].quantity
        is_same = self.level == source.level
        return source.replace(
            line_shape=plan.line_shape,
            dtype=plan.line_dtype,
            wavelengths_nm=source.source.wavelengths_after(plan),
            level=self.level,
            quantity=quantity,
            labels=source.labels if is_same else {**LABELS[quantity]},
        )

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """(cross-track, wavelength) of the lines that it gives."""
        return self.out_format(source).line_shape

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:
        """Type of the lines that it gives."""
        return self.out_format(source).dtype

    def prepare(self, source: LineFormat) -> None:
        """Load the kernel. Blocks for up to seconds if it must be compiled."""
        self._plan: LevelPlan = source.source.plan_to(self.level, self.compat)
        self._plan.warm()

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Compute `out` line by line."""
        for line, made in zip(lines, out, strict=True):
            self._plan.apply(line, made)
