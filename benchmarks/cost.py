"""CPU seconds a GB while recording uncompressed, compared with copy, CRC and raw writing of the same bytes.

The camera's own work, which its driver measures, is not counted: a real camera's frames are made elsewhere. But a copy
of each frame into the slot is, since every recorder has it, and so has what is compared with.
"""

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from isal import isal_zlib
from numpy.typing import NDArray

from benchmarks.frames import SceneFrames, check_cube
from benchmarks.loop import QUEUE
from benchmarks.measuring import Plan, Row, Spread
from benchmarks.raw_disk import RawBytes
from openhsi_shared import SharedSimulatedCamera, record
from openhsi_shared.calibration import Calibration
from openhsi_shared.drivers import Driver, FrameStamp
from openhsi_shared.drivers.simulated import SimulatedDriver
from openhsi_shared.settings import CameraSettings

__all__ = ["run"]

RATE = 500.0
GB = 1e9


def run(plan: Plan) -> list[Row]:
    n_lines, seconds, n_rounds = plan.pick((512, 10.0, 5), (512, 6.0, 2), (16, 1.0, 1))
    frame = np.full(plan.frame_shape, 2000, np.uint16)
    raw = RawBytes(plan.pick(1024, 1024, 64) * plan.line_bytes)
    names = ("recording", "camera", "copy", "crc", "write")
    costs: dict[str, list[float]] = {name: [] for name in names}
    n_files = n_lost = 0
    with plan.folder("cost") as folder:
        is_direct = raw.can_be_direct(folder)
        for _ in range(n_rounds):
            recording, camera, n_checked, n_lost_now = _recording(plan, folder, n_lines, seconds)
            n_files, n_lost = n_files + n_checked, n_lost + n_lost_now
            costs["recording"].append(recording)
            costs["camera"].append(camera)
            costs["copy"].append(_of_lines(plan, np.copyto, frame))
            costs["crc"].append(_of_lines(plan, lambda line, _: isal_zlib.crc32(line), frame))
            costs["write"].append(_cpu_s(lambda: raw.write(folder / "raw", is_direct)) / raw.n_bytes * GB)
            (folder / "raw").unlink()
    rounds = list(zip(*(costs[name] for name in names), strict=True))
    ours = Spread([recording - camera + copy for recording, camera, copy, _, _ in rounds])
    bound = Spread([copy + crc + write for _, _, copy, crc, write in rounds])
    ratio = Spread([one / other for one, other in zip(ours.values, bound.values, strict=True)]).median
    medians = ", ".join(f"{name} {Spread(costs[name]).median:.3f}" for name in names)
    return [
        Row(
            benchmark="cost",
            what=f"CPU s a GB of all processes of record(), {RATE:.0f} lines/s uncompressed, without the camera's",
            ours=ours.text("s/GB", 3),
            against=f"copy + CRC + {'direct' if is_direct else 'buffered'} pwrite: {bound.text('s/GB', 3)}; {medians}",
            ratio=ratio,
            target="<= 1.6 x the bound",
            is_reached=ratio <= 1.6,
            verified=f"every line and checksum of {n_files} files, {n_lost} lines lost; size of {n_rounds} raw ones",
            figures={"s_per_gb": costs, "lost": n_lost, "is_direct": is_direct},
        )
    ]


def _recording(plan: Plan, folder: Path, n_lines: int, seconds: float) -> tuple[float, float, int, int]:
    """CPU s a GB of this process and its children, and of the camera alone; files that are right; lines lost."""
    with record(
        MeteredCamera,
        folder,
        n_lines=n_lines,
        seconds=seconds + 60,
        progress=False,
        resolution=plan.frame_shape,
        row_slice=(0, -1),
        cost_path=folder / "camera_cpu_ns",
        rate=RATE,
        queue=QUEUE,
    ) as recording:
        while recording.status().lines < n_lines:  # until the imports are done, and a save has begun
            time.sleep(0.05)
        camera_ns = _number_in(folder / "camera_cpu_ns")
        tree = _tree()
        n_before, cpu_s, camera_s = recording.status().lines, _cpu_s_of(tree), camera_ns[0] / 1e9
        time.sleep(seconds)
        cpu_s, camera_s = _cpu_s_of(tree) - cpu_s, camera_ns[0] / 1e9 - camera_s
        gb = (recording.status().lines - n_before) * plan.line_bytes / GB
        if set(_tree()) != set(tree):
            raise AssertionError(f"processes were {tree}, and are {_tree()}: not all of their time was counted")
        recording.stop()
        summary = recording.wait()
    files, source = [], SceneFrames(plan.frame_shape, mode="flat")
    for path in sorted(folder.glob("*/[!.]*.nc")):
        files.append(check_cube(path, source))
        path.unlink()
    n_right = len({number for file in files if not file.n_wrong for number in file.ids})
    if n_right != summary.lines:
        raise AssertionError(f"{n_right} lines are right in the files of {summary}")
    return cpu_s / gb, camera_s / gb, len(files), summary.lines_lost


def _tree() -> list[psutil.Process]:
    """The calling process and all its children. Not while time is counted: the search itself takes milliseconds."""
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


def _cpu_s_of(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


class MeteredDriver(SimulatedDriver):
    """A simulated camera that adds its CPU time in ns to a number in a file."""

    def __init__(
        self,
        settings: CameraSettings,
        *,
        cost_path: Path,
        calibration: Calibration | None = None,
        rate: float | None = None,
        queue: int = 2,
    ) -> None:
        super().__init__(settings, calibration=calibration, mode="flat", rate=rate, queue=queue)
        self._cost_ns = _number_in(cost_path)

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """As the simulated camera."""
        begun = time.thread_time_ns()
        stamp = super().read_into(out, timeout_s)
        self._cost_ns[0] += time.thread_time_ns() - begun
        return stamp


class MeteredCamera(SharedSimulatedCamera):
    """A camera with this driver."""

    def _driver_class(self) -> Callable[..., Driver]:
        return MeteredDriver


def _number_in(path: Path) -> NDArray[np.int64]:
    """An integer in a file, which several processes have mapped."""
    with path.open("a+b") as file:
        file.truncate(8)
        return np.frombuffer(mmap.mmap(file.fileno(), 8), np.int64)


def _of_lines(
    plan: Plan, function: Callable[[NDArray[np.uint16], NDArray[np.uint16]], object], frame: NDArray[np.uint16]
) -> float:
    """CPU s a GB of `function` of each line in memory as large as a slot, and a frame."""
    slot = np.ones((plan.pick(512, 512, 64), *plan.frame_shape), np.uint16)
    return _cpu_s(lambda: [function(line, frame) for line in slot]) / slot.nbytes * GB


def _cpu_s(function: Callable[[], object]) -> float:
    begun = time.process_time()  # `os.times` counts in steps of 10 ms, of which a copy takes two
    function()
    return time.process_time() - begun
