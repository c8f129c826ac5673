"""A trial of a disk: cubes are saved in it, as the writer does it, by a process that can be killed.

They lie in a hidden folder, each is removed when it is durable, and the folder at the end.
"""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.memory import PAGE, aligned_bytes, shared_array
from openhsi_shared.buffers.slot_memory import SlotLayout
from openhsi_shared.capture.planning.plan import DiskSpeed
from openhsi_shared.columns import COLUMNS, Saturation
from openhsi_shared.dataset import Cube
from openhsi_shared.errors import SaveError
from openhsi_shared.files.preview import write_preview
from openhsi_shared.files.usable_directory import free_bytes_in
from openhsi_shared.files.writing import CubeWriter
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.disk_watch import within
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.spawning import become_service
from openhsi_shared.processes.time_slices import WRITER_US
from openhsi_shared.save_options import Compression, SaveOptions

__all__ = ["DiskTrial", "free_bytes"]

logger = safe_logger(__name__)

START_TIMEOUT_S = 5.0
REMOVE_TIMEOUT_S = 2.0
PIECES = 8
"""The first cube of a compression, and all if the disk is slow, have an eighth of the lines: some are then done."""
WINDOW_S = 1.0


@dataclass(frozen=True)
class _Start:
    """To the child: save cubes with this compression until it says stop."""

    compression: Compression | None
    seconds: float


class _Done(NamedTuple):
    """From the child: a cube is durable."""

    n_lines: int
    seconds: float
    line_bytes: float


class _End(NamedTuple):
    """From the child: it is ready, the time of this compression is over, or it failed."""

    error: OSError | None


# ---- in the parent -------------------------------------------------------------------


def free_bytes(directory: Path, needed: int, timeout_s: float) -> int:
    """Free bytes of the disk of a directory, which is made. SaveError if it cannot be used, or has less than needed."""
    free = free_bytes_in(directory, timeout_s)
    if free < needed:
        figures = f"the trial needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
        raise SaveError(errno.ENOSPC, f"{figures}: choose another disk, or free some space", str(directory))
    return free


class DiskTrial:
    """The process that saves cubes of `n_lines` lines in a folder of its own in `directory`."""

    def __init__(self, directory: Path, layout: SlotLayout, lines: Sequence[NDArray[Any]]) -> None:
        """Start it; `lines` are repeated in the cubes. MemoryShortage, WriterFailed, OSError."""
        self._folder = directory / f".openhsi_shared-trial-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._layout = layout
        self._memory = shared_array("B", layout.slot_bytes + PAGE, f"the trial cube of {layout.n_lines:,} lines")
        memory = _lines_in(self._memory, layout)
        for number in range(layout.n_lines):
            memory[number] = lines[number % len(lines)]
        args = (self._memory, layout, str(self._folder))
        self._child = Child(_save_cubes, args, name="trial of the disk", logger=logger)

    def wait_until_ready(self, between: Callable[[], int]) -> None:
        """Call `between` until it has started. SaveError if it dies, or if its disk does not answer."""
        end = time.monotonic() + START_TIMEOUT_S
        while (message := self._child.receive(0)) is None:
            if time.monotonic() > end:
                raise SaveError(errno.ETIMEDOUT, "the trial of the disk did not start", str(self._folder.parent))
            between()
        if not isinstance(message, _End) or message.error is not None:
            raise self._failed(message)

    def speed(
        self, compression: Compression | None, seconds: float, until: float, between: Callable[[], int]
    ) -> DiskSpeed:
        """Save cubes for `seconds`, and until one is done, at the latest until `time.monotonic()` is `until`.

        Meanwhile `between()` is called again and again, and returns the number of frames that were lost; those before
        the first cube was done do not count. SaveError if the disk refuses a cube.
        """
        begun = time.monotonic()
        self._child.send(_Start(compression, min(seconds, until - begun)))
        done: list[_Done] = []
        n_lost = 0
        while time.monotonic() < until:
            n_missing = between()
            n_lost += n_missing if done else 0
            while (message := self._child.receive(0)) is not None:
                if isinstance(message, _Done):
                    done.append(message)
                elif isinstance(message, _End) and message.error is None and done:
                    return _speed_of(done, n_lost)
                elif isinstance(message, _End) or message is GONE:
                    raise self._failed(message)
        if done:
            return _speed_of(done, n_lost)
        bound = self._layout.n_lines / PIECES / (time.monotonic() - begun)
        return DiskSpeed(bound, bound, float(self._layout.line_bytes), n_lost, is_bound=True)

    def _failed(self, message: Any) -> SaveError:
        error = message.error if isinstance(message, _End) else None
        if error is None:
            return SaveError(None, "the process of the trial has died", str(self._folder.parent))
        return SaveError(error.errno, f"the trial cube was not saved: {error.strerror}", str(self._folder.parent))

    def close(self) -> None:
        """Kill the process, and remove the folder, unless the disk does not respond."""
        self._child.end()
        self._child.close()
        try:
            within(REMOVE_TIMEOUT_S, shutil.rmtree, self._folder, True)
        except TimeoutError:
            logger.warning("%s was not removed: its disk does not respond", self._folder)


def _speed_of(done: Sequence[_Done], n_lost: int) -> DiskSpeed:
    """The first one is cold, and counts only if it is the only one."""
    counted = done[1:] or done
    n_lines, seconds = sum(one.n_lines for one in counted), sum(one.seconds for one in counted)
    slowest = min(_windows(counted), default=n_lines / seconds)
    return DiskSpeed(n_lines / seconds, slowest, max(one.line_bytes for one in counted), n_lost)


def _windows(done: Sequence[_Done]) -> Iterator[float]:
    """Lines/s of the cubes in a row that together take a second."""
    for begin in range(len(done)):
        n_lines, seconds = 0, 0.0
        for one in done[begin:]:
            n_lines, seconds = n_lines + one.n_lines, seconds + one.seconds
            if seconds >= WINDOW_S:
                yield n_lines / seconds
                break


def _lines_in(memory: Any, layout: SlotLayout) -> NDArray[Any]:
    """The lines as in a slot: (n_lines, cross-track, wavelength), each at its page."""
    size = np.dtype(layout.dtype).itemsize
    data, strides = aligned_bytes(memory, layout.slot_bytes), (layout.stride, layout.line_shape[1] * size, size)
    return np.ndarray((layout.n_lines, *layout.line_shape), layout.dtype, data, 0, strides)


# ---- in the child --------------------------------------------------------------------


def _save_cubes(parent: Parent, memory: Any, layout: SlotLayout, folder: str) -> None:
    become_service(1, in_background=True, slice_us=WRITER_US)  # as the writer
    lines = _lines_in(memory, layout)
    with _folder_for(Path(folder), parent):
        parent.tell(_End(None))
        while (message := parent.receive()) is not GONE:
            if isinstance(message, _Start):
                error = None
                try:
                    _save_for(parent, lines, Path(folder), message)
                except OSError as failed:
                    error = failed if type(failed) is SaveError else OSError(failed.errno, failed.strerror)
                parent.tell(_End(error))


@contextmanager
def _folder_for(folder: Path, parent: Parent) -> Iterator[None]:
    try:
        folder.mkdir()
        yield
    except OSError as error:
        parent.tell(_End(OSError(error.errno, error.strerror)))
    finally:  # if the parent is killed, no other process removes it
        shutil.rmtree(folder, ignore_errors=True)


def _save_for(parent: Parent, lines: NDArray[Any], folder: Path, how: _Start) -> None:
    """Save cube after cube as the writer does: skeleton in idle time, cube, picture."""
    n_all = len(lines)
    n_piece = max(1, n_all // PIECES)
    options = SaveOptions(compression=how.compression)
    end = time.monotonic() + how.seconds
    n_lines, n_done = n_piece, 0
    with closing(CubeWriter(n_all, lines[0].shape, lines.dtype, options)) as writer:
        while not parent.is_dead() and (n_done == 0 or time.monotonic() < end):
            cube = _cube(lines[:n_lines])
            begun = time.monotonic()
            written = writer.write(cube, [folder])
            if written.picture is not None:
                write_preview(written.picture, written.path.with_suffix(".png"))
            seconds = time.monotonic() - begun
            parent.tell(_Done(n_lines, seconds, written.n_bytes / n_lines))
            with suppress(FileNotFoundError):
                written.path.unlink()
                written.path.with_suffix(".png").unlink()
            n_done += 1
            expected_s = seconds / n_lines * n_all
            n_lines = n_all if expected_s < how.seconds / (1 if n_done == 1 else 2) else n_piece


def _cube(lines: NDArray[Any]) -> Cube:
    n = len(lines)
    columns = {column.name: np.zeros(n, column.dtype) for column in COLUMNS}
    columns["frame_id"] = np.arange(n, dtype=columns["frame_id"].dtype)
    columns["time_ns"] = time.time_ns() + 1_000_000 * np.arange(n, dtype=np.int64)
    counted = Saturation(np.iinfo(lines.dtype).max, 0, lines.shape[1]) if lines.dtype.kind == "u" else None
    return Cube(memory=lines, n_lines=n, columns=columns, uuid=str(uuid.uuid4()), saturation=counted)
