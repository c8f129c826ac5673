"""Watching a recording that runs: its live page in a browser, and its live cell in a notebook."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from openhsi_shared.control.control_socket import request, socket_path
from openhsi_shared.control.messages import AskSlots
from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.errors import RecordingError

if TYPE_CHECKING:
    from openhsi_shared.viewer.live_page import LivePage
    from openhsi_shared.viewer.notebook import LiveCell

__all__ = ["WatchedRecording"]


class WatchedRecording(ABC):
    """What can be watched of a recording, through its control socket."""

    process_id: int | None

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether it has not ended yet."""

    @abstractmethod
    def status(self) -> RecordingStatus:
        """Current status."""

    @abstractmethod
    def _check_owner(self) -> None:
        """ClosedError in a forked child."""

    def live(self) -> "LiveCell":
        """Show image, spectrum and counters in a notebook's cell, and keep them up to date until the recording ends.

        Returns at once. Raises PackageMissing without ipywidgets (the extra `notebook`), RecordingError if the
        recording has ended or has no control socket.
        """
        from openhsi_shared.viewer.notebook import live_cell

        self._check_owner()
        try:
            slots, descriptors = request(self.socket_path, AskSlots())
        except (OSError, RecordingError) as error:
            raise self._cannot_be_looked_at(f" ({error})") from error
        return live_cell(self, slots, descriptors, lambda run: not run.is_running).show()

    def view(self, *, open_browser: bool = True, port: int = 0) -> "LivePage":
        """Open the live page in a browser, served by a separate process, and return its handle at once.

        It never blocks the recording; it ends with this program, with `close` of the handle, and when the recording has
        ended and no browser shows the page. `port` 0 is any free port. Raises ArgumentError for a port in use,
        RecordingError if the recording has ended or has no control socket, PackageMissing without bokeh.
        """
        from openhsi_shared.viewer.live_page import LivePage

        self._check_owner()
        path = self.socket_path
        if not path.exists():
            raise self._cannot_be_looked_at()
        return LivePage(path, open_browser=open_browser, port=port)

    @property
    def socket_path(self) -> Path:
        """Path of its control socket."""
        return socket_path(f"recording-{self.process_id}")

    def _cannot_be_looked_at(self, more: str = "") -> RecordingError:
        why = "its control socket does not answer" if self.is_running else "it has ended"
        return RecordingError(f"this recording cannot be looked at: {why}{more}")
