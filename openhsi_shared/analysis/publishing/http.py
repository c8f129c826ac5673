"""An analysis over HTTP: its parameters and status, with the routes of dranspose, and what it publishes, for h5pyd.

It listens on the loopback address, or requires a token. It runs in a thread of its own; what may block, such as the
lock of a reducer, blocks only the request that needs it.
"""

import asyncio
import hmac
import ipaddress
import json
import math
import secrets
import socket
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from openhsi_shared.analysis.parameters import Parameter, ParameterValue
from openhsi_shared.analysis.publishing.hdf_rest import HdfTree
from openhsi_shared.analysis.publishing.published import Published
from openhsi_shared.errors import AnalysisError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.near_names import nearest_or_all
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["HttpServer"]

logger = safe_logger(__name__)

LOOPBACK = "127.0.0.1"
MAX_BODY_BYTES = 64 << 20
N_THREADS = 4
REALM = {"WWW-Authenticate": 'Basic realm="analysis"'}


class HttpServer:
    """Serves until `close`."""

    def __init__(self, published: Published, port: int | str) -> None:
        """Listen at once. AnalysisError if the address or port is not free; see `server.serve`."""
        address, number = _address(port)
        try:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listening = socket.create_server((address, number), family=family)
        except (OSError, OverflowError) as error:
            raise AnalysisError(
                f"port {number} of {address} cannot be used for the analysis: {error}; "
                "choose another port, or 0 for any free one"
            ) from error
        is_local = ipaddress.ip_address(address).is_loopback
        self.token = "" if is_local else secrets.token_urlsafe(16)
        listening.setblocking(False)
        bound = listening.getsockname()[1]
        host = f"[{address}]" if ":" in address else address
        self.url = f"http://{host}:{bound}" + (f"/?token={self.token}" if self.token else "")
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="openhsi_shared http")
        self._loop = asyncio.new_event_loop()
        tree = HdfTree(published)
        shared = {"published": published, "threads": self._threads, "token": self.token, "tree": tree}
        application = Application(
            [
                (r"/api/v1/parameter/([^/]+)", _ParameterHandler, shared),
                (r"/api/v1/(parameters|status|progress)", _InfoHandler, shared),
                (r".*", _HdfHandler, shared),
            ],
            log_function=lambda _: None,
        )
        self._thread = GuardedThread(
            self._serve, application, listening, name="http", failure="the analysis is not served over HTTP any more"
        )
        self._thread.start()

    def _serve(self, application: Application, listening: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        server = HTTPServer(application, max_body_size=1 << 40, idle_connection_timeout=600)

        async def start() -> None:
            server.add_socket(listening)

        try:
            self._loop.run_until_complete(start())
            self._loop.run_forever()
        finally:
            server.stop()
            self._loop.run_until_complete(_end(server))
            self._loop.close()

    def close(self) -> None:
        """Stop serving. Idempotent. A request that waits for the reducer ends by itself."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _end(server: HTTPServer) -> None:
    await server.close_all_connections()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _address(port: int | str) -> tuple[str, int]:
    """Return address and port of a number, or of text such as "0.0.0.0:8080"."""
    text = str(port)
    address, _, number = text.rpartition(":")
    address = address.strip("[]") or LOOPBACK
    try:
        ipaddress.ip_address(LOOPBACK if address == "localhost" else address)
        if isinstance(port, bool) or not 0 <= int(number) < 1 << 16:
            raise ValueError
    except ValueError:
        raise AnalysisError(f"port {port!r}: expected a number from 0 to 65535, or 'ADDRESS:PORT'") from None
    return (LOOPBACK if address == "localhost" else address), int(number)


class _Handler(RequestHandler):
    """What all have in common: access, errors as JSON, and calls that may block, in threads."""

    def initialize(self, *, published: Published, threads: ThreadPoolExecutor, token: str, tree: HdfTree) -> None:
        self.published, self._threads, self._token, self.tree = published, threads, token, tree

    def prepare(self) -> None:
        """Refuse who may not ask: without the token, or a page of another site in a browser of this machine."""
        host = urlsplit(f"//{self.request.host}").hostname or ""
        if self._token:
            if not hmac.compare_digest(self._given_token().encode(), self._token.encode()):
                self.set_header("WWW-Authenticate", REALM["WWW-Authenticate"])
                raise HTTPError(401, "the token of this analysis is required: as bearer token, password, or ?token=")
        elif host not in (LOOPBACK, "localhost", "::1"):
            raise HTTPError(403, f"host {host!r}: expected {LOOPBACK} or localhost")
        origin = self.request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != self.request.host:
            raise HTTPError(403, f"pages of {origin} may not use this analysis")

    def _given_token(self) -> str:
        kind, _, value = self.request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return value.strip()
        if kind.lower() == "basic":
            try:
                return b64decode(value).decode().partition(":")[2]
            except ValueError:
                return ""
        return self.get_query_argument("token", "") or self.get_query_argument("api_key", "")

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call what may block. What it raises becomes an answer."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        except KeyError as error:
            raise HTTPError(404, str(error.args[0]).replace("%", "%%")) from error
        except ValueError as error:
            raise HTTPError(400, str(error).replace("%", "%%")) from error
        except AnalysisError as error:
            raise HTTPError(503, str(error).replace("%", "%%")) from error

    def answer(self, value: Any) -> None:
        """Send JSON, or bytes."""
        is_binary = isinstance(value, bytes)
        self.set_header("Content-Type", "application/octet-stream" if is_binary else "application/json")
        self.finish(value if is_binary else json.dumps(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        text = error.log_message if isinstance(error, HTTPError) else None
        text = (text or HTTPStatus(status_code).phrase).replace("%%", "%")
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"detail": text, "message": text}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, HTTPError):
            logger.error("%s %s failed: %s", self.request.method, self.request.path, value, exc_info=(typ, value, tb))


@stream_request_body
class _ParameterHandler(_Handler):
    """Reads a body to its end, also one that is refused: else the client would see a broken connection, not why."""

    def prepare(self) -> None:
        self._body = bytearray()
        self._refused: HTTPError | None = None
        try:
            super().prepare()
        except HTTPError as error:
            self._refused = error

    def data_received(self, chunk: bytes) -> None:
        if self._refused is None:
            self._body += chunk
        if len(self._body) > MAX_BODY_BYTES:
            self._body.clear()
            self._refused = HTTPError(413, f"a parameter that is too large: expected at most {MAX_BODY_BYTES:,} bytes")

    def _name(self, name: str) -> str:
        if self._refused is not None:
            raise self._refused
        if name not in self.published.described:
            raise HTTPError(
                404, f"no parameter {name!r}{nearest_or_all(name, self.published.described)}".replace("%", "%%")
            )
        return name

    async def get(self, name: str) -> None:
        self.set_header("Content-Type", "application/x.bytes")
        self.finish(self.published.parameters[self._name(name)].data)

    async def post(self, name: str) -> None:
        self._name(name)
        number, time, digest = await self.in_thread(self.published.set_parameter, name, bytes(self._body))
        self.set_header("Event-Number", str(number))
        self.set_header("Event-Time", f"{time}Z")
        self.answer(digest)


class _InfoHandler(_Handler):
    async def get(self, what: str) -> None:
        self.answer(getattr(self, f"_{what}")())

    def _parameters(self) -> list[dict[str, Any]]:
        values = self.published.parameters
        return [_described(one, values[name]) for name, one in self.published.described.items()]

    def _status(self) -> dict[str, Any]:
        status = asdict(self.published.status())
        status["age_s"] = None if math.isnan(status["age_s"]) else status["age_s"]  # JSON has no NaN
        return {**status, "parameters_hash": self.published.parameters.hash, **self._progress()}

    def _progress(self) -> dict[str, Any]:
        status = self.published.status()
        return {
            "last_assigned": status.events,
            "completed_events": status.events,
            "total_events": status.events + status.waiting,
            "finished": status.state in ("ended", "failed"),
        }


def _described(parameter: Parameter, value: ParameterValue) -> dict[str, Any]:
    shown = {"dtype": parameter.dtype, "default": parameter.default, "value": value.value}
    if parameter.dtype == "binary":
        shown = {"dtype": parameter.dtype, "n_bytes": len(value.data)}
    limits = {"minimum": parameter.minimum, "maximum": parameter.maximum, "choices": parameter.choices}
    return {"name": parameter.name, "description": parameter.description, **shown, **limits}


class _HdfHandler(_Handler):
    async def get(self) -> None:
        await self._answer(None)

    async def post(self) -> None:
        await self._answer(self.request.body)

    async def _answer(self, body: bytes | None) -> None:
        parts = [unquote(part) for part in self.request.path.split("/") if part]
        if body is not None and parts[-1:] != ["value"]:
            raise HTTPError(405, "what is published can only be read")
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        is_binary = self.request.headers.get("Content-Type", "").startswith("application/octet-stream")
        self.answer(await self.in_thread(self.tree.answer, parts, query, body, is_binary))
