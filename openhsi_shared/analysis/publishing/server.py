"""Serves an analysis in threads of the process of its reducer: a control socket, and HTTP if a port is given."""

import os
from base64 import b64encode
from contextlib import ExitStack
from typing import Any, Self

from openhsi_shared.analysis.publishing.published import Published
from openhsi_shared.analysis.publishing.snapshots import take_snapshot
from openhsi_shared.control.control_socket import ANALYSIS_PREFIX, ControlSocket, Reply
from openhsi_shared.control.messages import (
    AnalysisNow,
    AskAnalysis,
    AskPublished,
    ParameterSet,
    PublishedNow,
    Request,
    SetParameter,
)
from openhsi_shared.errors import AnalysisError, RecordingError
from openhsi_shared.loggers import safe_logger

__all__ = ["Server", "serve"]

logger = safe_logger(__name__)


def serve(published: Published, port: int | str | None = None, *, has_socket: bool = True) -> "Server":
    """Serve an analysis until the server is closed. Returns at once.

    `port`: 0 is any free port of the loopback address; None: no HTTP; "ADDRESS:PORT": for other computers as well,
    which must send the server's `token`. AnalysisError if the port is in use. Without a control socket a
    warning is logged.
    """
    return Server(published, port, has_socket)


class Server:
    """A running server; see `serve`. `close` it, or use it in a `with` block."""

    def __init__(self, published: Published, port: int | str | None, has_socket: bool) -> None:
        self._published = published
        self._open = ExitStack()
        self.url = ""
        """Address of the HTTP server, such as "http://127.0.0.1:8080"; empty without one."""
        self.token = ""
        """What clients of other computers must send, as a bearer token or as password; empty on loopback."""
        self.socket = ""
        """Path of the control socket; empty without one."""
        with ExitStack() as opened:
            if port is not None:
                from openhsi_shared.analysis.publishing.http import HttpServer

                http = HttpServer(published, port)
                opened.callback(http.close)
                self.url, self.token = http.url, http.token
            if has_socket:
                try:
                    control = ControlSocket(f"{ANALYSIS_PREFIX}{os.getpid()}-{id(self):x}", self._answer)
                except (OSError, AttributeError, RecordingError) as error:
                    logger.warning(
                        "control socket unavailable: what the analysis publishes is not shown live: %s", error
                    )
                else:
                    opened.callback(control.close)
                    self.socket = str(control.path)
            self._open = opened.pop_all()

    def close(self) -> None:
        """Stop serving. Idempotent."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, message: Request[Any]) -> Reply[Any]:
        match message:
            case AskPublished(thin_to, max_members):
                return Reply(PublishedNow(), [take_snapshot(self._published, thin_to, max_members).to_memory()])
            case AskAnalysis(with_parameters):
                asked = self._published.parameters if with_parameters else {}
                values = {name: b64encode(one.data).decode() for name, one in asked.items()}
                return Reply(AnalysisNow(self._published.status(), values))
            case SetParameter(name, data):
                number, time, digest = self._published.set_parameter(name, data.encode("latin-1"))
                return Reply(ParameterSet(number, int(time.astype("datetime64[ns]").astype(int)), digest))
        raise AnalysisError(f"this is an analysis: it does not answer {type(message).__name__}")
