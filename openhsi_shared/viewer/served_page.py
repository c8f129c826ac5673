"""A page that a process of its own serves: the handle to it, in the process of its owner."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from openhsi_shared.errors import ViewerError
from openhsi_shared.loggers import AnyLogger
from openhsi_shared.packages import require
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.viewer.browser import can_open_browser, open_in_browser
from openhsi_shared.viewer.server import PageSocket

__all__ = ["ServedPage"]

CLOSE_TIMEOUT_S = 2.0


class ServedPage:
    """A page in a process of its own, until `close`. No reference to it is needed; its failures are logged."""

    KIND = "page"
    """What it is, in messages and logs."""

    def __init__(
        self,
        target: Callable[..., object],
        args: Sequence[Any],
        logger: AnyLogger,
        *,
        open_browser: bool = True,
        port: int = 0,
        answer: Callable[[Child, Any], object] = lambda _child, _message: None,
    ) -> None:
        """Start `target(parent, *args, listening)` in a process; returns at once, and a browser waits for it.

        `answer(child, message)` is called in a thread for each of its messages. `open_browser` has no effect without a
        screen or in a notebook. `port` 0 is any free port. ArgumentError if `port` is in use,
        PackageMissing without bokeh.
        """
        require(f"the {self.KIND}", "bokeh", "tornado")
        with PageSocket(port) as listening:
            self.url = listening.url
            """Address for a browser on this machine; it cannot be guessed."""
            # a daemon: the interpreter does not wait for viewers at exit
            self._child = Child(target, (*args, listening), name=self.KIND, logger=logger, daemon=True)
        self.process_id = self._child.pid
        self._closing, self._is_closed = threading.Lock(), False
        GuardedThread(
            _receive,
            self._child,
            answer,
            name=self.KIND,
            failure=f"messages of the {self.KIND} are no longer received",
            on_failure=lambda _: self._child.hang_up(),  # then it ends, as its page would not be updated
        ).start()
        if open_browser and can_open_browser():
            open_in_browser(self.url)

    @property
    def is_open(self) -> bool:
        """Whether it is being served."""
        return self._child.exit_code is None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has ended; False after `timeout` seconds.

        Raises ViewerError if its process was killed, or died. What it shows is not affected.
        """
        self._child.join(timeout)
        code = self._child.exit_code
        if code and not self._is_closed:
            raise ViewerError(f"the {self.KIND} {self.url} died with exit code {code}; open another one")
        return code is not None

    def close(self) -> None:
        """End it; blocks for less than a second. Idempotent."""
        with self._closing:
            self._is_closed = True
            self._child.terminate()
            self._child.end(CLOSE_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.KIND} {self.url}{'' if self.is_open else ', closed'}>"

    def _repr_html_(self) -> str:
        link = f'<a href="{self.url}" target="_blank">{self.url}</a>'
        return f'<iframe src="{self.url}" width="100%" height="820" style="border:0"></iframe><br>{link}'


def _receive(child: Child, answer: Callable[[Child, Any], object]) -> None:
    """Receive its messages, and forward its log records, until it has ended."""
    while (message := child.receive()) is not GONE:
        answer(child, message)
    child.join()
    child.close()
