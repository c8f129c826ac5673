"""What the handles of a recording, and of several that record together, have in common: requests, and a clean end."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.control.status import ChannelStatus
from openhsi_shared.errors import ArgumentError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.recording.conditions import Conditions
from openhsi_shared.recording.messages import MarkRequest, PauseRequest

__all__ = ["RecordingHandle"]

logger = safe_logger(__name__)


class RecordingHandle(ABC):
    """Use it in a `with` block: at its end recordings are stopped cleanly."""

    save_dir: Path
    """Where the cubes go, those of all cameras."""
    shows_progress: bool = True
    """Whether the progress bar of `wait` is updated."""
    _channels: AttachedChannels | None
    _conditions: Conditions
    _owner: int
    _is_reported = False
    """Whether `wait` has returned the end, or raised it."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether a camera still records: more files may be written."""

    @abstractmethod
    def stop(self) -> None:
        """Request a clean shutdown. Does not block. Idempotent."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> Any:
        """Block until the end."""

    @abstractmethod
    def _check_owner(self) -> None:
        """ClosedError in a forked child."""

    @abstractmethod
    def _tell(self, what: str, message: Any) -> None:
        """Send a request. RecordingError, with `what` was requested, after the end."""

    @abstractmethod
    def _follow(self, end: float | None) -> None:
        """Show the progress until the end, or until this moment of the monotonic clock."""

    @property
    def channels(self) -> Mapping[str, ChannelStatus]:
        """Newest sample and state of each channel now: `run.channels["gps"].value`. Does not block."""
        return {} if self._channels is None else self._channels.statuses()

    def mark(self, text: str) -> None:
        """Note a text at this moment, in the file of the line that is being taken, and in the log of the flight.

        Of several cameras in the files of all. Does not block; for any thread. See `SharedDataCube.mark`. ArgumentError
        if `text` is none, RecordingError after the end.
        """
        self.mark_at(text, time.monotonic_ns())

    def mark_at(self, text: str, monotonic_ns: int) -> None:
        """`mark` for an earlier moment, by `time.monotonic_ns()`. ArgumentError, RecordingError."""
        if not isinstance(text, str):
            raise ArgumentError(f"mark needs a text, got {text!r}")
        self._tell("mark", MarkRequest(text, monotonic_ns))

    def pause(self) -> None:
        """Close and save the cube, and throw frames away until `resume`; they do not count as lost. Idempotent.

        Does not block. The next file says `paused_before_s` and `frames_paused`. RecordingError after the end.
        """
        self._tell("pause", PauseRequest(True))

    def resume(self) -> None:
        """Go on with the next frame, in a new cube. Idempotent. Does not block. RecordingError after the end."""
        self._tell("resume", PauseRequest(False))

    def _follow_or_stop(self, timeout: float | None, what: str) -> None:
        """Follow until the end, for `timeout` s at most; Ctrl-C stops it cleanly: then `what` is being saved."""
        self._check_owner()
        end = None if timeout is None else time.monotonic() + timeout
        try:
            self._follow(end)
        except KeyboardInterrupt:
            logger.warning("stopping: %s collected so far are being saved", what)
            self.stop()
            self._follow(end)

    def _close_channels(self) -> None:
        if self._channels is not None:
            self._channels.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._owner:
            return
        self.stop()
        if error is None and not self._is_reported:
            self.wait()  # also if it has ended by itself: its error has not been raised yet
        else:
            self._follow(None)
