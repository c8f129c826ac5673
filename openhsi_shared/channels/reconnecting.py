"""Sources behind a connection that may break, and is made again: serial lines and sockets."""

import threading
from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.errors import ChannelError
from openhsi_shared.matching.states import State
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["ReconnectingChannel"]

RETRY_S = 1.0
CLOSE_S = 10.0


class ReconnectingChannel(Channel):
    """A source whose thread connects, reads until the connection breaks, and connects again.

    The state is `connecting` until the first sample, `lost` after a broken connection.
    """

    _broken: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    """What a broken connection raises."""
    _thread: GuardedThread | None = None
    _stopping: threading.Event | None = None

    @abstractmethod
    def _connect(self) -> AbstractContextManager[Any]:
        """Return a connection, or raise one of `_broken`, with words for the user."""

    @abstractmethod
    def _listen(self, connection: Any, deliver: Deliver, stopping: threading.Event) -> None:
        """Read and deliver until `stopping` is set, looking at it at least once a second."""

    def open(self, deliver: Deliver) -> None:
        """See `Channel.open`: it connects in a thread, as often as needed."""
        if self._thread is not None:
            return
        deliver.state(State.CONNECTING)
        self._stopping = threading.Event()
        self._thread = GuardedThread(
            self._run,
            deliver,
            self._stopping,
            name=f"channel {self.name}",
            failure=f"channel {self.name!r} has ended",
            on_failure=lambda error: deliver.state(State.ENDED, f"{type(error).__name__}: {error}"),
        )
        self._thread.start()

    def _run(self, deliver: Deliver, stopping: threading.Event) -> None:
        was_connected, why = False, ""
        while not stopping.is_set():
            try:
                with self._connect() as connection:
                    was_connected = True
                    self._listen(connection, deliver, stopping)
            except self._broken as error:
                words = str(error) or type(error).__name__
                if not stopping.is_set():
                    deliver.state(State.LOST if was_connected else State.CONNECTING, words)
                if words != why:
                    deliver.describe(why=words[:200])
                why = words
            stopping.wait(RETRY_S)

    def close(self) -> None:
        """See `Channel.close`."""
        thread, stopping, self._thread, self._stopping = self._thread, self._stopping, None, None
        if thread is None or stopping is None:
            return
        stopping.set()
        thread.join(CLOSE_S)
        if thread.is_alive():
            raise ChannelError(f"channel {self.name!r} ({self.description}) does not end within {CLOSE_S:g} s")
