"""The writer loop: a process that saves full slots in order, and outlives its parent if the parent dies.

It only reads shared memory and answers on its pipe. While the parent lives, it saves the cubes that it is sent. When
the parent is gone, for whatever reason, no other process owns the slots: then it saves every committed line, oldest
cube first, and marks these files `recovered`. It exits with status 1 if it could not save one.
"""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from openhsi_shared.buffers.slot_memory import SlotMemory, SlotState, Word
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.dataset import Cube
from openhsi_shared.errors import SaveError
from openhsi_shared.files.published import CubeOnDisk
from openhsi_shared.files.saving import Written
from openhsi_shared.files.writing import CubeWriter
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.spawning import become_service
from openhsi_shared.processes.time_slices import WRITER_US
from openhsi_shared.writer.directories import PLACE, DirectoriesInTurn, directory_in_use
from openhsi_shared.writer.fault_injection import fault_injector
from openhsi_shared.writer.late_previews import LatePreviews, picture_written
from openhsi_shared.writer.messages import (
    CubeKind,
    Dumped,
    Failed,
    Label,
    Ready,
    Rescue,
    Save,
    Saved,
    Stop,
)
from openhsi_shared.writer.rescue_directory import directories_of, rescue_directories
from openhsi_shared.writer.rescue_watch import RescueWatch
from openhsi_shared.writer.slot_cubes import cube_in, cube_on_disk, slots_to_rescue, unchecked, with_channels

if TYPE_CHECKING:
    from openhsi_shared.writer.cube_channels import CubeChannels

__all__ = ["run_writer"]

Result = TypeVar("Result")

logger = safe_logger(__name__)

FINISHED = b"finished"
PRIMARY_TIMEOUT_S = 60.0
NICENESS = 1
"""Below the camera, and hardly below other programs: a writer that they hold up costs lines when all slots are full."""


def run_writer(
    parent: Parent,
    memory: SlotMemory,
    kind: CubeKind,
    counter: Any,
    alive: Connection,
    primary: Connection | None,
) -> None:
    """Save cubes until the parent sends Stop or dies; the main function of the child.

    `counter` is the shared heartbeat, incremented at each step of a save; `alive` is held open while this process
    lives; in a standby writer, `primary` is the other end of the primary writer's `alive`.
    """
    become_service(NICENESS, in_background=True, slice_us=WRITER_US)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # system shutdown: the parent dies first, then this process finishes
    forward_logs(parent)
    loop = _WriterLoop(SlotView.of(memory), kind, parent, counter)

    def end(is_saved: bool) -> None:
        if is_saved:
            _send_finished(alive)
        os._exit(not is_saved)  # a thread hangs

    RescueWatch(loop, parent, kind.timeout_s(memory.layout.slot_bytes), end)
    parent.tell(Ready())  # it may be dead already and have left cubes: continue
    prepared = False
    while True:
        if not parent.has_message():
            if not prepared:
                prepared = loop.prepare()
                continue
            if loop.write_preview():
                continue
        message = parent.receive()
        if isinstance(message, Save):
            loop.save(message)
            prepared = False
        elif isinstance(message, Stop):
            while loop.write_preview():
                pass
            break
        elif isinstance(message, Rescue):
            loop.avoid = message.avoid
            if not loop.rescue():
                sys.exit(1)
            break
        elif message is GONE:
            parent.wait_until_dead()  # while it lives it fills a slot: a part of a cube would be saved as the whole
            if (primary is None or not _exited_cleanly(primary)) and not loop.rescue():
                sys.exit(1)
            break
    _send_finished(alive)


def _send_finished(alive: Connection) -> None:
    with suppress(OSError):  # there may be no reader left
        alive.send_bytes(FINISHED)


def _exited_cleanly(primary: Connection) -> bool:
    """Wait for the primary writer to exit; True if it exited cleanly.

    The wait for one that hangs in the kernel has a limit: if it continues later, both save the same cubes, and one file
    of each is kept.
    """
    try:
        return primary.poll(PRIMARY_TIMEOUT_S) and primary.recv_bytes() == FINISHED
    except (EOFError, OSError):
        return False


def _channels_of(kind: CubeKind) -> "CubeChannels | None":
    if kind.channels is None:
        return None
    from openhsi_shared.writer.cube_channels import CubeChannels  # not above: a writer without channels starts sooner

    return CubeChannels(kind.channels)


class _WriterLoop:
    """Saves slots and sends the results."""

    def __init__(self, slots: SlotView, kind: CubeKind, parent: Parent, counter: Any) -> None:
        self._slots, self._kind, self._parent, self._counter = slots, kind, parent, counter
        self._channels = _channels_of(kind)
        self._previews = LatePreviews(counter, parent.tell)
        self._inject_fault = fault_injector()
        self._done: dict[int, Saved] = {}
        self._old_style = True
        self.is_busy, self._is_abandoned = False, False
        self.avoid: tuple[str, ...] = ()
        """Directories that did not respond when the last request was sent."""
        layout = slots.layout
        self._files = CubeWriter(layout.n_lines, layout.line_shape, layout.dtype, kind.options)

    def _passed(self, point: str) -> None:
        """A save has reached `point`: increment the heartbeat."""
        self._stop_if_abandoned()
        self._counter[0] += 1
        self._inject_fault(point)

    def prepare(self) -> bool:
        """Build the next file's skeleton while idle."""
        self._files.prepare(self._old_style)
        return True

    def save(self, request: Save) -> None:
        """Save one cube and send the result, also if it fails."""
        with self._as_busy():
            self._save(request)

    def _save(self, request: Save) -> None:
        label = Label.from_bytes(self._slots.label(request.slot))
        self.avoid = request.avoid
        directories = [d for d in (label.directory, *self._kind.fallback_dirs) if d not in request.avoid]
        self._passed("begun")
        try:
            if request.only_look or request.as_dump:
                written = self._find(request, label, recovered=False)
                if written is None:
                    self._parent.tell(self._dumped(request, label, directories))
                    return
            else:
                written = self._write_once(request, label, directories)
        except Exception as error:  # noqa: BLE001 - not swallowed: the parent raises it
            path = self._on_disk(request, label).published()
            if path is None:
                self._parent.tell(_failure(request.cube, error))
                return
            written = Written.found(path)
        self._passed("before_answer")
        answer = _saved(request.cube, written, preview_follows=label.savefig)
        self._done[request.cube] = answer
        self._note_samples(request.cube, written)
        self._parent.tell(answer)
        if label.savefig:
            self._previews.add(request.cube, written)
        self._counter[PLACE] = 0

    def write_preview(self) -> bool:
        """Write the picture that has waited longest; its slot is free. False if there is none."""
        with self._as_busy():
            return self._previews.write_next()

    def rescue(self) -> bool:
        """Save every cube that is still in memory, and answer for each; False if the lines of one are in no file."""
        with self._as_busy():
            results = [self._rescue(slot) for slot in slots_to_rescue(self._slots)]
            self._previews.write_all()
        return all(results)

    # ---- for the rescue watch, which is in another thread ----

    @property
    def n_steps(self) -> int:
        """The heartbeat."""
        return int(self._counter[0])

    def abandon(self) -> str:
        """Stop at the next step. Returns the directory in use; "", and go on, if there is none, or it is avoided."""
        directory = directory_in_use(self._counter, self._slots, self._kind)
        if directory in self.avoid:
            return ""
        self._is_abandoned = bool(directory)
        return directory

    def elsewhere(self, directory: str) -> "_WriterLoop":
        """A loop that saves what this one has not answered for, and avoids `directory`."""
        other = _WriterLoop(self._slots, self._kind, self._parent, [0, 0, 0])
        other.avoid, other._done = (*self.avoid, directory), dict(self._done)
        return other

    @contextmanager
    def _as_busy(self) -> Iterator[None]:
        self.is_busy = True
        try:
            yield
        finally:
            self._stop_if_abandoned()
            self.is_busy = False

    def _stop_if_abandoned(self) -> None:
        if self._is_abandoned:  # another thread saves the cubes, and ends the process
            threading.Event().wait()

    # ---- one cube ----

    def _rescue(self, slot: int) -> bool:
        cube = self._slots.word(slot, Word.CUBE)
        answer = self._done.get(cube) or self._save_somewhere(slot, cube)
        if not self._parent.tell(answer) and isinstance(answer, Failed):  # else the parent raises it
            logger.error("the lines of cube %d are lost: %s\n%s", cube, answer.message, answer.traceback)
        return not isinstance(answer, Failed)

    def _save_somewhere(self, slot: int, cube: int) -> Saved | Dumped | Failed:
        """Save one cube in the first directory that takes it, as a file, or else its raw bytes."""
        request = Save(slot, cube, avoid=self.avoid, is_repeated=True)
        label = Label.from_bytes(self._slots.label(slot))
        failures: list[Exception] = []
        written, dump = self._try(failures, self._find, request, label, recovered=True), None
        for directories in self._directories(label):
            written = written or self._try(failures, self._write, request, label, directories, recovered=True)
        if written is not None:
            self._note_samples(cube, written)
            self._try(failures, self._on_disk(request, label).remove_dumps)
            if label.savefig:
                picture_written(cube, written)
            return _saved(cube, written, preview_follows=False)
        dump = self._try(failures, self._on_disk(request, label).dumped)
        for directories in self._directories(label):
            dump = dump or self._try(failures, self._dump, request, label, directories, recovered=True)
        if dump is not None:
            return Dumped(cube, dump)
        return _failure(cube, failures[0] if failures else SaveError(errno.ENOENT, "no directory can be used"))

    @staticmethod
    def _try(failures: list[Exception], function: Callable[..., Result], *args: Any, **keywords: Any) -> Result | None:
        """Result of `function`, or None if it fails: then the next directory is tried, and `failures` are answered."""
        try:
            return function(*args, **keywords)
        except Exception as error:  # noqa: BLE001 - see above
            failures.append(error)
            return None

    def _directories(self, label: Label) -> Iterator[list[str]]:
        """Yield directories for a rescue in groups, last those that do not respond."""
        yield from rescue_directories(label, self._kind, self.avoid)
        if self.avoid:
            yield list(self.avoid)

    def _on_disk(self, request: Save, label: Label) -> CubeOnDisk:
        places = [place for place in directories_of(label, self._kind) if place not in request.avoid]
        turns = DirectoriesInTurn(places, label, self._kind, request.slot, self._counter, create=False)
        return cube_on_disk(self._slots, self._kind, request.slot, label, turns)

    def _find(self, request: Save, label: Label, recovered: bool) -> Written | None:
        """Find the cube if an earlier try has saved it, wherever that was."""
        path = self._on_disk(request, label).find(recovered=recovered)
        self._passed("looked")
        return Written.found(path) if path else None

    def _write_once(self, request: Save, label: Label, directories: list[str]) -> Written:
        """Write the cube, unless an earlier try has saved it; what earlier tries left of it is removed."""
        if not request.is_repeated:
            return self._write(request, label, directories, recovered=False)
        written = self._find(request, label, recovered=False)
        if written is None:
            written = self._write(request, label, directories, recovered=False)
            self._on_disk(request, label).remove_dumps()
        return written

    def _dumped(self, request: Save, label: Label, directories: list[str]) -> Dumped | Failed:
        """Answer a request for anything but a file: the dump, which is written if that is wanted."""
        path = self._on_disk(request, label).dumped()
        if path is None and request.only_look:
            return Failed(request.cube, None, "it is in no file", None, "")
        return Dumped(request.cube, path or self._dump(request, label, directories, recovered=False))

    def _note_samples(self, cube: int, written: Written) -> None:
        if self._channels is not None:
            self._channels.note_saved(cube, written.path)

    def _wait_for_samples(self, slot: int) -> None:
        """Wait for samples that are late, while that costs nothing: the next cube has much room."""
        slots = self._slots

        def may_wait() -> bool:
            filling = slots.slots_in(SlotState.FILLING)
            has_room = all(2 * slots.word(one, Word.N_PUT) < slots.layout.n_lines for one in filling)
            return has_room and bool(slots.slots_in(SlotState.FREE))

        if self._channels is not None:
            times = slots.column(slot, "time_ns")
            self._channels.wait_for_late(times, slots.times(slot).anchor, may_wait, partial(self._passed, "waiting"))

    def _write(self, request: Save, label: Label, directories: list[str], recovered: bool) -> Written:
        self._old_style = label.old_style

        def completed(cube: Cube) -> Cube:
            if not recovered:
                self._wait_for_samples(request.slot)
            return with_channels(cube, self._slots, self._kind, request.slot, label, self._channels)

        unseen = unchecked(self._slots, self._kind, request.slot, label, request.avoid if request.is_repeated else ())
        written = self._files.write(
            cube_in(self._slots, self._kind, request.slot, label, recovered, unseen),
            DirectoriesInTurn(directories, label, self._kind, request.slot, self._counter),
            prefix=label.prefix,
            suffix=label.suffix,
            old_style=label.old_style,
            picture=label.savefig,
            passed=self._passed,
            completed=completed,
        )
        if unseen:
            logger.warning(
                "%s: an earlier try may have saved this cube in %s, too, which does not respond: `openhsi-shared "
                "verify` of both directories names cubes that are saved twice",
                written.path,
                ", ".join(unseen),
            )
        return written

    def _dump(self, request: Save, label: Label, directories: list[str], recovered: bool = False) -> Path:
        """Save only the raw bytes, with as little code as possible: previous writers crashed at this cube."""
        from openhsi_shared.files.dumping import write_dump

        unseen = unchecked(self._slots, self._kind, request.slot, label, request.avoid if request.is_repeated else ())
        cube = cube_in(self._slots, self._kind, request.slot, label, recovered, unseen)
        return write_dump(
            with_channels(cube, self._slots, self._kind, request.slot, label, self._channels),
            DirectoriesInTurn(directories, label, self._kind, request.slot, self._counter),
            prefix=label.prefix,
            suffix=label.suffix,
            old_style=label.old_style,
            durability=self._kind.options.durability,
            passed=self._passed,
        )


def _saved(cube: int, written: Written, preview_follows: bool) -> Saved:
    return Saved(cube, written.path, written.n_bytes, written.seconds, preview_follows, written.saturated)


def _failure(cube: int, error: Exception) -> Failed:
    text = "".join(traceback.format_exception(error))
    if isinstance(error, OSError):
        return Failed(
            cube, error.errno, error.strerror or str(error), error.filename and os.fspath(error.filename), text
        )
    return Failed(cube, None, f"{type(error).__name__}: {error}", None, text)
