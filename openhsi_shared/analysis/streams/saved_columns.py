"""What a saved cube has besides the pixels, as events give it: columns of its lines, and what they have in common."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.events import About, Line
from openhsi_shared.columns import FRAMES_USED
from openhsi_shared.dataset import CUSTOM
from openhsi_shared.exposure import known_exposure_ms
from openhsi_shared.files.reading import OpenCube
from openhsi_shared.files.recorded import extra_columns, recorded_settings
from openhsi_shared.files.source_cube import SourceCube
from openhsi_shared.frames.averaged import frames_per_line
from openhsi_shared.levels import LevelPlan
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.processing_levels import full_scale

__all__ = ["SavedColumns", "about_saved"]


class SavedColumns:
    """Makes the lines of an open cube."""

    def __init__(self, cube: OpenCube, number: int, expected_id: int) -> None:
        """`expected_id`: frame id after the last line of the cube before it; -1 if that is unknown."""
        n, self._number = len(cube.lines), number
        self._times = (np.full(n, UNKNOWN_TIME_NS) if cube.times_ns is None else cube.times_ns).view("datetime64[ns]")
        ids, temperatures = cube.frame_ids, cube.temperatures
        self._ids = [-1] * n if ids is None else ids.tolist()
        self._temperatures = [float("nan")] * n if temperatures is None else temperatures.astype(np.float64).tolist()
        self._lost = [0] * n if ids is None else _lost_before(cube, ids.astype(np.int64), expected_id)
        self._channels = dict(_channels(cube))

    def line(self, y: int, data: NDArray[Any]) -> Line:
        """Line `y` with these pixels."""
        return Line(
            data=data,
            cube=self._number,
            y=y,
            frame_id=self._ids[y],
            time=self._times[y],
            temperature=self._temperatures[y],
            channels={name: values[y] for name, values in self._channels.items()},
            lost_before=self._lost[y],
        )


def _channels(cube: OpenCube) -> list[tuple[str, list[float]]]:
    return [
        (name, cube.of_lines(cube.contents.numbers(name)).astype(np.float64).tolist())
        for name in extra_columns(cube)
        if name != FRAMES_USED.name and cube.column(name).dtype.kind in "iuf"
    ]


def _lost_before(cube: OpenCube, ids: NDArray[np.int64], expected_id: int) -> list[int]:
    """Frames lost before each line: by frame ids, whose usual step is more than 1 only if lines were binned."""
    is_recorded = cube.is_ours and "run_id" in cube.attributes
    before = cube.attributes.get("lines_lost_before") if is_recorded else None
    if is_recorded and FRAMES_USED.name in extra_columns(cube):
        last, n = frames_per_line(ids, cube.of_lines(cube.column(FRAMES_USED.name)))
        lost = np.maximum(0, last - np.insert(last[:-1], 0, ids[0] - 1) - n).tolist()
        return [int(before or 0) + lost[0], *lost[1:]]
    steps = np.diff(ids)
    known = steps[steps > 0]
    usual = 1 if is_recorded or not len(known) else max(1, int(np.median(known)))
    if not isinstance(before, int | np.integer):
        before = 0 if expected_id < 0 else max(0, int(ids[0]) - expected_id)
    return [int(before), *np.maximum(0, np.rint(steps / usual).astype(int) - 1).tolist()]


def about_saved(cube: OpenCube, processed: tuple[SourceCube, LevelPlan] | None) -> About:
    """What the lines of a cube have in common, as they are or as they are processed."""
    settings = json.loads(cube.attributes.get("settings", "{}")) if cube.is_ours else {}
    level, wavelengths, dtype = cube.level, cube.wavelengths_nm, str(cube.lines.dtype)
    if processed is not None:
        source, plan = processed
        level, wavelengths, dtype = plan.level, source.wavelengths_after(plan), str(plan.line_dtype)
    is_custom = cube.attributes.get("level_arithmetic") == CUSTOM
    return About(
        wavelengths_nm=wavelengths,
        level=level,
        settings=settings,
        exposure_ms=known_exposure_ms(cube.attributes.get("exposure_ms")),
        full_scale=None if is_custom else full_scale(level, dtype, recorded_settings(cube).full_scale),
    )
