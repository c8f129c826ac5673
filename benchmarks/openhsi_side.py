"""openhsi's own shared cube, with the paced camera of this library; run by a Python that has openhsi.

Requests are JSON lines on the standard input, answers are JSON lines on the standard output; what openhsi prints
is discarded. `openhsi_process` is the other side.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from openhsi.shared import SharedDataCube, SharedOpenHSI  # type: ignore[import-not-found,unused-ignore]

from openhsi_shared.drivers.simulated import SimulatedDriver
from openhsi_shared.drivers.simulated.counting import CountingPainter
from openhsi_shared.settings import read_settings


class PacedCamera:
    """The camera with openhsi's interface: the same sensor, queue and frames as on the other side."""

    def __init__(self, rate: float, queue: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        settings = read_settings(None, {"resolution": self.settings["resolution"], "pixel_format": "Mono12"})  # type: ignore[attr-defined]
        self._driver = SimulatedDriver(settings, mode="counting", rate=rate, queue=queue)
        self._driver.open()
        self._frame = np.empty(self._driver.frame_shape, np.uint16)
        self.ids: list[int] = []

    def start_cam(self) -> None:
        """Start the stream of frames, from 0 on."""
        self._driver.start()

    def stop_cam(self) -> None:
        """Stop the stream of frames."""
        self._driver.stop()

    def get_img(self) -> Any:
        """Wait for a frame; the next call overwrites it."""
        stamp = self._driver.read_into(self._frame, 10.0)
        self.ids.append(stamp.frame_id or 0)
        return self._frame

    def get_temp(self) -> float:
        """Return the temperature in degrees Celsius."""
        return self._driver.temperature_celsius()

    def set_exposure(self, exposure_ms: float) -> None:
        """Set the exposure."""
        self._driver.set_exposure(exposure_ms)


class SharedPacedCamera(PacedCamera, SharedOpenHSI):  # type: ignore[misc]
    """A camera class as in openhsi's documentation."""


def loop(order: dict[str, Any]) -> dict[str, Any]:
    """Run its documented loop."""
    cubes, gaps_ms, saves_ms, process = [], [], [], None
    camera = SharedPacedCamera(
        order["rate"], order["queue"], n_lines=order["n_lines"], processing_lvl=-1, json_path=_settings_file(order)
    )
    camera.start_cam()
    begun = time.perf_counter()
    for n in range(order["n_cubes"]):
        camera.collect()
        collected = time.perf_counter()
        if order["join"] and process is not None:
            process.join()
        called = time.perf_counter()
        process = camera.save(order["directory"])
        gaps_ms.append(1e3 * (time.perf_counter() - collected))
        saves_ms.append(1e3 * (time.perf_counter() - called))
        cubes.append(camera.ids[n * order["n_lines"] :])
    seconds = time.perf_counter() - begun
    camera.stop_cam()
    _join_all()
    return {"cubes": cubes, "gaps_ms": gaps_ms, "saves_ms": saves_ms, "seconds": seconds}


class Saves:
    """A cube that is filled and saved on demand."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._directory, self._n_lines = order["directory"], order["n_lines"]
        self._cube = SharedDataCube(n_lines=self._n_lines, processing_lvl=-1, json_path=_settings_file(order))
        shape = tuple(order["frame_shape"])
        self._painter, self._frame = CountingPainter(shape, np.dtype(np.uint16)), np.empty(shape, np.uint16)
        self._number = 0

    def once(self) -> dict[str, Any]:
        """Fill, save, wait: milliseconds of the call, and path of the file."""
        for _ in range(self._n_lines):
            self._painter.paint(self._frame, self._number)
            self._cube.put(self._frame)
            self._number += 1
        begun = time.perf_counter()
        process = self._cube.save(self._directory)
        call = time.perf_counter() - begun
        process.join()
        path = max(Path(self._directory).glob("*/*.nc"), key=lambda path: path.stat().st_mtime_ns)
        return {"call_ms": 1e3 * call, "path": str(path)}


def _settings_file(order: dict[str, Any]) -> str:
    rows, columns = order["frame_shape"]
    settings = {
        "row_slice": [0, rows],
        "resolution": [rows, columns],
        "fwhm_nm": 4,
        "exposure_ms": 1,
        "luminance": 10000,
        "binxy": [1, 1],
        "win_offset": [0, 0],
        "win_resolution": [0, 0],
        "pixel_format": "Mono12",
    }
    path = Path(tempfile.mkdtemp(dir=order["directory"])) / "settings.json"
    path.write_text(json.dumps(settings))
    return str(path)


def _join_all() -> None:
    import multiprocessing

    for process in multiprocessing.active_children():
        process.join()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    saves: Saves | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "loop":
            answer = loop(order)
        elif order["do"] == "make":
            saves, answer = Saves(order), {}
        elif saves is not None:
            answer = saves.once()
        else:
            raise SystemExit(f"{order}: send make first")
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
