"""Time of each processing level for one frame on one core, compared with openhsi's `put` and with the bytes alone.

"The bytes alone" is a loop that reads what the level must read (the frame, and the calibration's numbers at 16 bits
each, which keeps the result within 1e-5) and writes the line; it computes nothing.
"""

import functools
import json
import os
import subprocess
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import frames_of_scene
from benchmarks.measuring import Plan, Row, Spread
from benchmarks.side_process import SideProcess
from openhsi_shared.buffers.memory import PAGE, aligned_bytes, shared_array
from openhsi_shared.calibration import Calibration, read_calibration, write_calibration
from openhsi_shared.drivers.simulated import CALIBRATION_PATH
from openhsi_shared.levels import LevelPlan, Transforms
from openhsi_shared.processing_levels import LEVELS

__all__ = ["Camera", "run"]

ROOT = Path(__file__).parent.parent
FWHM_NM, EXPOSURE_MS, LUMINANCE = 4.0, 2.0, 10000.0
TARGETS = {-1: (1.5, 1.3), 0: (1.5, 1.3), 1: (4, 2.5), 3: (8, 6), 7: (8, 6), 8: (8, 6)}
"""Level: (minimum speed-up over openhsi, maximum ratio to the bytes alone); 12 and 2.5 at all others."""


def run(plan: Plan) -> list[Row]:
    """Rounds of all sides alternate, each over more lines than fit into a cache."""
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else 0
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    with plan.folder("levels") as folder:
        camera = Camera(plan, folder)
        if allowed:
            os.sched_setaffinity(0, {core})
        try:
            return [_start_up(plan, folder), *(_measure(plan, camera, level, core) for level in LEVELS)]
        finally:
            if allowed:
                os.sched_setaffinity(0, allowed)


class Camera:
    """Frames, settings and calibration, also as files for openhsi's process."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        rows, columns = self.shape = plan.frame_shape
        self.rows = slice(rows // 40, rows - 24 * rows // 644)
        self.frames = frames_of_scene(self.shape, 8)
        np.save(folder / "frames.npy", self.frames)
        self.calibration = read_calibration(CALIBRATION_PATH)
        if len(self.calibration["smile_shifts"]) != self.rows.stop - self.rows.start:
            self.calibration = _small(self.calibration, self.rows.stop - self.rows.start, rows, columns)
        write_calibration(self.calibration, folder / "calibration.nc")
        settings = {
            "row_slice": [self.rows.start, self.rows.stop],
            "resolution": [rows, columns],
            "fwhm_nm": FWHM_NM if columns == 800 else 60,
            "exposure_ms": EXPOSURE_MS,
            "luminance": int(LUMINANCE),
            "pixel_format": "Mono12",
            "binxy": [1, 1],
            "win_offset": [0, 0],
            "win_resolution": [0, 0],
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        self.folder, self.fwhm_nm = folder, float(settings["fwhm_nm"])  # type: ignore[arg-type]

    def plan(self, level: int, compat: Any = None) -> LevelPlan:
        """Plan of a level for these frames."""
        return LevelPlan(
            level=level,
            frame_shape=self.shape,
            frame_dtype=np.dtype(np.uint16),
            rows=self.rows,
            calibration=self.calibration,
            fwhm_nm=self.fwhm_nm,
            exposure_ms=EXPOSURE_MS,
            luminance=LUMINANCE,
            compat=compat,
        )

    def in_steps(self, level: int) -> NDArray[Any]:
        """The line of the first frame, computed with plain numpy, one transform after the other."""
        parts = (self.shape, np.dtype(np.uint16), self.rows, self.calibration, self.fwhm_nm, EXPOSURE_MS, LUMINANCE)
        transforms = Transforms(level, *parts, is_compat=False)
        line: NDArray[Any] = self.frames[0]
        for name in LEVELS[level].steps:
            line = getattr(transforms, name)(line)
        return line / transforms.bands.n_columns if level in (5, 7, 8) else line


def _small(whole: Calibration, n_rows: int, n_frame_rows: int, n_columns: int) -> Calibration:
    """The part of a calibration that fits a small frame."""
    shifts = whole["smile_shifts"][:: len(whole["smile_shifts"]) // n_rows][:n_rows]
    left = n_columns - int(shifts.max())
    step = len(whole["wavelengths"]) // left
    small = whole.with_values(
        smile_shifts=shifts,
        rad_ref=whole["rad_ref"][:n_rows, :n_columns],
        flat_field_pic=whole["flat_field_pic"][:n_frame_rows, :n_columns],
        HgAr_pic=whole["HgAr_pic"][:n_frame_rows, :n_columns],
        **{key: whole[key][: left * step : step] for key in ("wavelengths", "wavelengths_linear")},
    )
    return Calibration(small, {key: small.dims[key] for key in ("rad_ref",)}, small.coordinates)


def _measure(plan: Plan, camera: Camera, level: int, core: int) -> Row:
    n_lines, n_rounds = plan.pick((400, 21), (200, 7), (16, 3))
    ours = camera.plan(level)
    ours.warm()
    line_bytes = int(np.prod(ours.line_shape)) * ours.line_dtype.itemsize
    stride = -(-line_bytes // PAGE) * PAGE
    memory = aligned_bytes(shared_array("B", n_lines * stride + PAGE, "lines"), n_lines * stride)
    lines = [memory[k * stride :][:line_bytes].view(ours.line_dtype).reshape(ours.line_shape) for k in range(n_lines)]
    touch, n_read = _touch(camera, ours, level)
    times: dict[str, list[float]] = {"ours": [], "bytes": [], "openhsi": []}
    with _Other(plan, camera, level, core) as other:
        for _ in range(n_rounds + 1):
            times["bytes"].append(_time(touch, camera.frames, lines))
            times["ours"].append(_time(ours.apply, camera.frames, lines))
            times["openhsi"].append(other.time())
    times = {side: values[1:] for side, values in times.items()}  # the first round allocates pages
    ours.apply(camera.frames[0], lines[0])
    _verify(level, lines[0], camera, other.crc32)
    return _row(level, times, line_bytes, n_read, other.crc32 is not None)


def _row(level: int, times: dict[str, list[float]], line_bytes: int, n_read: int, has_other: bool) -> Row:
    faster, slower = TARGETS.get(level, (12, 2.5))
    ratio = float(np.median(np.divide(times["ours"], times["bytes"])))
    gain = float(np.median(np.divide(times["openhsi"], times["ours"]))) if has_other else None
    is_reached = ratio <= slower and (gain is None or gain >= faster)
    mine = Spread(times["ours"])
    openhsi = f"openhsi's put {Spread(times['openhsi']).text('us', 0)} = {gain:.1f} x as long; " if gain else ""
    return Row(
        benchmark="levels",
        what=f"level {level}: one frame into a line",
        ours=f"{mine.text('us', 1)}, {1e6 / mine.median:,.0f} lines/s",
        against=f"{openhsi}{n_read / 1e6:.2f} MB in, {line_bytes / 1e6:.2f} MB out alone: "
        f"{Spread(times['bytes']).text('us', 1)}",
        ratio=ratio,
        target=f"<= {slower} x the bytes, openhsi >= {faster} x, >= 1500 lines/s",
        is_reached=is_reached and mine.median <= 1e6 / 1500,
        verified="the line equals plain numpy's"
        + (", and openhsi's equals that with compat, bit for bit" if has_other else ""),
        figures={f"{side}_us": values for side, values in times.items()} | {"openhsi_by_ours": gain},
    )


def _time(work: Callable[[Any, Any], Any], frames: NDArray[Any], lines: list[NDArray[Any]]) -> float:
    begun = time.perf_counter()
    for number, line in enumerate(lines):
        work(frames[number % len(frames)], line)
    return 1e6 * (time.perf_counter() - begun) / len(lines)


def _verify(level: int, line: NDArray[Any], camera: Camera, crc32: int | None) -> None:
    expected = camera.in_steps(level)
    if level < 4:
        np.testing.assert_array_equal(line, expected)
    else:
        np.testing.assert_allclose(line, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))
    if crc32 is not None:
        compat = camera.plan(level, "openhsi")
        as_openhsi = np.empty(compat.line_shape, compat.line_dtype)
        compat.apply(camera.frames[0], as_openhsi)
        if zlib.crc32(as_openhsi.tobytes()) != crc32:
            raise AssertionError(f"level {level}: compat='openhsi' differs from openhsi's result")


@functools.cache
def _touching() -> Callable[..., Any]:
    """The compiled loop over the bytes alone."""
    import numba

    @numba.njit  # type: ignore[untyped-decorator,unused-ignore]
    def touch(frame: Any, numbers: Any, line: Any) -> Any:
        total = np.uint64(0)
        for i in range(frame.shape[0]):
            total += frame[np.uint64(i)]
        for i in range(numbers.shape[0]):
            total += numbers[np.uint64(i)]
        for i in range(line.shape[0]):
            line[np.uint64(i)] = total
        return total

    return touch  # type: ignore[no-any-return,unused-ignore]


def _touch(camera: Camera, ours: LevelPlan, level: int) -> tuple[Callable[[Any, Any], Any], int]:
    """That loop for the frames and lines of a level, and how many bytes it reads."""
    touch = _touching()
    n_rows, n_bands = ours.line_shape
    n_columns = camera.shape[1] - int(camera.calibration["smile_shifts"].max())
    n_numbers = {4: 2 * n_bands, 6: 2 * n_bands, 5: n_columns + n_bands, 7: n_columns + n_bands, 8: n_columns + n_bands}
    numbers = np.ones(n_rows * n_numbers.get(level, 0) * 2 // 8, np.uint64)
    rows = slice(None) if level == -1 else camera.rows

    def work(frame: Any, line: Any) -> None:
        out = line.reshape(-1).view(np.uint8)
        touch(frame[rows].reshape(-1).view(np.uint64), numbers, out[: len(out) // 8 * 8].view(np.uint64))

    return work, camera.frames[0][rows].nbytes + numbers.nbytes


class _Other:
    """openhsi in its own Python, if there is one."""

    crc32: int | None = None

    def __init__(self, plan: Plan, camera: Camera, level: int, core: int) -> None:
        self._n, self._stack, self._process = plan.pick(40, 20, 4), ExitStack(), None
        if plan.openhsi_python is None:
            return
        command = [plan.openhsi_python, "-m", "benchmarks.levels_openhsi", str(core)]
        self._process = self._stack.enter_context(SideProcess("openhsi", command))
        paths = {name: str(camera.folder / file) for name, file in _FILES.items()}
        self.crc32 = self._process.ask("make", level=level, n_lines=plan.pick(400, 200, 16), **paths)["crc32"]

    def time(self) -> float:
        """Microseconds of one put."""
        return float("nan") if self._process is None else float(self._process.ask("time", n=self._n)["us"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


_FILES = {"frames": "frames.npy", "json_path": "settings.json", "cal_path": "calibration.nc"}


def _start_up(plan: Plan, folder: Path) -> Row:
    """Milliseconds until a plan of level 4 is warm in a new process: first without compiled kernels, then with."""
    import sys

    program = (
        "import sys, time; from openhsi_shared.calibration import read_calibration; import numpy as np\n"
        "from openhsi_shared.drivers.simulated import CALIBRATION_PATH; from openhsi_shared.levels import LevelPlan\n"
        "calibration = read_calibration(CALIBRATION_PATH); times = [time.perf_counter()]\n"
        "plan = LevelPlan(level=4, frame_shape=(644, 800), frame_dtype=np.dtype('u2'), rows=slice(16, 620),\n"
        "                 calibration=calibration, exposure_ms=2.0); times.append(time.perf_counter())\n"
        "import numba; times.append(time.perf_counter()); plan.warm(); times.append(time.perf_counter())\n"
        "plan.with_exposure(3.0); times.append(time.perf_counter()); print(*np.diff(times) * 1e3)"
    )
    found: list[list[float]] = []
    for _ in range(plan.pick(6, 3, 2)):
        answer = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels")},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append([float(word) for word in answer.stdout.split()])
    cold, warm = found[0], np.median(found[1:], axis=0)
    return Row(
        benchmark="levels",
        what="start-up of level 4 in a new process",
        ours=f"plan {warm[0]:.0f} ms, import of numba {warm[1]:.0f}, kernel cold {cold[2]:.0f}, "
        f"from its cache {warm[2]:.0f}; plan for another exposure {warm[3]:.1f}",
        verified="the kernel was compiled or loaded",
        figures={"cold_ms": cold, "warm_ms": [float(value) for value in warm]},
    )
