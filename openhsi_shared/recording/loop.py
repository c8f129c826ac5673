"""The recording loop: a process with camera, slots and writer, which shuts down cleanly if other processes die."""

import gc
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import closing, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.control.control_socket import ControlSocket, open_socket
from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.datacube.control_server import ControlServer
from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.errors import (
    CameraLost,
    ClosedError,
    RecordingError,
    SaveError,
    SourceEnded,
    WriterFailed,
)
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.disk_watch import DiskWatch
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.spawning import become_service, unpack
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.recording.camera_watch import CameraWatch, frame_timeout_s, on_sigterm
from openhsi_shared.recording.events import Events
from openhsi_shared.recording.flight_notes import FlightNotes
from openhsi_shared.recording.joint import JointStart, control_server_of
from openhsi_shared.recording.messages import (
    Ended,
    EventChange,
    MarkMade,
    MarkRequest,
    PauseRequest,
    RecordingSummary,
    StartAt,
    Started,
    StatusRequest,
    StopAnalysis,
    StopRequest,
    TakeReference,
)
from openhsi_shared.recording.pauses import Pauses
from openhsi_shared.recording.plan import RecordingPlan
from openhsi_shared.recording.references import take_reference
from openhsi_shared.recording.reporting import number_of, picklable, status_of, summary_of, without_handle_hint
from openhsi_shared.recording.slot_readers import ended_analyses, host_readers
from openhsi_shared.recording.space import check_place
from openhsi_shared.writer.final_rescue import Rescued
from openhsi_shared.writer.handle import SaveHandle

if TYPE_CHECKING:
    from openhsi_shared.analysis.live.hosting import HostedReaders

__all__ = ["run_recording"]

logger = safe_logger(__name__)

MARK_INTERVAL_S = 0.0005
"""After a mark, so that thousands at once do not keep the interpreter from the thread that captures."""
CALL_TIMEOUT_S = 10.0
"""For opening, starting and stopping a camera, once the recording is to end."""


def run_recording(
    parent: Parent, payload: bytes, niceness: int, cpus: Sequence[int], channels: AttachedChannels | None = None
) -> None:
    """Main function of the child: record until the plan is done, the source ends, a stop request, or the parent dies.

    `payload` is the pickled plan; niceness and processors are set before it is unpickled, which imports the camera.
    The sources of `channels` belong to the parent.
    """
    become_service(niceness)
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    loop = _RecordingLoop(parent, channels)
    forward_logs(parent)
    on_sigterm(loop.stop.set)
    try:
        parent.tell(loop.record(payload))
    except BaseException as error:  # noqa: BLE001 - not swallowed: the parent raises it
        parent.tell(Ended(None, picklable(error), traceback.format_exc()))


class _RecordingLoop:
    """The main thread drives the camera; a second thread receives from the parent."""

    plan: RecordingPlan

    def __init__(self, parent: Parent, channels: AttachedChannels | None) -> None:
        self.parent, self.channels = parent, channels
        self.stop = threading.Event()
        self.requests: deque[TakeReference] = deque()
        """What is to be done between two cubes: the one being filled is closed."""
        self.camera: SharedOpenHSI | None = None
        self.control: ControlServer | None = None
        self.cubes: list[SaveHandle] = []
        self.disks = DiskWatch()
        self.begun = time.monotonic()
        self.ends_at = float("inf")
        """By the monotonic clock."""
        self.orphaned_by = ""
        self.is_listening = False
        self.watch = CameraWatch(self.stop, self._is_left, self._waits_for_slot, self._end_hung)
        self.socket: ControlSocket | None = None
        self.readers: HostedReaders | None = None
        self.notes: FlightNotes | None = None
        self.pauses = Pauses()
        self.events: Events | None = None
        self._last_status: RecordingStatus | None = None
        self.listener_failure: RecordingError | None = None

    # ---- the main thread ----

    def record(self, payload: bytes) -> Ended:
        self.plan = plan = unpack(payload)
        self.watch.start()
        with self.watch.calling("__init__", CALL_TIMEOUT_S):
            attached = {} if self.channels is None else {"channels": self.channels}
            camera: SharedOpenHSI = plan.camera(**plan.camera_keywords, **attached)
        if not isinstance(camera, SharedOpenHSI):
            raise RecordingError(f"record() needs a camera class such as SharedSimulatedCamera, got {plan.camera!r}")
        self.camera = camera
        try:
            self.start = JointStart(camera, plan.joint)
            self.place = check_place(camera, plan)
            if plan.camera_keywords.get("references") is None:
                camera.use_references_in(plan.reference_dir)
            self.notes = FlightNotes(camera, plan)
            self.events = Events(camera, plan, self.notes, self.cubes)
            camera.will_save(plan.request)
            self.control = control_server_of(camera, self, plan.joint, self.parent)
            self.readers = host_readers(camera, self.control, plan, self.channels)
            self.socket = open_socket(f"recording-{os.getpid()}", self.control.answer)
            with nullcontext() if self.socket is None else closing(self.socket):
                self._start_listening()
                failure = self._run(camera, self.events)
                return self._end(camera, failure)
        except BaseException as error:
            if self.notes is not None:
                self.notes.stop(None, f"{type(error).__name__}: {error}")
            if self.readers is not None:
                self.readers.close()
            camera.__exit__(type(error), error, error.__traceback__)
            raise

    def _run(self, camera: SharedOpenHSI, events: Events) -> BaseException | None:
        """The hot loop. Returns the error that ended it early, if any, after saving the unfinished cube."""
        failure: BaseException | None = None
        if self.channels is not None:
            self.channels.wait_for_first_samples(self.plan.connect_timeout_s, self.stop.is_set)
        if self.readers is not None:
            self.readers.wait_until_ready(self.stop.is_set)
        gc.collect()
        gc.freeze()  # existing objects are not scanned again: they do not lengthen collector pauses in the loop
        with self.watch.calling("start_cam", CALL_TIMEOUT_S):
            camera.start_streaming()  # last: from here on frames wait in the camera's queue
        self.parent.tell(Started(type(camera).__name__, camera.dc_shape, self.place))
        try:
            with camera.capturing():
                with self.watch.calling("get_img", frame_timeout_s(camera)):
                    self.start.wait(self.stop.is_set)
                self.begun = time.monotonic()
                if self.plan.seconds is not None:
                    self.ends_at = self.begun + self.plan.seconds
                self._fill_all(camera, events)
        except SourceEnded:
            logger.info("the source has ended")
        except BaseException as error:  # noqa: BLE001 - not swallowed: it is raised in the parent
            failure = error
        finally:
            gc.unfreeze()
        failure = failure or self.listener_failure
        try:
            if failure is not None or self._is_to_end():  # else no more lines are wanted
                camera.end_line()
            events.finish(failure, self.orphaned_by)
        except (WriterFailed, SaveError) as error:  # the writer rescues the unfinished cube when the camera is closed
            failure = failure or error
        return failure

    def _fill_all(self, camera: SharedOpenHSI, events: Events) -> None:
        """Take and save one cube after the other, until the recording is to end."""
        n_full = 0
        while events.n_cubes_left != 0 if events.are_wanted else n_full != self.plan.n_cubes:
            with self.watch.calling("get_img", frame_timeout_s(camera)):
                self.pauses.take(camera, lambda: self._ends_pause(events), self.notes)
                n_frames = self._fill_one(camera, events)
            if n_frames is None:
                return
            if n_frames < camera.n_lines:
                camera.end_line()
            if camera.n_collected or n_frames == camera.n_lines:  # also one whose lines are all lost, which is reported
                events.close_cube()
            events.wait_again()
            n_full += n_frames == camera.n_lines
            while self.requests:
                with self.watch.calling("get_img", frame_timeout_s(camera)):
                    answer = take_reference(camera, self.requests.popleft(), self.plan, lambda: not self._is_to_end())
                self.parent.tell(answer)

    def _ends_pause(self, events: Events) -> bool:
        return events.attend() or bool(self.requests) or self._is_to_end()

    def _fill_one(self, camera: SharedOpenHSI, events: Events) -> int | None:
        """Take a cube's frames; fewer before a pause or reference, or after an event. Their number, None at the end."""
        end = None if self.plan.seconds is None else self.begun + self.plan.seconds
        stop, is_paused, take_line = self.stop.is_set, self.pauses.is_wanted, camera.take_line
        requests, changes = self.requests, events.changes
        for n in camera.takes_of(camera.n_lines):
            if stop() or (end is not None and time.monotonic() >= end):
                return None
            if requests or is_paused() or (changes and events.follow()):
                return n
            take_line()
        return camera.n_lines

    def _is_to_end(self) -> bool:
        return self.stop.is_set() or time.monotonic() >= self.ends_at

    def _start_listening(self) -> None:
        self.is_listening = True
        GuardedThread(
            self._listen,
            name="parent",
            failure="the thread that receives stop requests has failed: the recording ends",
            on_failure=self._end_on_listener_failure,
        ).start()

    def _end(self, camera: SharedOpenHSI, failure: BaseException | None) -> Ended:
        seconds = time.monotonic() - self.begun
        if self.control is not None:
            self.control.phase = "ending"
        self._stop_camera(camera)
        for cube in self.cubes:
            cube.join()
        failed = {cube.name: without_handle_hint(cube.error) for cube in self.cubes if cube.error}
        if self.readers is not None:
            # without lines, all are lost, and the writer was given no cube that has a number
            saved = (number_of(cube.name) for cube in self.cubes if cube.n_lines and not cube.error)
            self.readers.finish(self._first_file(), frozenset(saved))
        offered = self.status()
        rescued = camera.abandon() if failed else Rescued()
        if self.readers is not None:
            self.readers.note_rescued([number_of(name) for name in rescued.files])
        if failed and failure is None:
            failure = next(iter(failed.values()))
        errors = [f"{error}; {rescued.where(cube)}" for cube, error in failed.items()]
        summary = self._summary(rescued, errors, offered, seconds)
        self._announce_end(failure, summary)
        if not failed:
            camera.close()
        elif failure is not None:
            failure.add_note("; ".join(map(rescued.where, failed)))
        cause = failure and failure.__cause__  # which is lost when an error is pickled
        trace = "".join(traceback.format_exception(cause)) if cause is not None else ""
        return Ended(summary, failure and picklable(failure), trace, self._last_status, ended_analyses(self.readers))

    def _first_file(self) -> str:
        """Path of the first cube that is saved; empty before that."""
        return str(next((cube.path for cube in self.cubes if cube.path is not None), ""))

    def _stop_camera(self, camera: SharedOpenHSI) -> None:
        """Stop it; an error is logged, since all lines are taken."""
        self.stop.set()
        try:
            with self.watch.calling("stop_cam", CALL_TIMEOUT_S):
                camera.stop_cam()  # type: ignore[attr-defined]
        except BaseException as error:  # whatever a camera of a user raises, its cubes are saved
            name = type(camera).__name__
            logger.warning("%s: stop_cam has failed: %s: %s", name, type(error).__name__, error, exc_info=error)

    def _summary(
        self, rescued: Rescued, errors: Sequence[str], offered: RecordingStatus, seconds: float, n_unfinished: int = 0
    ) -> RecordingSummary:
        """`offered` is the status before the rescue; `n_unfinished` are the lines of a cube that was never saved."""
        self._last_status = status = self.status()  # lines that could not be rescued are lost
        n_offered = offered.lines + offered.lines_lost // (self.plan.camera_options.get("average") or 1)
        has_events = self.plan.event.waits
        return summary_of(self.cubes, rescued, errors, status, n_offered, seconds, n_unfinished, has_events=has_events)

    def _announce_end(self, failure: BaseException | None, summary: RecordingSummary | None) -> None:
        ended_by = f"{type(failure).__name__}: {failure}" if failure else self.orphaned_by
        if self.notes is not None:
            self.notes.stop(summary, ended_by)
        if self.control is not None:
            self.control.announce_end(ended_by)

    # ---- the thread that watches the camera ----

    def _is_left(self) -> bool:
        """Whether its time is over, or the parent has hung up while the camera is being opened."""
        if time.monotonic() >= self.ends_at:
            return True
        return not self.is_listening and self.parent.has_message()

    def _waits_for_slot(self) -> bool:
        if self.camera is None or self.plan.when_full != "block":
            return False
        slots = self.camera.status().slots
        return not slots["FREE"] and not slots["FILLING"]

    def _end_hung(self, method: str, timeout_s: float) -> NoReturn:
        """A call of the camera does not return: save what was collected, report it, and end the process."""
        name = getattr(self.plan.camera, "__name__", repr(self.plan.camera))
        words = f"{name}: {method} has not returned within {timeout_s:.0f} s after the recording was to end"
        error: BaseException = CameraLost(f"{words}: its process was ended")
        thread = threading.main_thread().ident
        trace = "".join(traceback.format_stack(sys._current_frames().get(thread or 0)))  # noqa: SLF001 - the only way
        summary = None
        try:
            if self.camera is not None:
                seconds, offered, n_unfinished = time.monotonic() - self.begun, self.status(), self.camera.n_collected
                rescued = self.camera.abandon(camera_hangs=True)
                summary = self._summary(rescued, list(map(str, rescued.failures)), offered, seconds, n_unfinished)
            self._announce_end(error, summary)
        except Exception as other:  # noqa: BLE001 - reported with the cause; the process must end
            error.add_note(f"while saving what was collected: {type(other).__name__}: {other}")
        self.parent.tell(Ended(summary, error, trace, self._last_status))
        if self.socket is not None:
            self.socket.path.unlink(missing_ok=True)
        os._exit(1)

    # ---- the listener thread ----

    def _listen(self) -> None:
        while (message := self.parent.receive()) is not GONE:
            self._handle(message)
        self.orphaned_by = "the program that recorded has died"
        self.stop.set()

    def _handle(self, message: Any) -> None:
        """Handle a message, or note it for the main thread."""
        if isinstance(message, StatusRequest):
            self.parent.tell(self.status())
        elif isinstance(message, StopRequest):
            self.stop.set()
        elif isinstance(message, StartAt):
            self.start.at_ns = message.monotonic_ns
        elif isinstance(message, PauseRequest):
            self.pauses.want(*message)
        elif isinstance(message, TakeReference):
            self.requests.append(message)
        elif isinstance(message, EventChange) and self.events is not None:
            self.events.put(message)
        elif isinstance(message, StopAnalysis) and self.readers is not None:
            self.readers.end(message.name, self._first_file())
        elif isinstance(message, MarkRequest):
            with suppress(ClosedError):  # the camera is closed: there are no more lines
                self.mark(*message)
            time.sleep(MARK_INTERVAL_S)

    def _end_on_listener_failure(self, error: BaseException) -> None:
        self.listener_failure = RecordingError("the thread that receives stop requests has failed")
        self.listener_failure.__cause__ = error
        self.stop.set()

    @property
    def save_dir(self) -> str:
        """Directory of its cubes."""
        return self.plan.save_dir

    def ask_to_stop(self) -> None:
        self.stop.set()

    def mark(self, text: str, monotonic_ns: int) -> None:
        """For any thread; see `SharedDataCube.mark_at`."""
        if self.camera is not None and self.notes is not None:
            self.notes.note("mark", time_ns=self.camera.mark_at(text, monotonic_ns), text=text)
            if self.plan.event.waits:
                self.parent.tell(MarkMade(monotonic_ns))

    def want_pause(self, is_paused: bool) -> None:
        self.pauses.want(is_paused)

    def status(self) -> RecordingStatus:
        camera = self.camera
        if camera is None:
            raise RecordingError("the camera is not open yet")
        directory = self.plan.save_dir
        return status_of(
            camera,
            directory,
            self.disks.space(directory),
            {} if self.readers is None else self.readers.statuses(),
            begun=self.begun,
            n_cubes=len(self.cubes),
            is_paused=self.pauses.is_now,
            of_events={} if self.events is None else self.events.status(),
        )
