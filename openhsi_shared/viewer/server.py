"""A bokeh server in this process, for whoever has a browser on this machine.

It listens on the loopback address alone, below a path that cannot be guessed: other users of the machine can reach the
port, but find no page there. Scripts and styles come from here too, so a page asks nothing of the internet.
"""

import logging
import secrets
import socket
from collections.abc import Callable
from typing import Any, Self

from openhsi_shared.errors import ArgumentError

__all__ = ["LOOPBACK", "PageSocket", "serve"]

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
LOOK_MS = 200
"""How often it is asked whether the server has to end."""
UNUSED_MS = 3000
"""What a browser that is gone leaves behind is put away after this time."""


class PageSocket:
    """Where a page will be served: made at once, by the one who wants to know the address; it travels to a child.

    A browser that comes before the server is up waits for it.
    """

    def __init__(self, port: int = 0, address: str = LOOPBACK) -> None:
        """Listen; port 0 is any that is free. ArgumentError if it is taken, or the address is not of this machine."""
        self._socket = socket.socket(socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address, port))
            self._socket.listen(128)
        except (OSError, OverflowError, TypeError) as error:
            self._socket.close()
            raise ArgumentError(f"no page can be served at {address}:{port}: {error}; choose another port") from error
        self.path = f"/{secrets.token_urlsafe(9)}"

    @property
    def url(self) -> str:
        """What to open in a browser."""
        address, port = self._socket.getsockname()[:2]
        return f"http://{address}:{port}{self.path}"

    @property
    def socket(self) -> socket.socket:
        """What listens."""
        return self._socket

    def close(self) -> None:
        """Stop to listen, in this process; twice is once."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(
    make_document: Callable[[Any], Any],
    port: int | PageSocket = 0,
    address: str = LOOPBACK,
    *,
    ready: Callable[[str], Any] | None = None,
    is_over: Callable[[int], bool] | None = None,
) -> None:
    """Serve a bokeh application in this thread; blocks until `is_over(n)` is true, n being how many browsers look.

    `make_document(document)` fills the document of each browser that comes. `port`: a number (0 = any that is free), or
    a PageSocket. `ready(url)` is called once the first browser could be served. Without `is_over` it serves until
    KeyboardInterrupt, which is raised. Callbacks of documents run in this thread, too.
    """
    import asyncio

    from bokeh.application import Application
    from bokeh.application.handlers.function import FunctionHandler
    from bokeh.server.server import BaseServer
    from bokeh.server.tornado import BokehTornado
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop, PeriodicCallback

    _silence_browsers_that_leave()
    asyncio.set_event_loop(loop := asyncio.new_event_loop())
    with port if isinstance(port, PageSocket) else PageSocket(port, address) as listening:
        application = BokehTornado(
            {listening.path: Application(FunctionHandler(make_document))},
            extra_websocket_origins=["127.0.0.1:*", "localhost:*"],  # another port at the near end of an SSH tunnel
            use_index=False,
            unused_session_lifetime_milliseconds=UNUSED_MS,
            check_unused_sessions_milliseconds=1000,
        )
        http = HTTPServer(application)
        listening.socket.setblocking(False)
        http.add_sockets([listening.socket])
        server = BaseServer(IOLoop.current(), application, http)
        server.start()

        failures: list[Exception] = []

        def look() -> None:
            try:
                is_at_end = is_over is not None and is_over(sum(s.connection_count for s in server.get_sessions()))
            except Exception as error:  # noqa: BLE001 - raised below: else nobody would ever end this server
                failures.append(error)
                is_at_end = True
            if is_at_end:
                loop.call_soon(loop.stop)

        watch = PeriodicCallback(look, LOOK_MS)
        watch.start()
        if ready is not None:
            loop.call_soon(ready, listening.url)
        try:
            loop.run_forever()
        finally:
            watch.stop()
            server.stop()
            http.stop()
            _let_go(loop)
        if failures:
            raise failures[0]


def _let_go(loop: Any) -> None:
    """Let what still runs end, so that nothing complains of it afterwards."""
    import asyncio

    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()


def _silence_browsers_that_leave() -> None:
    """A browser may leave in the middle of a message, or ask for an icon: that is no error, and no traceback."""
    logging.getLogger("tornado.access").addFilter(_is_error)
    for name in ("tornado.application", "tornado.general", "asyncio", "bokeh", "bokeh.server", "bokeh.server.views.ws"):
        logger_of_others = logging.getLogger(name)
        if not any(isinstance(known, _BrowserLeft) for known in logger_of_others.filters):
            logger_of_others.addFilter(_BrowserLeft())


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


class _BrowserLeft(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        if error is not None:
            return error.__name__ not in ("WebSocketClosedError", "StreamClosedError")
        return not record.getMessage().startswith("Failed sending message as connection was closed")
