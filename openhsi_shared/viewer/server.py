"""A bokeh server in this process, for browsers on this machine.

It listens only on the loopback address, under a path that cannot be guessed: other users of the machine can reach the
port, but not the page. Scripts and styles are served as well, so a page needs no internet.
"""

import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any, Self

from openhsi_shared.errors import ArgumentError
from openhsi_shared.loggers import safe_logger

__all__ = ["LOOPBACK", "PageSocket", "serve"]

logger = safe_logger(__name__)

LOOPBACK = "127.0.0.1"
POLL_INTERVAL_MS = 200
"""Interval of the calls of `is_over`."""
COMPONENTS = ["bokeh", "bokeh-widgets"]
"""Scripts of a page. By default bokeh also sends those for tables, WebGL and formulas, 2.3 MB of 3.9."""
UNUSED_MS = 3000
"""The session of a disconnected browser is discarded after this time."""


class PageSocket:
    """The listening socket of a page: created by the parent, which needs the address, and passed to a child.

    A browser that connects before the server is up waits for it.
    """

    def __init__(self, port: int = 0, address: str = LOOPBACK) -> None:
        """Listen; port 0 is any free port. ArgumentError if it is in use, or the address is not of this machine."""
        self._socket = socket.socket(socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address, port))
            self._socket.listen(128)
        except (OSError, OverflowError, TypeError) as error:
            self._socket.close()
            raise ArgumentError(f"cannot serve a page at {address}:{port}: {error}; choose another port") from error
        self.path = f"/{secrets.token_urlsafe(9)}"

    @property
    def url(self) -> str:
        """Address for a browser."""
        address, port = self._socket.getsockname()[:2]
        return f"http://{address}:{port}{self.path}"

    @property
    def socket(self) -> socket.socket:
        """The listening socket."""
        return self._socket

    def close(self) -> None:
        """Stop listening, in this process. Idempotent."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(
    make_document: Callable[[Any], Any] | Mapping[str, Callable[[Any], Any]],
    port: int | PageSocket = 0,
    address: str = LOOPBACK,
    *,
    ready: Callable[[str], Any] | None = None,
    is_over: Callable[[int], bool] | None = None,
    index: str = "",
) -> None:
    """Serve a bokeh application in this thread; blocks until `is_over(n)` is true for n connected browsers.

    `make_document(document)` fills the document of each browser that connects; of several, by the ends of their paths,
    "/NAME", which the HTML page `index` shows. `port`: a number (0 = any free port), or a PageSocket. `ready(url)` is
    called when the server is ready. Without `is_over` it serves until KeyboardInterrupt, which is raised. Callbacks of
    documents run in this thread as well.
    """
    import asyncio

    from bokeh.application import Application
    from bokeh.application.handlers.function import FunctionHandler
    from bokeh.server.server import BaseServer
    from bokeh.server.tornado import BokehTornado
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop, PeriodicCallback
    from tornado.web import RequestHandler

    class _Application(BokehTornado):  # type: ignore[misc]
        def resources(self, absolute_url: str | bool | None = None) -> Any:
            return super().resources(absolute_url).clone(components=COMPONENTS)

    class _IndexPage(RequestHandler):
        def initialize(self, html: str) -> None:
            self._html = html

        def get(self) -> None:
            self.write(self._html)

    _ignore_disconnects()
    asyncio.set_event_loop(loop := asyncio.new_event_loop())
    with port if isinstance(port, PageSocket) else PageSocket(port, address) as listening:
        documents = make_document if isinstance(make_document, Mapping) else {"": make_document}
        application = _Application(
            {f"{listening.path}{end}": Application(FunctionHandler(make)) for end, make in documents.items()},
            extra_patterns=[(listening.path, _IndexPage, {"html": index})] if index else [],
            extra_websocket_origins=["127.0.0.1:*", "localhost:*"],  # an SSH tunnel may have another local port
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

        def poll() -> None:
            try:
                is_at_end = is_over is not None and is_over(sum(s.connection_count for s in server.get_sessions()))
            except Exception as error:  # noqa: BLE001 - raised below: else this server would never end
                failures.append(error)
                is_at_end = True
            if is_at_end:
                loop.call_soon(loop.stop)

        watch = PeriodicCallback(poll, POLL_INTERVAL_MS)
        watch.start()
        if ready is not None:
            loop.call_soon(ready, listening.url)
        try:
            loop.run_forever()
        finally:
            watch.stop()
            server.stop()
            http.stop()
            _close_loop(loop)
        if failures:
            raise failures[0]


def _close_loop(loop: Any) -> None:
    """Cancel the remaining tasks, so that they log no warnings, and close the loop."""
    import asyncio

    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()


def _ignore_disconnects() -> None:
    """Do not log a browser that disconnects during a message, or requests an icon: these are not errors."""
    logging.getLogger("tornado.access").addFilter(_is_error)
    for name in ("tornado.application", "tornado.general", "asyncio", "bokeh", "bokeh.server", "bokeh.server.views.ws"):
        other_logger = logging.getLogger(name)
        if not any(isinstance(known, _DisconnectFilter) for known in other_logger.filters):
            other_logger.addFilter(_DisconnectFilter())


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


class _DisconnectFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        if error is not None:
            return error.__name__ not in ("WebSocketClosedError", "StreamClosedError")
        return not record.getMessage().startswith("Failed sending message as connection was closed")
