"""Lines lost by a camera, and lines reported as lost, on every stack that can lose: they must be equal.

The camera's losses are known independently: a simulated or stand-in sensor counts them, pylon reports how many frames
it skipped, Aravis' fake camera writes its frame number into the pixels.
"""

import importlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measuring import Plan, Row
from openhsi_shared import SharedSimulatedCamera, cameras, open_cube
from openhsi_shared.drivers.simulated.counting import frame_number
from openhsi_shared.errors import CameraError

__all__ = ["run"]

STAND_INS = Path(__file__).parents[1] / "tests" / "support" / "stand_ins"
VENDORS = ("SharedXimeaCamera", "SharedFlirCamera", "SharedLucidCamera", "SharedHikrobotCamera")


class Found(NamedTuple):
    """Result of one stack."""

    stack: str
    truth: str
    """Source of the true number."""
    n_lost: int
    n_told: int
    """In `status()` after the last line."""
    n_in_file: int
    """In the attributes of the files."""


def run(plan: Plan) -> list[Row]:
    n_lines = plan.pick(2000, 500, 40)
    rows = []
    with plan.folder("loss") as folder:
        for measure in (_simulated, *(_vendor(name) for name in VENDORS), _basler, _aravis):
            found = measure(folder, n_lines)
            if isinstance(found, str):
                rows.append(Row(benchmark="loss", what=found, ours="not measured", verified="nothing"))
                continue
            rows.append(
                Row(
                    benchmark="loss",
                    what=f"{found.stack}: lines lost, of {n_lines} and those",
                    ours=f"{found.n_told} reported, {found.n_in_file} in the files",
                    against=f"{found.truth}: {found.n_lost}",
                    target="equal, and some were lost",
                    is_reached=found.n_lost > 0,
                    is_right=found.n_lost == found.n_told == found.n_in_file,
                    verified="ids of all lines in the files",
                    figures=found._asdict(),
                )
            )
    return rows


class Taken(NamedTuple):
    """What this library reports of a camera's lines."""

    n_told: int
    n_in_file: int
    ids: list[int]
    marks: list[int]
    """The first pixel of each line in the files."""


def _take(camera: Any, folder: Path, n_lines: int, each: Any) -> Taken:
    """Take frames, with `each(n)` before each one, and read the files back."""
    camera.start_streaming()
    handles = []
    each(0)
    while not camera.take_line():  # counted from the first line to the last: outside, no frame number is known
        each(0)
    n_before = camera.status().lines_lost
    n, is_line = 1, True
    while n < n_lines or not is_line:
        each(n)
        is_line = camera.take_line()
        n += 1
        if camera.n_collected == camera.n_lines:
            handles.append(camera.save(folder, savefig=False))
    if camera.n_collected:
        handles.append(camera.save(folder, savefig=False))
    ids: list[int] = []
    marks: list[int] = []
    n_in_file = 0
    for handle in handles:
        path = handle.result().path
        if path is None:
            continue
        with open_cube(path) as cube:
            ids += [] if cube.frame_ids is None else cube.frame_ids.tolist()
            marks += [int(line[0, 0]) for line in cube.lines]
            n_in_file += int(cube.attributes["lines_lost"])
        path.unlink()
    n_told = camera.status().lines_lost - n_before
    n_in_file -= n_before
    if sorted(set(ids)) != ids or (ids and ids[-1] - ids[0] + 1 - len(ids) != n_told):
        raise AssertionError(f"the ids in the files do not show {n_told} lost lines: {ids[:9]} ... {ids[-9:]}")
    return Taken(n_told, n_in_file, ids, marks)


def _simulated(folder: Path, n_lines: int) -> Found:
    chance = random.Random(1)
    with SharedSimulatedCamera(
        64, mode="counting", resolution=(16, 32), row_slice=None, cal_path="", rate=2000, queue=8, n_buffers=4
    ) as cam:
        numbers: list[int] = []

        def dawdle(_: int) -> None:
            if cam.n_collected:
                numbers.append(frame_number(cam.lines[-1]))  # from the frame itself
            time.sleep(0.02 if chance.random() < 0.02 else 0)

        n_told, n_in_file, ids, _ = _take(cam, folder, n_lines, dawdle)
    last = ids[-1]
    n_lost = last + 1 - n_lines
    if numbers != sorted(set(numbers)) or not set(numbers) <= set(ids):
        raise AssertionError("frames came twice or out of order")
    return Found("simulated, queue of 8", "numbers in the frames", n_lost, n_told, n_in_file)


def _vendor(name: str) -> Any:
    def measure(folder: Path, n_lines: int) -> Found:
        chance = random.Random(2)
        with _stand_ins() as sensors:
            sensor = sensors.reset().sensors[0]
            with getattr(cameras, name)(n_lines=64, exposure_ms=1, queue=4, n_buffers=4) as cam:
                sensor.is_on_call = True
                sensor.lost_on_the_way = {n for n in range(1, 3 * n_lines) if chance.random() < 0.02}

                def expose(_: int) -> None:
                    while sensor.n_waiting == 0:
                        sensor.expose(chance.choice((1, 1, 1, 2, 4, 7)))

                n_told, n_in_file, ids, _ = _take(cam, folder, n_lines, expose)
                n_after = sensor.n_shot - 1 - ids[-1] - sensor.n_waiting  # after the last line: not known yet
                n_lost = sensor.n_skipped + sensor.n_lost_on_the_way - max(0, n_after)
        return Found(f"{name} on a stand-in, queue of 4", "the sensor's own count", n_lost, n_told, n_in_file)

    return measure


@contextmanager
def _stand_ins() -> Iterator[Any]:
    sys.path.insert(0, str(STAND_INS))
    try:
        yield importlib.import_module("stand_in_sensor")
    finally:
        sys.path.remove(str(STAND_INS))


def _basler(folder: Path, n_lines: int) -> Found | str:
    os.environ.setdefault("PYLON_CAMEMU", "1")
    nodes = {"AcquisitionFrameRateEnable": True, "AcquisitionFrameRateAbs": 500.0}
    try:
        camera = cameras.SharedBaslerCamera(
            n_lines=64, resolution=(8, 16), pixel_format="Mono16", exposure_ms=0.2, nodes=nodes, n_buffers=4
        )
    except CameraError as error:
        return f"Basler's emulation: {error}"
    from openhsi_shared.drivers.basler import pylon

    skipped: list[int] = []
    with camera as cam:
        cam.start_streaming()
        driver: Any = cam.driver
        connection = driver._connection
        connection._camera.StopGrabbing()  # recording never uses this mode; here it makes pylon lose frames
        connection._camera.StartGrabbing(pylon.GrabStrategy_LatestImageOnly)
        take = connection._take

        def listening(result: Any, out: Any, unpack: Any) -> Any:
            skipped.append(result.GetNumberOfSkippedImages())
            return take(result, out, unpack)

        connection._take = listening
        taken = _take(cam, folder, min(n_lines, 300), lambda n: time.sleep(0.02 if n % 10 == 5 else 0))
    return Found("Basler's emulation, the latest image only", "pylon", sum(skipped[1:]), taken.n_told, taken.n_in_file)


def _aravis(folder: Path, n_lines: int) -> Found | str:
    program = shutil.which("arv-fake-gv-camera-0.8")
    if program is None:
        return "Aravis: needs Debian's aravis-tools, gir1.2-aravis-0.8 and python3-gi"
    command = [program, "-i", "127.0.0.1", "-s", "LOSS", "-r", "20"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            cam = _by_aravis()
            if isinstance(cam, str):
                return cam
            with cam:
                taken = _take(cam, folder, min(n_lines, 400), lambda _: None)
        finally:
            process.kill()
    # at an exposure of 10 ms its first pixel is the number of the frame modulo 255
    n_lost = int(((np.diff(taken.marks) - 1) % 255).sum())
    return Found("Aravis' GigE camera, packets lost", "numbers in the pixels", n_lost, taken.n_told, taken.n_in_file)


def _by_aravis() -> Any:
    until = time.monotonic() + 15
    while True:
        try:
            return cameras.SharedGenICamCamera(
                n_lines=64,
                producer="aravis",
                serial_num="LOSS",
                win_resolution=(64, 256),
                pixel_format="Mono8",
                exposure_ms=10,
                nodes={"AcquisitionFrameRate": 90.0},
                n_buffers=4,
            )
        except CameraError as error:
            if time.monotonic() > until or isinstance(error, ImportError):
                return f"Aravis: {error}"
            time.sleep(0.2)
