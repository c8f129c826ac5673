"""The handle of several recordings that start, stop and are watched together: a process for each camera."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openhsi_shared.buffers.times import read_anchor
from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.errors import CameraError, ClosedError, MemoryShortage, OpenHSIError, RecordingError
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.flight.together.status import StatusOfAll, SummaryOfAll, failures_in_words
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.at_exit import finish_at_exit, forget
from openhsi_shared.processes.progress import progress_bar
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.recording.conditions import Conditions
from openhsi_shared.recording.handle import RecordingHandle
from openhsi_shared.recording.joint import Joint
from openhsi_shared.recording.messages import RecordingSummary, StopRequest
from openhsi_shared.recording.plan import RecordingPlan
from openhsi_shared.recording.run import Recording
from openhsi_shared.recording.space import check_space_of_all

if TYPE_CHECKING:
    from openhsi_shared.channels.supervisor import ChannelsSupervisor
    from openhsi_shared.viewer.live_page import LivePage

__all__ = ["Recordings", "with_name"]

logger = safe_logger(__name__)

POLL_INTERVAL_S = 0.1
START_LEAD_NS = 50_000_000
"""The moment of the common start reaches all recordings before it has come."""


class Recordings(RecordingHandle):
    """Several recordings that were started together; `run["vnir"]` is one of them.

    Use it in a `with` block: at its end all are stopped cleanly. Methods raise ClosedError in a forked child.
    """

    def __init__(
        self, plans: Mapping[str, RecordingPlan], conditions: Sequence[Callable[[], bool]] = (), progress: bool = True
    ) -> None:
        """Start a recording of each plan, by the names of the cameras; the first one has the channels of all.

        Raises as `record_all`, and RecordingError if none can be started.
        """
        self.save_dir = Path(next(iter(plans.values())).save_dir)
        self.recordings: dict[str, Recording] = {}
        """By the name of the camera; those that could not be started are missing."""
        self.errors: dict[str, BaseException] = {}
        """Why a camera could not be started, or its recording has failed, by name."""
        self._summaries: dict[str, RecordingSummary] = {}
        self._progress, self._conditions = progress, Conditions(conditions, self.stop)
        self._is_stopping = False
        self._ended, self._owner = threading.Event(), os.getpid()
        self._channels = _channels_of(plans)
        try:
            self._start_all(plans)
        except BaseException:
            self._undo()
            raise
        finish_at_exit(self)
        try:
            self._conditions.watch(self._ended.is_set)
            GuardedThread(
                self._watch,
                name="recordings",
                failure="the thread that watches the recordings of several cameras has failed: they are stopped",
                on_failure=self._end_on_failure,
            ).start()
        except RuntimeError as error:  # the system has no more threads now
            self._undo()
            self._finish()
            raise RecordingError(f"the recordings cannot be watched, and were stopped: {error}") from error

    # ---- the start ----

    def _start_all(self, plans: Mapping[str, RecordingPlan]) -> None:
        if self._channels is not None:
            self._channels.start()
            self._channels.wait_until_opened()
        anchor, joint_id = read_anchor(), str(uuid.uuid4())
        for name, plan in plans.items():
            try:
                self._start(name, replace(plan, joint=Joint(name, anchor, joint_id)))
            except Exception as failure:  # noqa: BLE001 - one that fails ends no other one; it is raised by `wait`
                self._note_failed_start(name, failure)
        if not self.recordings:
            raise RecordingError(f"no camera could be started: {'; '.join(self._failures().values())}") from next(
                iter(self.errors.values())
            )
        places = {name: one.place for name, one in self.recordings.items()}
        check_space_of_all(self.save_dir, places, {name: plans[name].n_cubes for name in places})
        for name, error in self.errors.items():
            FlightLog(self.save_dir).note("error", text=f"could not be started: {error}", joint_name=name)
        at_ns = time.monotonic_ns() + START_LEAD_NS
        for one in self.recordings.values():
            one.start_at(at_ns)
        if self._is_stopping:
            self.stop()

    def _start(self, name: str, plan: RecordingPlan) -> None:
        channels = None if self._channels is None else self._channels.attached()  # which it cannot close
        self.recordings[name] = Recording(plan, progress=False, channels=channels, tell_all=self._tell_all)
        forget(self.recordings[name])  # it is finished with the others

    def _note_failed_start(self, name: str, error: Exception) -> None:
        """Go on without a camera that fails. What was given to it and is not valid is raised."""
        if isinstance(error, MemoryShortage):
            slots = (f"{each} {one.slot_bytes / 1e6:,.1f} MB" for each, one in self.recordings.items())
            error.args = (f"{error}; the slots of the other cameras: {', '.join(slots) or 'none yet'}",)
        if isinstance(error, OpenHSIError) and not isinstance(error, CameraError | RecordingError):
            raise with_name(error, name)
        self.errors[name] = error
        what = f"{type(error).__name__}: {error}"  # a text: the error would keep all of the recording in a log record
        logger.error("%s could not be started, the other cameras go on: %s", name, what)

    def _undo(self) -> None:
        for one in self.recordings.values():
            one.stop()
        for one in self.recordings.values():
            with suppress(Exception):  # the error that ended the start is raised
                one.wait()
        self._close_channels()

    # ---- what users call ----

    def __getitem__(self, name: str) -> Recording:
        """The recording of one camera, for its status, references or analyses. KeyError with all names."""
        if name not in self.recordings:
            raise KeyError(f"{name!r} is none of the cameras that record: {', '.join(self.recordings)}")
        return self.recordings[name]

    def status(self) -> StatusOfAll:
        """Current status of each camera; after the end, the last one. Blocks for milliseconds, unless one hangs."""
        self._check_owner()
        found, failures = {}, self._failures()
        for name, one in self.recordings.items():
            try:
                found[name] = one.status()
            except RecordingError as error:
                failures.setdefault(name, str(error))
        return StatusOfAll(cameras=found, failures=failures)

    @property
    def is_running(self) -> bool:
        """Whether a camera still records."""
        return any(one.is_running for one in self.recordings.values())

    @property
    def summary(self) -> SummaryOfAll | None:
        """The summary once all have ended, also if something failed; None before."""
        if not self._ended.is_set():
            return None
        return SummaryOfAll(cameras=dict(self._summaries), failures=self._failures())

    def stop(self) -> None:
        """Request a clean shutdown of all, which saves the unfinished cubes as well. Does not block. Idempotent."""
        self._is_stopping = True
        for one in list(self.recordings.values()):
            one.stop()

    def _tell(self, what: str, message: Any) -> None:
        self._check_owner()
        if not self.is_running:
            raise RecordingError(f"{what}: these recordings have ended; start others")
        self._tell_all(message)

    def _tell_all(self, message: Any) -> None:
        if isinstance(message, StopRequest):
            self.stop()
            return
        for one in list(self.recordings.values()):
            one.send(message)

    def view(self, *, open_browser: bool = True, port: int = 0) -> "LivePage":
        """Open one live page of all cameras in a browser, side by side; see `Recording.view`.

        RecordingError if all have ended, or have no control sockets; ArgumentError, PackageMissing.
        """
        from openhsi_shared.viewer.live_page import LivePage

        self._check_owner()
        sockets = {name: one.socket_path for name, one in self.recordings.items()}
        found = {name: path for name, path in sockets.items() if path.exists()}
        if not found:
            raise RecordingError("these recordings cannot be looked at: they have ended, or have no control sockets")
        return LivePage(found, open_browser=open_browser, port=port)

    def wait(self, timeout: float | None = None) -> SummaryOfAll:
        """Block until all cameras have ended, with one progress bar, and return the summary of all.

        Ctrl-C stops all cleanly; after a second one they finish by themselves. Raises RecordingError that names the
        cameras that failed, and why (the summary of all is at `summary`), what `until` raised, or TimeoutError after
        `timeout` s.
        """
        self._follow_or_stop(timeout, "the cubes of all cameras")
        summary = self.summary
        if summary is None:
            raise TimeoutError(f"the recordings have not ended after {timeout} s")
        self._is_reported = True
        if self._conditions.error is not None:
            raise self._conditions.error
        if (error := self._error()) is not None:
            raise error
        return summary

    def _failures(self) -> dict[str, str]:
        return {name: f"{type(error).__name__}: {error}" for name, error in self.errors.items()}

    def _error(self) -> RecordingError | None:
        if not self.errors:
            return None
        texts = failures_in_words(self._failures())
        others = [name for name in self._summaries if name not in self.errors]
        error = RecordingError(
            "; ".join([*texts, *([f"saved without an error: {', '.join(others)}"] if others else [])])
        )
        error.__cause__ = next(iter(self.errors.values()))
        return error

    def shutdown(self, crashed: bool) -> list[BaseException]:
        """Stop all cleanly when the interpreter exits; blocks. Returns the error that has not been raised yet."""
        del crashed
        self.stop()
        self._ended.wait()
        error = self._conditions.error or self._error()
        return [] if error is None or self._is_reported else [error]

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise ClosedError("these recordings belong to the process that started them, and not to a forked child")

    def __repr__(self) -> str:
        state = "running" if self.is_running else str(self.summary)
        return f"<recordings of {', '.join(self.recordings)} into {self.save_dir}, {state}>"

    # ---- until the end ----

    def _follow(self, end: float | None) -> None:
        with progress_bar(None, "recording", "line", self._progress) as bar:
            while not self._ended.wait(0.25) and (end is None or time.monotonic() < end):
                if not bar.disable and self.shows_progress:
                    status = self.status()
                    texts = (f"{name} {_in_short(one)}" for name, one in status.cameras.items())
                    failed = (f"{name} FAILED" for name in status.failures)
                    disk = f"{status.disk_minutes_left:.0f} min of disk left"
                    bar.set_postfix_str("; ".join([*texts, *failed, disk]), refresh=False)
                    bar.update(status.lines + status.lines_lost - status.lines_not_wanted - bar.n)

    def _watch(self) -> None:
        """Notice the end of each recording, at once, until all have ended."""
        running = dict(self.recordings)
        while running:
            for name, one in list(running.items()):
                if one.is_running:
                    one.kill_unresponsive()
                else:
                    del running[name]
                    self._note_end(name, one, running)
            time.sleep(POLL_INTERVAL_S)
        self._finish()

    def _note_end(self, name: str, one: Recording, running: Mapping[str, Recording]) -> None:
        try:
            one.wait()
        except BaseException as error:  # noqa: BLE001 - raised by `wait`
            self.errors[name] = error
            others = f"; the others go on: {', '.join(running)}" if running else ""
            logger.error("%s has failed: %s: %s%s", name, type(error).__name__, str(error), others)
        if one.summary is not None:
            self._summaries[name] = one.summary

    def _finish(self) -> None:
        self._close_channels()
        self._ended.set()
        forget(self)

    def _end_on_failure(self, error: BaseException) -> None:
        self.errors["watch"] = error
        self.stop()
        try:
            for name, one in self.recordings.items():
                if name not in self._summaries and name not in self.errors:
                    self._note_end(name, one, {})
        finally:
            self._finish()


def _channels_of(plans: Mapping[str, RecordingPlan]) -> "ChannelsSupervisor | None":
    """The channels of all cameras, with memory for the one whose slots last longest."""
    hosted = [plan.seconds_of_samples() for plan in plans.values() if plan.channels]
    if not hosted:
        return None
    from openhsi_shared.channels.supervisor import ChannelsSupervisor

    return ChannelsSupervisor(next(iter(plans.values())).channels, max(hosted))


def with_name(error: Exception, name: str) -> Exception:
    """The same error, whose text begins with the name of the camera."""
    if isinstance(error, ImportError):
        error.msg = f"{name}: {error}"
    elif isinstance(error, OSError) and error.strerror is not None:
        error.strerror = f"{name}: {error.strerror}"
    else:
        error.args = (f"{name}: {error}", *error.args[1:])
    return error


def _in_short(status: RecordingStatus) -> str:
    event = f", {status.event_in_words}" if status.event_in_words else ""
    return f"{status.rate:.0f}/s, {status.lines_lost} lost{event}"
