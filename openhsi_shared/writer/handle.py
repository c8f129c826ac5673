"""The handle that `save()` returns: a future of the file, with the interface of a `multiprocessing.Process`."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openhsi_shared.errors import ArgumentError, OpenHSIError

__all__ = ["SaveHandle", "SaveResult"]


@dataclass(frozen=True, kw_only=True)
class SaveResult:
    """Result of saving a cube."""

    path: Path | None
    """The file, or None if every line of the cube was lost."""
    preview_path: Path | None
    """The preview beside it, or None if none was requested or it could not be written."""
    n_lines: int
    """Lines in the file."""
    lines_lost: int
    """Lines lost before and within the cube."""


class _Supervisor(Protocol):
    """Keeps the cube in memory until it is saved."""

    def retry(self, handle: "SaveHandle", directory: str | Path) -> None: ...

    def discard(self, handle: "SaveHandle") -> None: ...


class SaveHandle:
    """One cube that is being saved; done when the file and its preview are written, or when that failed.

    `join`, `is_alive`, `exitcode` and `name` are those of a `multiprocessing.Process`. A failure that is not handled
    by calling `result` is raised when the camera is closed.
    """

    def __init__(self, name: str, n_lines: int, lines_lost: int, supervisor: _Supervisor | None = None) -> None:
        self.name = name
        """As it is logged: which cube, and of what."""
        self.n_lines = n_lines
        """Lines of the cube."""
        self.lines_lost = lines_lost
        """Lines that were lost before and within the cube."""
        self._supervisor = supervisor
        self._done = threading.Event()
        self._error: OpenHSIError | None = None
        self._is_handled = False
        self._has_resumed = False
        """Whether it is being saved, or was saved, by itself after a failure."""
        self._discarded = False
        self._path: Path | None = None
        self._preview_path: Path | None = None

    # ---- what users call ----

    def join(self, timeout: float | None = None) -> None:
        """Block until the cube is saved or has failed, `timeout` seconds at most. Never raises the failure."""
        self._done.wait(timeout)

    def is_alive(self) -> bool:
        """Whether the cube is still being saved."""
        return not self._done.is_set()

    @property
    def exitcode(self) -> int | None:
        """None while it is being saved, 0 when the file is written, 1 when that failed."""
        if self.is_alive():
            return None
        return 0 if self._error is None else 1

    def result(self, timeout: float | None = None) -> SaveResult:
        """Block until the cube is saved, and return its paths.

        Raises SaveError (an OSError) if it failed, TimeoutError after `timeout` s.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"{self.name} is not saved after {timeout} s")
        if self._error is not None:
            self._is_handled = True
            raise self._error
        return SaveResult(
            path=self._path, preview_path=self._preview_path, n_lines=self.n_lines, lines_lost=self.lines_lost
        )

    def retry(self, directory: str | Path) -> "SaveHandle":
        """Save a failed cube again, into `directory`. Returns this handle, to wait on. Does not block.

        Without effect if the cube is being saved by itself meanwhile, because a writer could be started again.
        ArgumentError if it has not failed, or was discarded.
        """
        if self.is_resumed:
            return self
        self._supervisor_of_failed("retry").retry(self, directory)
        return self

    def discard(self) -> None:
        """Discard a failed cube: its lines count as lost, and the next file declares them. Frees its slot.

        Blocks until the writer has looked on the disk: a cube that turns out to be in a file is saved, and nothing of
        it is lost. Raises WriterFailed, and keeps the cube, if no writer can look, ArgumentError if it has
        not failed, or was discarded before.
        """
        self._supervisor_of_failed("discard").discard(self)

    def _supervisor_of_failed(self, verb: str) -> _Supervisor:
        if self._supervisor is None or self._error is None or self._discarded:
            state = "discarded" if self._discarded else "being saved" if self.is_alive() else "saved"
            raise ArgumentError(f"{self.name} is {state}: {verb} is for a cube that failed and is still in memory")
        return self._supervisor

    def __repr__(self) -> str:
        state = "saving" if self.is_alive() else f"failed: {self._error}" if self._error else f"saved as {self._path}"
        return f"<{self.name}, {self.n_lines} lines, {state}>"

    # ---- what the supervisor calls ----

    @property
    def path(self) -> Path | None:
        """The file, once it is saved."""
        return self._path

    @property
    def error(self) -> OpenHSIError | None:
        """The error, if the save failed."""
        return self._error

    @property
    def unhandled_failure(self) -> OpenHSIError | None:
        """The error, if the save failed and no caller has handled it yet."""
        return None if self._is_handled or self._discarded else self._error

    @property
    def is_resumed(self) -> bool:
        """Whether it is being saved, or was saved, by itself after a failure."""
        return self._has_resumed and self._error is None

    def begin_again(self, *, by_itself: bool = False) -> None:
        """The save is pending again."""
        self._has_resumed = by_itself
        self._error, self._is_handled = None, False
        self._done.clear()

    def settle(
        self, path: Path | None = None, preview_path: Path | None = None, error: OpenHSIError | None = None
    ) -> None:
        """The save is done, or has failed with `error`: `join` and `result` return."""
        self._path, self._preview_path, self._error = path, preview_path, error
        self._done.set()

    def mark_discarded(self, n_lost: int) -> None:
        """The cube has left the memory; `n_lost` of its lines are lost with it."""
        self._discarded = True
        self.lines_lost += n_lost
