"""Replaces writers that have died or hang, and sends their unsaved cubes again."""

import threading
import time
from collections.abc import Callable

from openhsi_shared.errors import SaveError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.writer.pending import KEPT, Pending
from openhsi_shared.writer.unsaved_cubes import UnsavedCubes
from openhsi_shared.writer.writer_group import WriterGroup
from openhsi_shared.writer.writer_process import WriterProcess

__all__ = ["WriterReplacement"]

logger = safe_logger(__name__)

MAX_CRASHES = 5
"""Number of writers that may die while saving one cube; then it is dumped and held, and the next one is saved."""
EXIT_TIMEOUT_S = 2.0
"""How long a writer that has closed its pipe may take to exit."""


class WriterReplacement:
    """Used by the listener thread of `WriterSupervisor`."""

    def __init__(
        self,
        changed: threading.Condition,
        writers: WriterGroup,
        cubes: UnsavedCubes,
        send: Callable[[Pending], None],
        resend: Callable[[Pending], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        """`send` and `resend` request that a cube is saved: one that was held, and one that a writer was saving."""
        self._changed, self._writers, self._cubes = changed, writers, cubes
        self._send, self._resend, self._is_stopping = send, resend, is_stopping

    def hold_without_writer(self, pending: Pending, reason: str) -> None:
        """Hold a cube until a writer can be started. The caller holds the lock."""
        pending.awaits_writer = True
        message = f"{reason}: {pending.handle.name} was not saved; it is saved as soon as a writer starts; {KEPT}"
        self._cubes.failed(pending.cube, SaveError(None, message, pending.label.directory))

    def replace(self, writer: WriterProcess) -> None:
        """A writer died, or cannot be heard any more: start a replacement, which saves its pending cubes."""
        if not writer.child.join(EXIT_TIMEOUT_S):
            logger.error("other code of this program has closed the pipe to the writer: replacing the writer")
            if not writer.child.kill():
                self._replace_hung(writer)
                return
        code = writer.child.exit_code
        with self._changed:
            was_primary = self._writers.remove(writer)
            self._cubes.end_leases(writer.name)
            if not writer.is_ready:
                self._writers.starts.note(is_up=False)
            if was_primary:  # a standby writer has no pending cubes
                for cube in list(self._cubes.awaiting_preview):  # the file is written, only the preview is missing
                    self._cubes.preview_done(cube, None, f"the writer died (exit code {code})")
                if writer.is_ready:
                    self._cubes.count_crash(code, MAX_CRASHES)
            self._cubes.tally.n_restarts += 1
            self._changed.notify_all()
            writer.close()
            if self._is_stopping():
                return
            took_ms = self._fail_over(was_primary)
        if self._writers.all:
            logger.warning("the writer died (exit code %s); another one took over in %.1f ms", code, took_ms)
        else:
            logger.error("the writer died (exit code %s), and no replacement starts", code)

    def _fail_over(self, was_primary: bool) -> float:
        """Start a new writer, and resend the pending cubes. Returns for how long the lock was held, in ms."""
        begun = time.monotonic()  # under one lock: a save in between would be sent twice, to the standby writer
        if not self._writers.start_another():
            for pending in list(self._cubes.saving.values()):
                self.hold_without_writer(pending, "no writer starts")
        elif was_primary:
            for pending in sorted(self._cubes.saving.values(), key=lambda p: p.cube):
                self._resend(pending)
        self._changed.notify_all()
        return 1e3 * (time.monotonic() - begun)

    def resume(self) -> None:
        """Send the cubes that are held because no writer could be started, as soon as one starts."""
        with self._changed:
            self._writers.reserve.fill()
            waiting = self._cubes.awaiting_writer()
            if not waiting or not self._writers.start_when_due():
                return
            for pending in waiting:
                logger.warning("a writer could be started again: saving %s", pending.handle.name)
                pending.handle.begin_again(by_itself=True)
                self._send(pending)
            self._changed.notify_all()

    def check_progress(self) -> None:
        """Replace the writer if its heartbeat has stopped, and return to directories that respond again."""
        with self._changed:
            n_pending = len(self._cubes)
        silent_s = self._writers.overdue_s() if n_pending else None
        if silent_s is None:
            for directory in self._writers.avoided.refresh():
                logger.warning("%s responds again: cubes are saved there", directory)
            return
        logger.error("writer made no progress for %.0f s: replacing it", silent_s)
        writer = self._writers.all[0]
        writer.has_hung = True
        if writer.child.kill():
            self._avoid_directory_of(writer, until_released=False)
            self.replace(writer)
        else:
            self._replace_hung(writer)

    def _avoid_directory_of(self, writer: WriterProcess, *, until_released: bool) -> str:
        """Let cubes go elsewhere; returns the directory in which the writer hangs."""
        with self._changed:
            first = self._cubes.oldest_directory()
            directory = self._writers.avoid_directory_of(writer, first, until_released=until_released)
        logger.error("%s does not respond: cubes are saved to fallback_dirs, if there are any, or are held", directory)
        return directory

    def _replace_hung(self, writer: WriterProcess) -> None:
        """The writer hangs in the kernel and cannot be killed: continue without it, in a fallback directory if any."""
        directory = self._avoid_directory_of(writer, until_released=True)
        with self._changed:
            self._writers.remove(writer)
            self._cubes.detach_leases(writer.name)
            for cube in list(self._cubes.awaiting_preview):
                self._cubes.preview_done(cube, None, f"{directory} does not respond")
            self._cubes.tally.n_restarts += 1
            self._fail_over(was_primary=True)

    def reap_hung(self) -> None:
        """End the leases of hung writers that have exited."""
        with self._changed:
            for reader in self._writers.reap_hung():
                self._cubes.end_leases(reader)
