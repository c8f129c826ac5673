"""Free space of disks, asked in threads of their own: a disk that does not respond blocks only these.

A question to a dead network disk or to a FUSE file system whose process hangs never returns. So each is asked in its
own thread, at most one at a time for each directory, and callers get the last answer.
"""

import math
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["DiskWatch", "Space", "within"]

Result = TypeVar("Result")

MAX_AGE_S = 1.0
"""An answer of this age is asked for again."""
WAIT_S = 0.2
"""How long a caller waits for a new answer, which usually comes within a millisecond."""
PATIENCE_S = 2.0
"""A disk that has not answered for so long is reported."""


class Space(NamedTuple):
    """The last answer."""

    free_bytes: int | None
    """0 if the directory does not exist; None before the first answer."""
    silent_s: float
    """Age of that answer, in other words: for how long a question has not been answered; 0 if there is none."""

    def minutes_left(self, bytes_per_s: float) -> float:
        """Minutes until the disk is full; NaN if its free space is not known, infinite while nothing arrives."""
        if bytes_per_s <= 0:
            return math.inf
        return math.nan if self.free_bytes is None else self.free_bytes / bytes_per_s / 60

    def complaint(self, directory: str) -> tuple[str, ...]:
        """A text for the status, if the disk does not respond."""
        if self.silent_s < PATIENCE_S:
            return ()
        return (f"{directory} has not responded for {self.silent_s:.0f} s; the free space is that of before",)


class _Question:
    """One question to one directory, in a thread of its own."""

    def __init__(self, directory: str) -> None:
        self.begun = time.monotonic()
        self.free_bytes: int | None = None
        self._directory = directory
        self.is_answered = threading.Event()

    def ask(self) -> None:
        try:
            self.free_bytes = shutil.disk_usage(self._directory).free
        except OSError:  # the save that fails reports it
            self.free_bytes = 0
        finally:
            self.is_answered.set()


class DiskWatch:
    """Asks for the free space of directories. Thread-safe; no method blocks for longer than `WAIT_S`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._questions: dict[str, _Question] = {}
        """The last one of each directory."""
        self._free: dict[str, int] = {}
        """The last answer of each directory."""

    def space(self, directory: str) -> Space:
        """Return the last answer; a new question is waited for at most `WAIT_S`."""
        question, is_new = self._ask(directory, MAX_AGE_S)
        if is_new:
            question.is_answered.wait(WAIT_S)
        if question.is_answered.is_set():
            return Space(question.free_bytes, 0.0)
        return Space(self._free.get(directory), time.monotonic() - question.begun)

    def responds(self, directory: str) -> bool:
        """Whether it has answered the last question; asks now and then. Does not block."""
        question, _ = self._ask(directory, 10 * MAX_AGE_S)
        return question.is_answered.is_set()

    def _ask(self, directory: str, max_age_s: float) -> tuple[_Question, bool]:
        """The question in progress, or one that was answered lately, or a new one; whether it is new."""
        with self._lock:
            last = self._questions.get(directory)
            if last is not None and last.is_answered.is_set() and last.free_bytes is not None:
                self._free[directory] = last.free_bytes
            if last is not None and (not last.is_answered.is_set() or time.monotonic() - last.begun < max_age_s):
                return last, False
            question = self._questions[directory] = _Question(directory)
            thread = GuardedThread(
                question.ask, name="disk space", failure=f"the free space of {directory} is not known"
            )
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads now: the space stays unknown until the next question
                question.free_bytes = self._free.get(directory)
                question.is_answered.set()
            return question, True


def within(timeout_s: float, function: Callable[..., Result], *args: Any) -> Result:
    """Call `function(*args)` in a thread of its own; raises what that raises, or TimeoutError after `timeout_s`."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function(*args))
        except BaseException as error:  # noqa: BLE001 - not swallowed: raised below
            errors.append(error)

    thread = GuardedThread(call, name="disk", failure="a disk could not be asked")
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {timeout_s:.0f} s")
    return results[0]
