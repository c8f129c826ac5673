"""Control of a running job: paused, continued and stopped from any thread."""

import threading
from typing import Literal

__all__ = ["Control"]

State = Literal["working", "paused", "ending"]


class Control:
    """What the user of a job wants its workers to do. Thread-safe, also in a signal handler; nothing blocks."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        """Notified when anything changes that workers wait for; the lock of the job's registers of blocks."""
        self._state: State = "working"
        self.error: BaseException | None = None
        """Why it is stopped; None if it was asked to stop."""
        self.thread_ids: set[int] = set()
        """Identifiers of the threads that work on the job now: log records of these are of this job."""

    @property
    def state(self) -> State:
        """`"ending"` is final."""
        return self._state

    def pause(self) -> None:
        """Begin no more work; what has begun is finished."""
        self._change("working", "paused")

    def resume(self) -> None:
        """Continue after `pause`."""
        self._change("paused", "working")

    def stop(self, error: BaseException | None = None) -> None:
        """End: the run raises `error`, or a JobError that it was stopped. Only the first call has an effect."""
        with self.changed:
            if self._state != "ending":
                self._state, self.error = "ending", error
                self.changed.notify_all()

    def _change(self, before: State, after: State) -> None:
        with self.changed:
            if self._state == before:
                self._state = after
                self.changed.notify_all()
