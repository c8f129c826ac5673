"""A viewer of a ring: shows the newest frame of any 2-D camera, in a window or a page, from its own process.

The viewer copies the newest frame from the ring whenever it has shown the previous one. The process that puts frames is
not affected: it neither waits for the viewer nor notifies it. Frames that arrive too fast for the screen are skipped.
"""

import operator
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Literal, Self, get_args

from openhsi_shared.buffers.ring import SharedRing
from openhsi_shared.errors import ArgumentError, OpenHSIError, ViewerError
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.loggers import safe_logger
from openhsi_shared.packages import require
from openhsi_shared.paths import given_path
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.spawning import become_service
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.viewer.browser import can_open_browser, open_in_browser
from openhsi_shared.viewer.ring_messages import DataIndexes, Initialize, Ready, Saved, Shutdown
from openhsi_shared.viewer.server import PageSocket

__all__ = ["Backend", "Viewer"]

logger = safe_logger(__name__)

Backend = Literal["browser", "matplotlib"]
PACKAGES: dict[Backend, tuple[str, ...]] = {"browser": ("bokeh", "tornado"), "matplotlib": ("matplotlib",)}
START_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0
NICENESS = 2
POLL_INTERVAL_S = 0.2
"""Interval of checks whether the ring is live."""


# ---- in the owner's process ----------------------------------------------------------


class Viewer:
    """Shows the newest frame of a ring until it is closed: by `close`, by its window, or with the ring.

    No reference to it is needed. If it dies, the ring is not affected, and the failure is reported by an error in the
    log, by `state`, and by `wait`, which raises. `s` in the window or page saves the frame that is on the screen.
    """

    def __init__(
        self,
        ring: SharedRing,
        shape: tuple[int, int],
        vmin: float | None = None,
        vmax: float | None = None,
        backend: Backend = "browser",
        *,
        save_dir: str | Path = ".",
        open_browser: bool = True,
        port: int = 0,
    ) -> None:
        """Start it, and return at once; it is up about a second later.

        `shape` is (rows, columns) of a frame. `vmin` is black and `vmax` white; None: the range of the frames.
        "browser" is a page at `url`, opened if there is a screen and `open_browser`; `port` 0 is any free port.
        "matplotlib" is a window. Frames are saved in `save_dir`. ArgumentError for invalid arguments, ViewerError if
        the creator of the ring has died, PackageMissing without bokeh, or matplotlib.
        """
        about = _initialize(ring, shape, vmin, vmax, save_dir)
        if backend not in get_args(Backend):
            raise ArgumentError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
        require(f"Viewer(backend={backend!r})", *PACKAGES[backend])
        self.state: Literal["starting", "open", "closed", "died"] = "starting"
        """What it does; `wait` raises why it died."""
        self.shown: DataIndexes | None = None
        """The frame on the screen, at most a quarter of a second old."""
        self.saved: list[Path] = []
        """Files saved by `s`."""
        self.url: str | None = None
        """Address for a browser on this machine; it cannot be guessed. None for a window."""
        self._about, self._failure = about, ""
        self._cause: BaseException | None = None
        self._is_up, self._closing = threading.Event(), threading.Lock()
        self._is_closing = False
        listening = PageSocket(port) if backend == "browser" else None
        try:
            if listening is not None:
                self.url = listening.url
            # a daemon: the interpreter does not wait for viewers at exit
            self._child = Child(_view, (ring, about, listening), name="viewer", logger=logger, daemon=True)
        finally:
            if listening is not None:
                listening.close()
        self._listener = GuardedThread(
            self._receive,
            name="viewer",
            failure="messages of the viewer are no longer received",
            on_failure=self._end_after_failure,
        )
        self._listener.start()
        if self.url is not None and open_browser and can_open_browser():
            open_in_browser(self.url)

    @property
    def is_open(self) -> bool:
        """Whether it is running."""
        return self.state in ("starting", "open")

    @property
    def process_id(self) -> int | None:
        """Process id of the viewer."""
        return self._child.pid

    def wait_ready(self, patience_s: float = START_TIMEOUT_S) -> Self:
        """Block until it shows new frames; ViewerError if it failed, or is not ready after `patience_s`."""
        if not self._is_up.wait(patience_s):
            name = self._about.buffer_name
            raise ViewerError(f"the viewer of {name!r} is not ready after {patience_s} s: see the log, or wait longer")
        self._raise_failure()
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has ended; False after `timeout` seconds. ViewerError, with the reason, if it died."""
        self._listener.join(timeout)
        self._raise_failure()
        return not self._listener.is_alive()

    def _raise_failure(self) -> None:
        if self.state == "died":
            raise ViewerError(self._failure) from self._cause

    def close(self) -> None:
        """End it; blocks for a fraction of a second. Idempotent. Never raises its failure."""
        with self._closing:
            self._is_closing = True
            if self.state == "open":
                self._child.send(Shutdown())
                self._child.join(CLOSE_TIMEOUT_S)
            self._child.terminate()
            self._child.end(CLOSE_TIMEOUT_S)
            self._listener.join(CLOSE_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<viewer of {self._about.buffer_name} {self.url or 'in a window'}: {self.state}>"

    def _repr_html_(self) -> str:
        if self.url is None:
            return f"viewer of {self._about.buffer_name} in a window: {self.state}"
        return f'<iframe src="{self.url}" width="100%" height="820" style="border:0"></iframe>'

    def _receive(self) -> None:
        """Receive messages until it has ended, and note how it ended."""
        last: Any = None
        while (message := self._child.receive()) is not GONE:
            last = message
            if isinstance(last, Ready):
                self.state = "open"
                self._is_up.set()
            elif isinstance(last, DataIndexes):
                self.shown = last
            elif isinstance(last, Saved):
                self.saved.append(last.path)
        self._child.join()
        if isinstance(last, Shutdown):
            failure = last.reason if last.is_failure else ""
        else:
            failure = "" if self._is_closing else f"exit code {self._child.exit_code}"
        self._end(failure)

    def _end_after_failure(self, error: BaseException) -> None:
        self._cause = error
        self._child.end()
        self._end(f"the thread that receives its messages failed: {error}")

    def _end(self, failure: str) -> None:
        self._child.close()
        if failure:
            self._failure = f"the viewer of {self._about.buffer_name!r} died, the ring is not affected: {failure}"
            logger.error("%s", self._failure)
        self.state = "died" if failure else "closed"
        self._is_up.set()


def _initialize(
    ring: SharedRing, shape: Any, vmin: float | None, vmax: float | None, save_dir: str | Path
) -> Initialize:
    if not isinstance(ring, SharedRing):
        raise ArgumentError(f"ring must be a SharedRing, got {ring!r}")
    try:
        n_rows, n_columns = (operator.index(n) for n in shape)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"shape must be (rows, columns), got {shape!r}") from error
    if not ring.is_live:  # or ClosedError
        raise ViewerError(f"the ring {ring.name!r} receives no more frames: its creator has closed it or has died")
    if min(n_rows, n_columns) < 1 or n_rows * n_columns > ring.size:
        raise ArgumentError(f"a frame of shape {shape!r} does not fit into the ring {ring.name!r} of {ring.size} items")
    if ring.dtype.kind not in "biuf":
        raise ArgumentError(
            f"the ring {ring.name!r} holds {ring.dtype}, which cannot be shown in grey: put its magnitude"
        )
    for name, value in (("vmin", vmin), ("vmax", vmax)):
        if value is not None and not is_finite(value):
            raise ArgumentError(f"{name} must be a number or None, got {value!r}")
    if vmin is not None and vmax is not None and not vmin < vmax:
        raise ArgumentError(f"vmin must be less than vmax, got {vmin!r} and {vmax!r}")
    directory = given_path(save_dir, "save_dir").absolute()
    return Initialize(ring.name, ring.nbytes, n_rows, n_columns, vmin, vmax, directory)


# ---- in the viewer's process ---------------------------------------------------------


def _view(parent: Parent, ring: SharedRing, about: Initialize, listening: PageSocket | None) -> None:
    """Show frames until it must end: the target of the child process."""
    become_service(NICENESS, in_background=True)
    forward_logs(parent)
    from openhsi_shared.viewer.ring_frames import FrameReader

    end = _EndCondition(ring, parent)
    try:
        reader = FrameReader(ring, about, parent.tell)
        signal.signal(signal.SIGTERM, lambda *_: end.request("it was terminated"))
        if listening is None:
            from openhsi_shared.viewer.matplotlib_window import show_window

            show_window(reader, lambda: parent.tell(Ready()), end.is_met)
        else:
            from openhsi_shared.viewer.ring_page import serve_page

            serve_page(reader, listening, lambda: parent.tell(Ready()), end.is_met)
        reader.report_last()
        parent.tell(Shutdown(end.reason or "it was closed"))
    except OpenHSIError as error:
        parent.tell(Shutdown(str(error), is_failure=True))
    except Exception:  # noqa: BLE001 - not swallowed: sent to the owner
        parent.tell(Shutdown(traceback.format_exc(), is_failure=True))


class _EndCondition:
    """When a viewer must end, for both backends."""

    def __init__(self, ring: SharedRing, parent: Parent) -> None:
        self.reason = ""
        self._ring, self._parent = ring, parent
        self._polled_at = float("-inf")

    def request(self, reason: str) -> None:
        """Request the end; the first reason counts."""
        self.reason = self.reason or reason

    def is_met(self) -> bool:
        """Whether to end; cheap enough for every poll."""
        if not self.reason:
            message = self._parent.receive(0)
            if message is GONE:
                self.request("its owner has ended")
            elif isinstance(message, Shutdown):
                self.request("closed by its owner")
            elif time.monotonic() - self._polled_at > POLL_INTERVAL_S:
                self._polled_at = time.monotonic()
                if not self._ring.is_live:
                    self.request("the ring is closed, or its creator has died")
        return bool(self.reason)
