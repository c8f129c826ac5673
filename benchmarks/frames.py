"""Check of files: every line is compared with the frame that the camera made.

Frames of the simulated camera depend only on their number, so the expected contents of a file can be computed.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import disk_usage
from typing import Any, Self

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from openhsi_shared.calibration import read_calibration
from openhsi_shared.drivers.simulated import CALIBRATION_PATH, SETTINGS_PATH, SimulatedDriver, frame_number
from openhsi_shared.drivers.simulated.counting import CountingPainter
from openhsi_shared.processes.spawning import SPAWN, become_service, spawn
from openhsi_shared.settings import read_settings

__all__ = [
    "Checked",
    "Checker",
    "CountedFrames",
    "SceneFrames",
    "are_accounted",
    "check_cube",
    "check_openhsi_cube",
    "frames_of_scene",
]

SPARE_BYTES = 16e9
"""Of the disk: as much is left to what a benchmark copies, and to files until they are checked."""


class CountedFrames:
    """Frames of the camera in the mode "counting", in any order."""

    def __init__(self, frame_shape: tuple[int, int]) -> None:
        self._painter = CountingPainter(frame_shape, np.dtype(np.uint16))
        self._frame = np.empty(frame_shape, np.uint16)

    def frame(self, number: int) -> NDArray[Any]:
        """The frame of that number; the next call overwrites it."""
        self._painter.paint(self._frame, number)
        return self._frame


class SceneFrames:
    """Frames of the camera that flies over its scene, or has another mode, from frame 0 on, in order."""

    def __init__(self, frame_shape: tuple[int, int], mode: str | None = None) -> None:
        settings = read_settings(SETTINGS_PATH, {"resolution": frame_shape, "row_slice": (0, -1)})
        calibration = read_calibration(CALIBRATION_PATH)  # as the camera has it
        self._driver = SimulatedDriver(settings, calibration=calibration, mode=mode)
        self._driver.open()
        self._driver.start()
        self._frame = np.empty(frame_shape, np.uint16)
        self._number: int | None = -1

    def frame(self, number: int) -> NDArray[Any]:
        """The frame of that number, not lower than that of the last call; the next call overwrites it."""
        while self._number != number:
            self._number = self._driver.read_into(self._frame, 1.0).frame_id
        return self._frame


def frames_of_scene(frame_shape: tuple[int, int], n: int) -> NDArray[Any]:
    """The first `n` frames of the scene, (n, cross-track, wavelength)."""
    source = SceneFrames(frame_shape)
    frames = np.empty((n, *frame_shape), np.uint16)
    for number, frame in enumerate(frames):  # copied one by one: the source has a single buffer
        np.copyto(frame, source.frame(number))
    return frames


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Contents of a file."""

    path: Path
    ids: tuple[int, ...]
    """Frame ids of its lines, from its column or, in openhsi's files, from the lines themselves."""
    n_wrong: int
    """Lines that differ from the camera's frame in any bit, or have a wrong checksum."""
    n_checked: int
    """Lines whose pixels were compared."""
    n_bytes: int


def check_cube(path: Path, source: CountedFrames | SceneFrames, every: int = 1) -> Checked:
    """Compare each `every`-th line of a file of this library with the expected frame.

    Its writer may still hold its lock when the file was published just now.
    """
    with h5py.File(path, "r", locking=False) as file:
        cube = file["datacube"]
        ids, sums = file["frame_id"][...], file["line_crc32"][...]
        if file.attrs["complete"] != 1 or cube.shape[1] != len(ids):
            return Checked(path=path, ids=(), n_wrong=len(ids), n_checked=0, n_bytes=path.stat().st_size)
        checked = range(0, len(ids), every)
        n_wrong = 0
        for y in checked:
            line = cube[:, y, :]
            is_right = np.array_equal(line, source.frame(int(ids[y]))) and isal_zlib.crc32(line) == sums[y]
            n_wrong += not is_right
    return Checked(
        path=path, ids=tuple(ids.tolist()), n_wrong=n_wrong, n_checked=len(checked), n_bytes=path.stat().st_size
    )


def check_openhsi_cube(path: Path, source: CountedFrames) -> Checked:
    """Compare every line of a file of openhsi with the frame whose number it has; an unreadable file has no lines.

    Files are unreadable when two of its processes wrote the same one at the same time.
    """
    try:
        with h5py.File(path, "r") as file:
            cube = file["datacube"][...]
    except (OSError, KeyError):
        return Checked(path=path, ids=(), n_wrong=0, n_checked=0, n_bytes=path.stat().st_size)
    lines = [np.ascontiguousarray(cube[:, y]) for y in range(cube.shape[1])]
    ids = tuple(frame_number(line) for line in lines)
    n_wrong = sum(not np.array_equal(line, source.frame(number)) for line, number in zip(lines, ids, strict=True))
    return Checked(path=path, ids=ids, n_wrong=n_wrong, n_checked=len(lines), n_bytes=path.stat().st_size)


def are_accounted(files: Sequence[Checked], n_offered: int, lost: Sequence[tuple[int, int]]) -> bool:
    """Whether each of the frames 0 to n_offered - 1 is in the files once, or declared lost, and no line is wrong."""
    saved = [number for file in files for number in file.ids]
    declared = [number for first, last in lost for number in range(first, last + 1)]
    return sorted(saved + declared) == list(range(n_offered)) and not any(file.n_wrong for file in files)


class Checker:
    """A process of low priority that checks files and deletes them, while others are still recorded.

    It starts only when more than `keep_bytes` wait and the disk fills up: it would be a load beside the recording.
    """

    def __init__(self, frame_shape: tuple[int, int], mode: str | None, keep_bytes: float = 8e9, every: int = 1) -> None:
        self._keep_bytes = keep_bytes
        self._waiting: deque[Path] = deque()
        self._bytes_waiting = 0
        self._connection, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_check_files, args=(theirs, frame_shape, mode, every))
        spawn(self._process)
        theirs.close()

    def add(self, path: Path) -> None:
        """Take a finished file; it may be deleted at any time."""
        self._waiting.append(path)
        self._bytes_waiting += path.stat().st_size
        while self._bytes_waiting > self._keep_bytes and disk_usage(path.parent).free < SPARE_BYTES:
            self._send_one()

    def _send_one(self) -> None:
        path = self._waiting.popleft()
        self._bytes_waiting -= path.stat().st_size
        self._connection.send(path)

    def results(self) -> list[Checked]:
        """Check the waiting files, and return the results of all in order. Blocks until that is done."""
        while self._waiting:
            self._send_one()
        self._connection.send(None)
        found: list[Checked] = self._connection.recv()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _check_files(connection: Connection, frame_shape: tuple[int, int], mode: str | None, every: int) -> None:
    """Main function of the checker's process."""
    become_service(19)  # in the session of the camera it would run in the camera's share of the processors
    source = CountedFrames(frame_shape) if mode == "counting" else SceneFrames(frame_shape)
    found = []
    with suppress(EOFError):  # the other side has exited: the results are not needed
        while (path := connection.recv()) is not None:
            found.append(check_cube(path, source, every))
            path.unlink()
            path.with_suffix(".png").unlink(missing_ok=True)
        connection.send(found)
