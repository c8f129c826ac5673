"""Events in the recording process: which cubes are saved, and which stay in their slots until they are recycled."""

import time
from collections import deque
from typing import Any

from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.errors import ArgumentError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.recording.flight_notes import FlightNotes
from openhsi_shared.recording.messages import EventChange
from openhsi_shared.recording.plan import RecordingPlan
from openhsi_shared.writer.handle import SaveHandle

__all__ = ["Events"]

logger = safe_logger(__name__)

ANSWER_TIMEOUT_S = 10.0
"""Without an answer of the condition for so long, it is taken for true."""
RATE_S = 2.0
"""Time after which the line rate is known."""
RATE_ERROR = 0.05
"""Of the line rate that was measured, as a share."""


class Events:
    """Decides for each cube that is closed whether it is saved. Without events in the plan all are.

    All but `put` and `status` are called by the thread that takes lines, between two lines.
    """

    def __init__(self, camera: SharedOpenHSI, plan: RecordingPlan, notes: FlightNotes, cubes: list[SaveHandle]) -> None:
        """All cubes that are handed to the writer are added to `cubes`."""
        self._camera, self._plan, self._notes = camera, plan, notes
        self.are_wanted = plan.event.waits
        """Whether lines are saved only in events."""
        self.number = 0
        """Of the event that goes on, or of the last one."""
        self.is_on = not self.are_wanted
        self.changes: deque[EventChange] = deque()
        """Those that `follow` has not seen yet."""
        self.cubes = cubes
        self._retained = camera.retained_cubes(plan.event.seconds_kept)
        self._answered_ns = time.monotonic_ns()
        self._begun_ns = self._n_saved = self._n_saved_before = 0
        self._is_rate_checked, self._has_warned = plan.line_rate is not None, False
        self._doubt = ""
        self._last_put: bool | None = None
        """`is_on` of the newest of `changes`."""
        if self.are_wanted:
            self._retained.wait()

    def put(self, change: EventChange) -> None:
        """Note an answer of the condition, from the process that polls it. For any thread."""
        self._answered_ns = time.monotonic_ns()
        if change.doubt and not self._doubt:
            self._notes.note("event", number=self.number, state="doubt", doubt=change.doubt)
        self._doubt = change.doubt
        self._put(change)

    def _put(self, change: EventChange) -> None:
        if change.is_on != self._last_put:
            self._last_put = change.is_on
            self.changes.append(change)

    def status(self) -> dict[str, Any]:
        """Fields of the status of a recording, and `doubt`; empty without events in the plan. For any thread."""
        if not self.are_wanted:
            return {}
        return {
            "event": self.number,
            "is_waiting": not self.is_on,
            "lines_not_wanted": self._retained.n_lines_recycled,
            "doubt": self._doubt,
        }

    @property
    def n_cubes_left(self) -> int | None:
        """Cubes until the end of a recording of events; None without limit."""
        has_limit = self.are_wanted and self._plan.n_cubes is not None
        return max(0, (self._plan.n_cubes or 0) - self._n_saved) if has_limit else None

    def follow(self) -> bool:
        """Follow the condition. True if the cube being filled is to be closed now: the event, or all, has ended."""
        while self.changes:
            change = self.changes[0]
            if self.is_on and not change.is_on:
                return True
            self.changes.popleft()
            if change.is_on and not self.is_on:
                self._begin(change.since_ns, change.doubt)
        return self.n_cubes_left == 0

    def close_cube(self) -> None:
        """Save the cube being filled, or retain it."""
        if self.is_on and self.n_cubes_left != 0:
            self._save({})
        else:
            self._retained.retain()
            if not self.is_on:
                self._watch_waiting()

    def wait_again(self) -> None:
        """End the event, if it is over. The cube being filled has no lines."""
        if self.are_wanted and self.is_on and self.changes and not self.changes[0].is_on:
            self.changes.popleft()
            self.is_on = False
            self._retained.wait()
            self._camera.will_save(self._plan.request)
            self._note_end()

    def attend(self) -> bool:
        """Follow the condition between two cubes. True if no more are wanted."""
        if self.follow():
            self.wait_again()
        return self.n_cubes_left == 0

    def finish(self, failure: BaseException | None, orphaned_by: str) -> None:
        """The recording ends: save or drop what is in memory."""
        ended_by = f"{type(failure).__name__}: {failure}" if failure else orphaned_by
        if self.is_on and self.n_cubes_left != 0:
            if self._camera.n_collected:
                self._save({"ended_by": ended_by} if failure else {})
        elif ended_by:
            for cube in self._retained.save_all(self._plan.request, {"ended_by": ended_by, "recovered": 1}):
                self._add(cube)
        else:
            self._retained.drop()
        if self.are_wanted and self.is_on:
            self._note_end()

    # ---- within the loop ----

    def _begin(self, since_ns: int, doubt: str) -> None:
        self.number += 1
        self.is_on, self._begun_ns, self._n_saved_before = True, time.monotonic_ns(), self._n_saved
        n_cubes_before = len(self.cubes)
        self._hand_over(since_ns - int(self._plan.event.keep_before_s * 1e9), {"event": self.number})
        self._camera.will_save(self._plan.request, {"event": self.number})
        before = self.cubes[n_cubes_before:]
        fields: dict[str, Any] = {"doubt": doubt} if doubt else {}
        fields["n_cubes_before"] = len(before)
        fields["lines_before"] = sum(cube.n_lines for cube in before) + self._camera.n_collected
        self._notes.note("event", number=self.number, state="begun", **fields)

    def _note_end(self) -> None:
        seconds, n_cubes = (time.monotonic_ns() - self._begun_ns) / 1e9, self._n_saved - self._n_saved_before
        self._notes.note("event", number=self.number, state="ended", seconds=seconds, n_cubes=n_cubes)

    def _hand_over(self, since_ns: int, attributes: dict[str, Any]) -> None:
        """Save retained cubes with lines after `since_ns`, by the monotonic clock."""
        for cube in self._retained.save_since(since_ns, self._plan.request, attributes, self.n_cubes_left):
            self._add(cube)

    def _save(self, attributes: dict[str, Any]) -> None:
        event = {"event": self.number} if self.are_wanted else {}
        self._add(self._camera.save_with(event | attributes, self._plan.request))

    def _add(self, cube: SaveHandle) -> None:
        self.cubes.append(cube)
        self._n_saved += cube.n_lines > 0  # without lines, all are lost, and it has no file
        self._notes.saved(cube)

    def _watch_waiting(self) -> None:
        """Check, when a cube has been retained, that the slots are enough, and that the condition is still polled."""
        if not self._is_rate_checked and (rate := self._retained.rate(RATE_S)) is not None:
            self._is_rate_checked = True
            try:
                self._plan.event.check_slots(rate * (1 - RATE_ERROR), self._plan.n_lines, self._plan.n_buffers)
            except ArgumentError as error:
                if not self.cubes:  # before harm is done
                    raise
                self._warn(str(error))
        if self._retained.n_too_early:
            self._warn("slots were needed before keep_before_s was over: an event would have fewer seconds before it")
        if time.monotonic_ns() - self._answered_ns > ANSWER_TIMEOUT_S * 1e9:
            doubt = f"the condition has not been answered for {ANSWER_TIMEOUT_S:.0f} s: in doubt, lines are saved"
            logger.warning("%s", doubt)
            self._put(EventChange(True, self._answered_ns, doubt))

    def _warn(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("%s", text)
