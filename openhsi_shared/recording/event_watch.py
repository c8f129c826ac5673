"""Polls the condition of events in the process of the user, and sends its changes to the recording."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.errors import RecordingError
from openhsi_shared.files.flight_log import FlightLog
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.recording.event_plan import EventPlan
from openhsi_shared.recording.inside import Inside
from openhsi_shared.recording.messages import Ended, EventChange, MarkMade
from openhsi_shared.recording.readings import Readings

__all__ = ["EventWatch", "Hold"]

logger = safe_logger(__name__)

POLL_INTERVAL_S = 0.02
SEND_INTERVAL_NS = 10**9
"""An answer that has not changed is sent so often, too: without any, the recording takes the condition for true."""
CONNECTING_NS = 2 * 10**9
"""At the start, channels may connect for so long before it is in doubt whether lines are wanted."""
WARN_INTERVAL_NS = 60 * 10**9
"""Between two warnings that it is not known whether the condition holds."""


@dataclass
class Hold:
    """Whether something holds that may change for a moment: a change counts if it lasts for some time."""

    on_after_s: float
    off_after_s: float
    is_on: bool | None = None
    """None before the first answer, which counts at once."""
    since_ns: int = 0
    """When it changed last, or will have."""
    _changing_ns: int | None = None

    def step(self, now_ns: int, holds: bool) -> bool:
        """Note an answer; returns whether it changes `is_on`."""
        if self.is_on is None:
            self.is_on = holds
            return True
        if holds == self.is_on:
            self._changing_ns = None
            return False
        if self._changing_ns is None:
            self._changing_ns = now_ns
        if now_ns - self._changing_ns < (self.on_after_s if holds else self.off_after_s) * 1e9:
            return False
        self.is_on, self.since_ns, self._changing_ns = holds, self._changing_ns, None
        return True


class EventWatch:
    """Polls the condition 50 times a second, in a thread that ends with the recording."""

    def __init__(
        self,
        plan: EventPlan,
        directory: Path,
        channels: AttachedChannels | None,
        send: Callable[[Any], object],
        mark_at: Callable[[str, int], None],
    ) -> None:
        """`send` sends to the recording, `mark_at` marks the edges of a polygon; `directory` is that of the cubes.

        FileError for an `inside` that cannot be read, or has no polygon.
        """
        self._directory = directory
        self._plan, self._send, self._mark_at = plan, send, mark_at
        self._readings = None if channels is None else Readings(channels)
        self._text = plan.channel_condition()
        self._hold = Hold(0.0, plan.keep_after_s)
        self._inside: Inside | None = None
        if plan.inside is not None and self._readings is not None:
            self._inside = Inside(plan.inside, plan.margin_m, self._readings)
        self._is_inside = Hold(plan.at_least_s, plan.at_least_s)
        self._marked: bool | None = False
        """The last edge: inside, or outside."""
        self._from_ns = 0
        self._begins_ns: int | None = None
        """Since when all holds, if it does: by the last answers, whose change may not count yet."""
        self._marks_ns: list[int] = []
        self._doubt, self._sent_ns, self._warn_from_ns = "", 0, 0
        self._errors: list[str] = []

    def watch(self, has_ended: Callable[[], bool]) -> None:
        """Start the thread, if events are wanted."""
        if self._plan.waits:
            GuardedThread(
                self._poll,
                has_ended,
                name="events",
                failure="the thread that polls the condition of events has failed: in doubt, lines are saved",
                on_failure=self._fail,
            ).start()

    def note_mark(self, mark: MarkMade) -> None:
        """A mark was made."""
        if self._text is not None and self._text.is_mark:
            self._marks_ns.append(mark.monotonic_ns)

    def ended(self, ended: Ended) -> Ended:
        """Add errors of the condition to the summary, and log polygons that were never met."""
        not_met = "" if self._inside is None else self._inside.why_not_met()
        if not_met:
            logger.warning("%s", not_met)
            FlightLog(self._directory).note("error", text=not_met)
        errors = [*self._errors, *filter(None, [not_met])]
        if ended.summary is None or not errors:
            return ended
        return replace(ended, summary=replace(ended.summary, errors=(*ended.summary.errors, *errors)))

    # ---- the thread ----

    def _fail(self, error: BaseException) -> None:
        why = f"the condition of events is not polled any more: {type(error).__name__}: {error}"
        self._errors.append(f"{why}; from then on all was saved")
        with suppress(RecordingError):  # it has ended
            self._send(EventChange(True, time.monotonic_ns(), why))

    def _poll(self, has_ended: Callable[[], bool]) -> None:
        while not has_ended():
            self._step(time.monotonic_ns())
            time.sleep(POLL_INTERVAL_S)

    def _step(self, now_ns: int) -> None:
        marks, self._marks_ns = self._marks_ns, []
        for mark_ns in marks:  # each is an event that lasts no time
            if not self._hold.is_on:
                self._hold = Hold(0.0, self._plan.keep_after_s, is_on=True, since_ns=mark_ns)
                self._send(EventChange(True, mark_ns))
            self._hold.step(mark_ns, True)
        may_connect = self._hold.is_on is None and self._may_connect(now_ns)  # before the first answer
        answer, doubt = self._answer()
        is_inside, no_position = (True, "") if self._inside is None else self._inside.holds()
        doubt = "; ".join(filter(None, (doubt, no_position)))
        if doubt and may_connect:
            return
        self._note_doubt(now_ns, doubt)
        holds = answer is not False and is_inside is not False
        self._begins_ns = (self._begins_ns or now_ns) if holds else None
        self._follow_edge(now_ns, is_inside)
        before = self._hold.is_on
        has_changed = self._hold.step(now_ns, answer is not False and bool(self._is_inside.is_on))
        if has_changed and before is not None:
            self._hold.since_ns = self._begins_ns or now_ns
        if has_changed or now_ns - self._sent_ns >= SEND_INTERVAL_NS:
            self._sent_ns = now_ns
            self._send(EventChange(bool(self._hold.is_on), self._hold.since_ns, self._doubt))

    def _may_connect(self, now_ns: int) -> bool:
        self._from_ns = self._from_ns or now_ns
        if self._readings is None or now_ns - self._from_ns >= CONNECTING_NS:
            return False
        names = set() if self._text is None else self._text.names
        return self._readings.are_connecting(names | (set() if self._inside is None else {self._inside.channel}))

    def _follow_edge(self, now_ns: int, is_inside: bool | None) -> None:
        """Mark the edges of the polygon, as far as they are known; to begin outside is none."""
        has_changed = self._is_inside.step(now_ns, is_inside is not False)
        if self._inside is not None and is_inside is self._is_inside.is_on is not self._marked:
            self._marked = is_inside
            edge = f"{'inside' if is_inside else 'outside'} {self._inside.name}"
            with suppress(RecordingError):  # it has ended
                self._mark_at(edge, (has_changed and self._is_inside.since_ns) or now_ns)

    def _answer(self) -> tuple[bool | None, str]:
        """Whether the condition holds, or None and why that is not known."""
        if self._text is not None and self._readings is not None and not self._text.is_mark:
            answer = self._text.holds(self._readings.value)
            return answer, "" if answer is not None else self._readings.why_unknown(self._text.names)
        if not callable(self._plan.save_when):
            return self._text is None, ""
        try:
            return bool(self._plan.save_when()), ""
        except BaseException as error:  # not swallowed: it is in the summary, and lines are saved
            doubt = f"save_when has raised {type(error).__name__}: {error}"
            if not self._errors:
                self._errors.append(f"{doubt}: from then on all was saved, until it returned false")
                logger.error("%s: lines are saved until it returns false", doubt, exc_info=error)
            return None, doubt

    def _note_doubt(self, now_ns: int, doubt: str) -> None:
        if doubt and not self._doubt and now_ns >= self._warn_from_ns:
            self._warn_from_ns = now_ns + WARN_INTERVAL_NS
            logger.warning("it is not known whether the condition of events holds, lines are saved: %s", doubt)
        self._doubt = doubt
