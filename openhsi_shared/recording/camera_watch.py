"""Watch over calls of a camera that do not return: they must not keep a recording from ending.

A user's `get_img`, or a vendor's package, may wait for ever, and no Python code can interrupt it. While a recording
runs, that is legitimate: the camera may wait for a trigger. Once the recording is to end, such a call has a timeout.
"""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openhsi_shared.datacube.driver_camera import DriverCamera
from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["CameraWatch", "frame_timeout_s", "on_sigterm"]

POLL_INTERVAL_S, PARENT_INTERVAL_S = 0.1, 0.5


class CameraWatch:
    """A thread that calls `on_hang` if a call has not returned within its timeout after `stop` was set."""

    def __init__(
        self,
        stop: threading.Event,
        is_left: Callable[[], bool],
        is_waiting: Callable[[], bool],
        on_hang: Callable[[str, float], object],
    ) -> None:
        """`is_left()` is true if the recording is to end although `stop` is not set.

        `is_waiting()` is true while the call waits for something else than the camera: that time is not counted.

        `on_hang(method, timeout_s)` must end the process: if the call returns after all, its thread is blocked.
        """
        self._stop, self._is_left, self._is_waiting, self._on_hang = stop, is_left, is_waiting, on_hang
        self._call: tuple[str, float] | None = None
        self._changing = threading.Lock()
        self._failure = "the watch over the camera has failed: a call that does not return keeps the recording alive"

    def start(self) -> None:
        """Start the thread."""
        GuardedThread(self._watch, name="camera watch", failure=self._failure).start()

    @contextmanager
    def calling(self, method: str, timeout_s: float) -> Iterator[None]:
        """The block calls `method` of the camera, once or repeatedly until `stop` is set."""
        self._call = method, timeout_s
        try:
            yield
        finally:
            with self._changing:  # blocks for ever if the process is being ended
                self._call = None

    def _watch(self) -> None:
        while not (self._stop.wait(PARENT_INTERVAL_S) or self._is_left()):
            pass
        watched, since = None, time.monotonic()
        while True:
            call = self._call
            if call is not watched or call is None or self._is_waiting():
                watched, since = call, time.monotonic()
            elif time.monotonic() - since > call[1]:
                with self._changing:
                    if self._call is call:
                        self._on_hang(*call)
            time.sleep(POLL_INTERVAL_S)


def frame_timeout_s(camera: SharedOpenHSI) -> float:
    """How long a frame may take: for drivers a little more than their own timeout, whose error is better."""
    return (6.0 if isinstance(camera, DriverCamera) else 3.0) + 0.012 * camera.settings.model.exposure_ms


def on_sigterm(action: Callable[[], object]) -> None:
    """Call `action` at each SIGTERM, also while the main thread is in a call in which Python runs no handlers."""
    received, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGTERM, lambda *_: action())
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    failure = "SIGTERM is handled only when the camera returns from its call"
    GuardedThread(_receive_signals, received, wake, action, name="signals", failure=failure).start()


def _receive_signals(received: socket.socket, wake: socket.socket, action: Callable[[], object]) -> None:
    with received, wake:
        while True:
            if signal.SIGTERM in received.recv(64):
                action()
