"""The handle of a nonstop recording, to monitor, stop and await it."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openhsi_shared.analysis.live.analysis import Analysis
from openhsi_shared.analysis.live.running import RunningAnalysis
from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.errors import AnalysisError, ClosedError, RecordingError
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.at_exit import finish_at_exit, forget
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.progress import progress_bar
from openhsi_shared.processes.spawning import pack
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.recording.conditions import Conditions
from openhsi_shared.recording.event_watch import EventWatch
from openhsi_shared.recording.handle import RecordingHandle
from openhsi_shared.recording.joint import name_of
from openhsi_shared.recording.loop import run_recording
from openhsi_shared.recording.messages import (
    Ended,
    ForAll,
    MarkMade,
    RecordingSummary,
    ReferenceTaken,
    StartAt,
    Started,
    StatusRequest,
    StopAnalysis,
    StopRequest,
)
from openhsi_shared.recording.plan import RecordingPlan
from openhsi_shared.recording.references import ReferenceRequests
from openhsi_shared.recording.reporting import died_in_words, error_of, show_progress
from openhsi_shared.recording.watching import WatchedRecording

if TYPE_CHECKING:
    from openhsi_shared.control.analysis_status import AnalysisStatus
    from openhsi_shared.files.references import Kind, Reference

__all__ = ["Recording"]

logger = safe_logger(__name__)

UNRESPONSIVE_S = 30.0
"""After a stop request, a process of which no thread runs for so long is killed: a call holds Python's global lock."""


class Recording(WatchedRecording, RecordingHandle):
    """A recording that runs in a separate process.

    Use it in a `with` block: at its end the recording is stopped cleanly. Methods raise ClosedError in a forked child.
    """

    def __init__(
        self,
        plan: RecordingPlan,
        conditions: Sequence[Callable[[], bool]] = (),
        progress: bool = True,
        *,
        channels: AttachedChannels | None = None,
        tell_all: Callable[[Any], object] | None = None,
    ) -> None:
        """Start it; blocks until the camera is running. It also ends when one of `conditions` is true.

        One of several has the `channels` of all, and `tell_all(message)`, which sends a request to each of them; it
        takes no line before `start_at`.

        Raises what the camera's class raises, RecordingError if its process dies, and OpenHSIError if `plan` cannot be
        sent to it.
        """
        self.save_dir = Path(plan.save_dir)
        self._plan, self._progress, self._conditions = plan, progress, Conditions(conditions, self.stop)
        self._changed = threading.Condition()
        self._ended: Ended | None = None
        self._latest: RecordingStatus | None = None
        self._stop_sent = self._was_killed = False
        self._references = ReferenceRequests(self._changed)
        self._heard_at = 0.0
        self._owner = os.getpid()
        self.analyses: Mapping[str, RunningAnalysis] = {
            str(analysis.name): self._running_analysis(analysis) for analysis in plan.analyse
        }
        """The analyses by name."""
        self._channels, self._tell_all = channels or plan.hosted_channels(), tell_all
        self._events = EventWatch(plan.event, self.save_dir, self._channels, self._send_if_owner, self.mark_at)
        try:
            self._child = self._start_child(plan)
            self.process_id = self._child.pid
            """Process id of the recording process."""
            try:
                self._await_start()
                self._start_threads()
            except BaseException:  # after Ctrl-C no handle is left to stop it: a closed pipe ends it
                self._child.hang_up()
                raise
        except BaseException:
            self._close_channels()
            raise
        finish_at_exit(self)

    def _start_child(self, plan: RecordingPlan) -> Child:
        """Start the recording, beside the process of its channels."""
        attached = None
        if self._channels is not None:
            attached = self._channels.attached()
            self._channels.start()
        args = (pack(plan.without_channels()), plan.niceness, plan.cpus, attached)
        return Child(run_recording, args, name="recording", logger=logger)

    def _await_start(self) -> None:
        if self._channels is not None:
            self._channels.wait_until_opened()
        answer = self._child.first_message(RecordingError)
        if not isinstance(answer, Started):
            self._child.join()
            raise error_of(answer)
        self.camera, self.dc_shape, self.place = answer

    def _start_threads(self) -> None:
        GuardedThread(
            self._receive_all,
            name="recording's answers",
            failure="the thread that receives the recording's answers has failed: the recording ends",
            on_failure=self._end_on_listener_failure,
        ).start()
        self._conditions.watch(lambda: self._ended is not None)
        self._events.watch(lambda: self._ended is not None)

    # ---- what users call ----

    def status(self) -> RecordingStatus:
        """Current status; after the end, the last one. Blocks for milliseconds.

        Raises RecordingError if the recording process died, or does not answer within 5 seconds.
        """
        self._check_owner()
        with self._changed:
            if self._ended is None:
                self._latest = None
                self._child.send(StatusRequest())
                self._changed.wait_for(lambda: self._latest is not None or self._ended is not None, 5.0)
            if self._latest is None:
                raise RecordingError("the recording does not respond within 5 s: ask again, or stop it") from (
                    None if self._ended is None else self._ended.error
                )
            return self._latest

    def take_reference(self, kind: "Kind", n: int = 200) -> "Reference":
        """Take the "dark" or the "white" reference within the recording; see `take_reference` of a camera.

        The cube is closed and saved, `n` frames are taken, and it goes on with the next cube, without a line that is
        called lost for it. The cubes that follow contain the reference. Blocks until it is taken. ReferenceRefused,
        SaveError and ArgumentError as of a camera: then the recording goes on as before. RecordingError if it has
        ended, or ends meanwhile.
        """
        self._check_owner()
        return self._references.take(kind, n, self._child.send, lambda: self._ended is not None)

    @property
    def analysis(self) -> RunningAnalysis:
        """The analysis. AnalysisError if there is none, or several: see `analyses`."""
        if len(self.analyses) != 1:
            names = f"{len(self.analyses)} analyses: choose one of {', '.join(self.analyses)} by analyses[NAME]"
            raise AnalysisError(f"this recording has {names if self.analyses else 'no analysis: give it analyse='}")
        return next(iter(self.analyses.values()))

    def _running_analysis(self, analysis: Analysis) -> RunningAnalysis:
        name = str(analysis.name)
        return RunningAnalysis(
            analysis,
            lambda: self.status().analyses[name],
            lambda: None if self._ended is None else self._ended.analyses.get(name),
            lambda: self._send_if_owner(StopAnalysis(name)),
            _cell_of_analysis,
        )

    def _send_if_owner(self, message: Any) -> None:
        self._check_owner()
        self._child.send(message)

    @property
    def slot_bytes(self) -> int:
        """Memory of its slots."""
        return self.place.cube_bytes * self._plan.n_buffers

    @property
    def is_running(self) -> bool:
        """Whether the recording has not ended yet: more files may be written."""
        return self._ended is None

    def stop(self) -> None:
        """Request a clean shutdown, which saves the unfinished cube as well. Does not block. Idempotent."""
        if not self._stop_sent and os.getpid() == self._owner:
            self._heard_at = time.monotonic()
            self._child.send(StopRequest())
            self._stop_sent = True  # not before: a second Ctrl-C may come while it is sent

    def start_at(self, monotonic_ns: int) -> None:
        """Let one of several take its first line after this moment. Does not block."""
        self.send(StartAt(monotonic_ns))

    def send(self, message: Any) -> None:
        """Send a message to the recording, if it still runs. Does not block."""
        self._child.send(message)

    def _tell(self, what: str, message: Any) -> None:
        self._check_owner()
        if self._ended is not None:
            raise RecordingError(f"{what}: this recording has ended; start another one")
        self._child.send(message)

    def wait(self, timeout: float | None = None) -> RecordingSummary:
        """Block until the recording has ended, with a progress bar, and return its summary.

        Ctrl-C stops the recording cleanly; after a second one it finishes by itself. Raises the error that ended it
        early (CameraLost, NoFreeSlot, SaveError ...), what `until` raised, or TimeoutError after `timeout` s.
        """
        self._follow_or_stop(timeout, "the cubes")
        ended = self._ended
        if ended is None:
            raise TimeoutError(f"the recording has not ended after {timeout} s")
        self._is_reported = True
        if self._conditions.error is not None:
            raise self._conditions.error
        if ended.error is not None or ended.summary is None:
            raise error_of(ended)
        return ended.summary

    @property
    def summary(self) -> RecordingSummary | None:
        """The summary once it has ended, also if something failed; None before."""
        return self._ended.summary if self._ended else None

    def shutdown(self, crashed: bool) -> list[BaseException]:
        """Stop the recording cleanly when the interpreter exits. Returns the error that has not been raised yet."""
        del crashed
        self.stop()
        self._follow(None)
        error = self._conditions.error or (None if self._ended is None else self._ended.error)
        return [] if error is None or self._is_reported else [error]

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise ClosedError("this recording belongs to the process that started it, and not to a forked child")

    def __repr__(self) -> str:
        return f"<recording of {self.camera} into {self.save_dir}, {'running' if self.is_running else self.summary}>"

    # ---- the threads ----

    def _follow(self, end: float | None) -> None:
        total = self._plan.n_cubes and self._plan.n_cubes * self.dc_shape[1]
        with progress_bar(total, "recording", "line", self._progress) as bar:
            while self._ended is None and (end is None or time.monotonic() < end):
                with self._changed:
                    self._changed.wait_for(lambda: self._ended is not None, 0.25)
                self.kill_unresponsive()
                if not bar.disable and self._ended is None and self.shows_progress:
                    with suppress(RecordingError):
                        show_progress(bar, self.status())
        if self._ended is not None:
            self._child.join()
            forget(self)

    def kill_unresponsive(self) -> None:
        """Kill the process if no thread of it runs for long after a stop request."""
        if self._ended is None and self._stop_sent and not self._was_killed:
            self._child.send(StatusRequest())
            if time.monotonic() - self._heard_at > UNRESPONSIVE_S:
                self._was_killed = True
                self._child.kill()

    def _receive_all(self) -> None:
        while self._ended is None:
            answer = self._child.receive()
            if answer is GONE:
                self._child.join()
                died = died_in_words(self._child.exit_code)
                if self._was_killed:
                    died = f"{self.camera} did not return within {UNRESPONSIVE_S:.0f} s: its process was killed"
                self._note_end(f"{died}; its writer saves the collected lines")
                FlightLog(self.save_dir).note("error", text=died, **name_of(self._plan.joint))
                break
            self._heard_at = time.monotonic()
            if isinstance(answer, ForAll):
                if self._tell_all is not None:
                    self._tell_all(answer.message)
                continue
            with self._changed:
                if isinstance(answer, ReferenceTaken):
                    self._references.answers.append(answer)
                    self._changed.notify_all()
                    continue
                if isinstance(answer, MarkMade):
                    self._events.note_mark(answer)
                    continue
                if isinstance(answer, Ended):
                    self._ended = self._events.ended(answer)
                self._latest = answer.status if isinstance(answer, Ended) else answer
                self._changed.notify_all()
        self._close_channels()

    def _note_end(self, message: str, cause: BaseException | None = None) -> None:
        error = RecordingError(message)
        error.__cause__ = cause
        with self._changed:
            self._ended, self._latest = Ended(None, error, ""), None
            self._changed.notify_all()

    def _end_on_listener_failure(self, error: BaseException) -> None:
        self.stop()
        self._child.hang_up()  # else it would block while sending its last message
        failed = "the thread that receives the recording's answers has failed"
        self._note_end(f"{failed}; the recording was stopped and saves the collected lines", error)
        self._close_channels()


def _cell_of_analysis(read_status: "Callable[[], AnalysisStatus]") -> Any:
    from openhsi_shared.viewer.analysis_cell import AnalysisCell

    return AnalysisCell(read_status).show()
