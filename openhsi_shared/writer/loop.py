"""The writer: a process that saves full slots, one after the other, and outlives its parent if it must.

It only reads shared memory and answers on its pipe. While the parent lives, it saves what it is told to. When the
parent is gone, however that came, nobody else owns the slots: then it saves every committed line there is, oldest cube
first, and marks these files `recovered`.
"""

import os
import signal
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from openhsi_shared.buffers.slot_memory import SlotMemory, Word
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.files.preview import write_preview
from openhsi_shared.files.saving import Written
from openhsi_shared.files.writing import CubeWriter
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.spawning import become_service
from openhsi_shared.writer.fault_injection import fault_injector
from openhsi_shared.writer.messages import CubeKind, Dumped, Failed, Label, Pictured, Ready, Save, Saved, Stop
from openhsi_shared.writer.slot_cubes import cube_in, make_ready, rescue_directories, slots_to_rescue

__all__ = ["run_writer"]

FINISHED = b"finished"
STUCK_S = 60.0


def run_writer(
    parent: Parent,
    memory: SlotMemory,
    kind: CubeKind,
    beats: Any,
    alive: Connection,
    predecessor: Connection | None,
) -> None:
    """Serve one parent until it says stop or dies; the child's whole life.

    `beats` is a shared number that goes up while a save goes on; `alive` is held open as long as this process lives;
    `predecessor` is the other end of that of the writer for which this one stands by, if it does.
    """
    become_service(niceness=5, in_background=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the machine goes down: the parent dies first, then we finish
    forward_logs(parent)
    scribe = _WriterLoop(SlotView.of(memory), kind, parent, beats)
    parent.tell(Ready())  # it may be dead already, with cubes behind it: go on all the same
    prepared = False
    while True:
        if not prepared and not parent.has_message():
            prepared = scribe.prepare()
        message = parent.receive()
        if isinstance(message, Save):
            scribe.save(message)
            prepared = False
        elif isinstance(message, Stop):
            break
        elif message is GONE:
            if predecessor is None or not _finished(predecessor):
                scribe.rescue()
            break
    with suppress(OSError):  # nobody may be left to hear it
        alive.send_bytes(FINISHED)


def _finished(predecessor: Connection) -> bool:
    """Wait until the writer before us is no more; whether it said that all is done.

    One that is stuck in the kernel is not waited for: should it get on, both save the same cubes, and one file is left.
    """
    try:
        return predecessor.poll(STUCK_S) and predecessor.recv_bytes() == FINISHED
    except (EOFError, OSError):
        return False


class _WriterLoop:
    """Saves slots and answers."""

    def __init__(self, slots: SlotView, kind: CubeKind, parent: Parent, beats: Any) -> None:
        self._slots, self._kind, self._parent, self._beats = slots, kind, parent, beats
        self._fault = fault_injector()
        self._done: set[int] = set()
        self._old_style = True
        layout = slots.layout
        self._files = CubeWriter(layout.n_lines, layout.line_shape, layout.dtype, kind.options)

    def _passed(self, point: str) -> None:
        """A save has come so far: it does not hang."""
        self._beats[0] += 1
        self._fault(point)

    def prepare(self) -> bool:
        """Make the next file's skeleton while there is nothing else to do."""
        self._files.prepare(self._old_style)
        return True

    def save(self, order: Save) -> None:
        """Save one cube and answer, whatever happens."""
        label = Label.from_bytes(self._slots.label(order.slot))
        directories = [d for d in (label.directory, *self._kind.fallback_dirs) if d not in order.avoid]
        self._passed("begun")
        try:
            if order.as_dump:
                self._parent.tell(Dumped(order.cube, self._dump(order, label, directories)))
                return
            written = self._write(order, label, directories, recovered=False)
        except Exception as error:  # noqa: BLE001 - not swallowed: the parent raises it
            self._parent.tell(_failure(order.cube, error))
            return
        self._passed("before_answer")
        self._done.add(order.cube)
        drawn = written.has_picture
        self._parent.tell(Saved(order.cube, written.path, written.n_bytes, written.seconds, drawn))
        if drawn:  # it is stretched and written when the slot is free already
            self._parent.tell(self._draw(order.cube, written))

    def rescue(self) -> None:
        """The parent is gone: save every cube that is still in memory, trying one directory after the other."""
        for slot in slots_to_rescue(self._slots):
            cube = self._slots.word(slot, Word.CUBE)
            if cube in self._done:
                continue
            label = Label.from_bytes(self._slots.label(slot))
            try:
                written = self._write(Save(slot, cube), label, rescue_directories(label, self._kind), recovered=True)
            except Exception:  # noqa: BLE001 - nobody is left to hear it but the terminal; the next cube must be tried
                traceback.print_exc()
                continue
            self._draw(cube, written)

    def _write(self, order: Save, label: Label, directories: list[str], recovered: bool) -> Written:
        self._old_style = label.old_style
        return self._files.write(
            cube_in(self._slots, self._kind, order.slot, label, recovered),
            make_ready(directories, label),
            prefix=label.prefix,
            suffix=label.suffix,
            old_style=label.old_style,
            picture=label.savefig,
            passed=self._passed,
        )

    def _dump(self, order: Save, label: Label, directories: list[str]) -> Path:
        """Save only the bytes, with as little code as possible: the writers before this one died of something."""
        from openhsi_shared.files.dumping import write_dump

        return write_dump(
            cube_in(self._slots, self._kind, order.slot, label, recovered=False),
            make_ready(directories, label),
            prefix=label.prefix,
            suffix=label.suffix,
            old_style=label.old_style,
            durability=self._kind.options.durability,
            passed=self._passed,
        )

    def _draw(self, cube: int, written: Written) -> Pictured:
        path = written.path.with_suffix(".png")
        try:
            if written.picture is None:
                return Pictured(cube, None, "")
            write_preview(written.picture, path)
        except Exception as error:  # noqa: BLE001 - the data are safe; the parent warns of the missing picture
            return Pictured(cube, None, f"{type(error).__name__}: {error}")
        return Pictured(cube, path, "")


def _failure(cube: int, error: Exception) -> Failed:
    text = "".join(traceback.format_exception(error))
    if isinstance(error, OSError):
        return Failed(
            cube, error.errno, error.strerror or str(error), error.filename and os.fspath(error.filename), text
        )
    return Failed(cube, None, f"{type(error).__name__}: {error}", None, text)
