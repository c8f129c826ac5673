"""Hosts processes that read the slots while they are filled, in the process that owns the slots.

Each is one child with one name of leases. It reads the control words of the slots by itself, and reports only which
cubes it has finished with. When it dies or hangs, its leases end, and the recording continues.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openhsi_shared.analysis.live.messages import AllReleased, EndNow, NoMoreLines, ReaderEnded, Ready, Released
from openhsi_shared.buffers.slot_memory import SlotState
from openhsi_shared.buffers.slot_owner import SlotOwner
from openhsi_shared.control.analysis_status import AnalysisStatus, Mode
from openhsi_shared.errors import AnalysisError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.supervision import Listener
from openhsi_shared.processes.workers import how_it_ended, single_threaded

__all__ = ["HostedReaders", "SlotReader"]

logger = safe_logger(__name__)

POLL_INTERVAL_S = 0.5
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class SlotReader:
    """A process that reads slots."""

    name: str
    """Unique among the readers of a recording, such as "NdviWorker"."""
    kind: str
    """What it is, as in "analysis" or "capture"."""
    mode: Mode
    target: Callable[..., object]
    """Its main function, called with its `Parent` and `args`."""
    args: Sequence[Any]
    patience_s: float
    """It is killed when nothing was received from it for so long."""


class HostedReaders:
    """All readers of a recording, and the thread that receives from them."""

    def __init__(self, slots: SlotOwner, readers: Sequence[SlotReader], lost_to: Mapping[str, int]) -> None:
        """Start them, before the first line. `lost_to`: lines lost while a reader held slots, by its full name."""
        self._slots = slots
        self._hosted: list[_Hosted] = []
        self._listener: Listener | None = None
        try:
            for reader in readers:
                self._hosted.append(_Hosted(reader, slots, lost_to))
        except BaseException:
            self.close()
            raise

    def wait_until_ready(self, is_stopping: Callable[[], bool]) -> None:
        """Block until each is ready for lines, or the recording is stopping. AnalysisError if one does not start."""
        for hosted in self._hosted:
            hosted.wait_until_ready(is_stopping)
        if self._hosted:
            self._listener = Listener(
                lambda: [ready for hosted in self._hosted for ready in hosted.waitables],
                self._receive,
                POLL_INTERVAL_S,
                name="readers of slots",
                failure="the thread that receives from analyses has failed: they are ended, the recording continues",
                on_failure=self._give_up,
            )
            self._listener.start()

    def statuses(self) -> dict[str, AnalysisStatus]:
        """Status of each now, by name. Does not block."""
        return {hosted.reader.name: hosted.status() for hosted in self._hosted}

    def ended(self) -> dict[str, ReaderEnded]:
        """The last message of each that has ended, by name."""
        return {
            hosted.reader.name: replace(hosted.ended, status=hosted.status())
            for hosted in self._hosted
            if hosted.ended is not None
        }

    def note_rescued(self, cubes: Collection[int]) -> None:
        """These cubes of `finish` are in files after all."""
        for hosted in self._hosted:
            hosted.rescued = cubes

    def end(self, name: str, first_file: str) -> None:
        """Let one process what it has, and end; `first_file` as in `EndNow`. Does not block."""
        for hosted in self._hosted:
            if hosted.reader.name == name:
                hosted.child.send(EndNow(first_file))

    def finish(self, first_file: str, saved: frozenset[int]) -> None:
        """After the last line: wait until each has processed all lines that it was lent, and has ended.

        `saved`: the numbers of cubes that are in files.
        """
        for hosted in self._hosted:
            hosted.child.send(NoMoreLines(first_file, saved))
        for hosted in self._hosted:
            hosted.wait_until_ended()
        self.close()

    def close(self) -> None:
        """End all. Idempotent."""
        for hosted in self._hosted:
            hosted.end("")
        if self._listener is not None:
            self._listener.stop()
        for hosted in self._hosted:
            hosted.child.close()

    def _receive(self) -> None:
        for hosted in self._hosted:
            hosted.receive()

    def _give_up(self, error: BaseException) -> None:
        for hosted in self._hosted:
            try:
                hosted.end(f"{type(error).__name__}: {error}")
            except Exception as other:  # the others must be ended
                logger.error("%s: error while it was ended: %s", hosted.full_name, other, exc_info=other)


class _Hosted:
    """One reader. Its leases end when it has ended, however that happens."""

    def __init__(self, reader: SlotReader, slots: SlotOwner, lost_to: Mapping[str, int]) -> None:
        self.reader, self._slots, self._lost_to = reader, slots, lost_to
        self.full_name = f"{reader.kind} {reader.name}"
        self.ended: ReaderEnded | None = None
        self.rescued: Collection[int] = ()
        self._status = AnalysisStatus(name=reader.name, mode=reader.mode)
        self._heard_at = time.monotonic()
        with single_threaded():
            self.child = Child(reader.target, reader.args, name=self.full_name, logger=logger)
        if reader.mode != "tap":
            slots.lend_each(self.full_name, yields=reader.mode == "best_effort")

    @property
    def waitables(self) -> list[Any]:
        return [] if self.ended else self.child.waitables

    def wait_until_ready(self, is_stopping: Callable[[], bool]) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        message = None
        while message is None and not is_stopping() and time.monotonic() < end:
            message = self.child.receive(0.25)
        if isinstance(message, Ready):
            self._heard_at = time.monotonic()
        elif isinstance(message, ReaderEnded) and message.error is not None:
            raise message.error
        elif not is_stopping():
            self.child.end(1.0)
            how = how_it_ended(self.child.exit_code) if message is GONE else f"was not ready in {START_TIMEOUT_S:.0f} s"
            raise AnalysisError(f"{self.full_name} did not start: its process {how}")

    def receive(self) -> None:
        """Receive all messages that have arrived. In the listener's thread."""
        while self.ended is None and (message := self.child.receive(0)) is not None:
            self._heard_at = time.monotonic()
            match message:
                case Released(slot, cube):
                    self._slots.end_lease(self.full_name, slot, cube)
                case AllReleased():
                    self._slots.give_back_all(self.full_name)
                case AnalysisStatus():
                    self._status = message
                case ReaderEnded():
                    self._note_end(message)
                case _:
                    self.child.join(1.0)
                    self.end(f"its process {how_it_ended(self.child.exit_code)}")
        if self.ended is None and time.monotonic() - self._heard_at > self.reader.patience_s:
            self.end(f"it did not respond for {self.reader.patience_s:.0f} s, and was killed")

    def end(self, why: str) -> None:
        """Kill it; idempotent. `why` is empty if that is no failure."""
        self.child.end()
        if self.ended is None:
            status = replace(self._status, state="failed" if why else "ended", why=why)
            error = AnalysisError(f"{self.full_name}: {why}") if why else None
            self._note_end(ReaderEnded(status=status, error=error))
        self._slots.give_back_all(self.full_name)  # has no effect, unless it has failed before

    def _note_end(self, message: ReaderEnded) -> None:
        with self._slots.changed:
            self.ended = message
            try:
                self._slots.give_back_all(self.full_name)
            finally:
                self._slots.changed.notify_all()
        if message.error is not None:
            logger.warning("%s has failed, the recording continues: %s", self.full_name, message.error)

    def wait_until_ended(self) -> None:
        with self._slots.changed:
            self._slots.changed.wait_for(lambda: self.ended is not None)

    def status(self) -> AnalysisStatus:
        status = self._status if self.ended is None else self.ended.status
        held = [lease for lease in self._slots.leases() if lease.reader == self.full_name]
        n_held = sum(self._slots.state(lease.slot) is SlotState.LENT for lease in held)
        lines_of = {} if self.ended is None else self.ended.lines_of
        not_saved = sum(n for cube, n in lines_of.items() if cube not in self.rescued)
        lines_lost = self._lost_to.get(self.full_name, 0)
        return replace(status, slots=n_held, lines_lost=lines_lost, not_saved=not_saved)
