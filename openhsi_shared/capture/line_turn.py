"""Whose turn it is: one thread fills a line, or does something between two lines, and nothing else happens meanwhile.

The turn cannot be re-entered: a call from a signal handler, from `get_img` or `get_temp`, in the thread that has the
turn, finds a line in progress. Then `line` is refused, and `defer` postpones work to the end of the turn. The lock is
re-entrant only for that: such a call must not wait for itself. It is held by `with` statements of C, which a handler
that raises cannot leave half done.
"""

import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, TypeVar

from openhsi_shared.errors import ClosedError, ReentryError
from openhsi_shared.loggers import safe_logger

__all__ = ["LineTurn"]

logger = safe_logger(__name__)

T = TypeVar("T")
NO_THREAD = 0
"""No thread has this id."""
LET_PASS_S = 0.05
"""How long a line waits for work that waits for its turn. Limited, because that may wait for this thread."""


class LineTurn:
    """The turn of one cube's filler."""

    def __init__(self) -> None:
        self.doing = ""
        """What the thread that has the turn does: "line", "swap", ...; empty: nothing."""
        self.taken_by: int | None = None
        """The thread that takes frames from the camera, line by line, if any."""
        self.is_void = False
        """Whether the line in progress must not be committed: the cube was closed, or began to be, within it."""
        self._is_stuck = False
        """Whether the line in progress has not ended in time for who waited for it."""
        self._by = NO_THREAD
        self._only: int | None = None
        """The only thread that may have the turn, while it closes the cube; NO_THREAD once it is closed."""
        self._has_lines_ended = False
        self._lock = threading.RLock()
        self._gate = threading.RLock()
        """Held by work between two lines, which goes before the next line of a thread that collects without pause."""
        self._is_awaited = False
        self._deferred: deque[Callable[[], None]] = deque()

    # ---- to have it ----

    def line(self, fill: Callable[..., T], *arguments: Any) -> T:
        """Fill one line. ReentryError, before anything has changed, if this thread has the turn; ClosedError."""
        if self._is_awaited:
            self._let_pass()
        with self._lock:
            if self.doing or self._only is not None:
                self._refuse_line()
            try:
                self._by = get_ident()
                self.is_void = False
                self.doing = "line"
                return fill(*arguments)
            except Exception as error:
                self._raise_if_closed(error)  # whatever a camera raises that was closed meanwhile
                raise
            finally:
                self.doing = ""
                self._is_stuck = False
                if self._deferred and not self._is_left_to_other():
                    self.run_deferred()

    def between_lines(self, doing: str, work: Callable[..., T], *arguments: Any) -> T:
        """Do `work` while no other thread fills a line, before its next one. ClosedError.

        A thread that has the turn does it at once, within its line: `is_mine` tells. So does one that closes the cube
        beside a line that does not end.
        """
        self.check_open()
        if self._is_stuck and self._only == get_ident():
            return work(*arguments)
        if self._lock._is_owned():  # type: ignore[attr-defined] # noqa: SLF001 - as threading.Condition does
            return self._do(doing, work, arguments)
        with self._gate:
            try:
                self._is_awaited = True
                with self._lock:
                    self._is_awaited = False
                    return self._do(doing, work, arguments)
            finally:
                self._is_awaited = False

    def _do(self, doing: str, work: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        with self._lock:
            self.check_open()
            before = self.doing
            try:
                self._by = get_ident()
                self.doing = doing
                return work(*arguments)
            finally:
                self.doing = before
                if self._deferred and not before and not self._is_left_to_other():
                    self.run_deferred()

    def is_mine(self) -> bool:
        """Whether this thread has the turn: the caller was called by what it does, or by a signal handler."""
        return bool(self.doing) and self._by == get_ident()

    def is_taken_by_other(self) -> bool:
        """Whether another thread takes lines from the camera."""
        return self.taken_by not in (None, get_ident())

    def _let_pass(self) -> None:
        if self._gate.acquire(timeout=LET_PASS_S):
            self._gate.release()

    def _refuse_line(self) -> None:
        self.check_open()
        if self._has_lines_ended:
            raise ClosedError("this camera or cube is being closed: make a new one")
        if self.doing:
            raise ReentryError(
                f"put and take_line cannot be called from a signal handler, get_img or get_temp while the same thread "
                f"is at a {self.doing}: the line in progress would hold two frames; put it afterwards, or from another "
                f"thread"
            )

    # ---- at the end of it ----

    def defer(self, work: Callable[[], None]) -> None:
        """Do `work`, which must not raise, at the end of this thread's turn."""
        self._deferred.append(work)

    @property
    def has_deferred(self) -> bool:
        """Whether work is waiting for the end of the turn."""
        return bool(self._deferred)

    def _is_left_to_other(self) -> bool:
        """Whether another thread closes the cube, and waits to do what was deferred: this one may not any more."""
        return self._only not in (None, NO_THREAD, get_ident()) and not self._is_stuck

    def run_deferred(self) -> None:
        """Do what was deferred."""
        while self._deferred:
            self._deferred.popleft()()

    # ---- closing ----

    def refuse_others(self) -> None:
        """Refuse the turn to all other threads from now on. A line of this thread, if any, is not committed."""
        if self._only != NO_THREAD:
            self._only = get_ident()
        if self.is_mine():
            self.is_void = True

    @property
    def is_closed(self) -> bool:
        """Whether no thread gets it any more."""
        return self._only == NO_THREAD

    def wait_for_line(self, patience_s: float) -> bool:
        """Wait until the line that another thread fills has ended. False if that takes longer than `patience_s`.

        Then its thread gets ClosedError when it goes on, if the cube is being closed.
        """
        if self._lock.acquire(timeout=0 if self._is_stuck else patience_s):
            try:
                self.run_deferred()  # if a handler raised before it was done
            finally:
                self._lock.release()
            return True
        if not self._is_stuck:
            logger.warning("a line has not ended for %.0f s: closing without it", patience_s)
        self._is_stuck = True
        if self._only is not None:
            self.is_void = True
        return False

    def end_lines(self) -> None:
        """Refuse lines also of this thread, which closes the cube."""
        self._has_lines_ended = True

    def reopen(self) -> None:
        """Give the turn to all threads again: closing has failed."""
        self._only, self._has_lines_ended = None, False

    def close(self) -> None:
        """Refuse the turn to all threads from now on."""
        self._only = NO_THREAD
        self.run_deferred()  # what is left of it is refused, so that no caller waits for it

    def check_open(self) -> None:
        """Raise ClosedError once it is closed, and in other threads while it is being closed."""
        if self._only is not None and self._only != get_ident():
            raise ClosedError("this camera or cube is closed: make a new one")

    def _raise_if_closed(self, error: Exception) -> None:
        if self._only is not None and self._only != get_ident() and not isinstance(error, ClosedError):
            raise ClosedError("this camera or cube was closed while a line was taken: make a new one") from error
