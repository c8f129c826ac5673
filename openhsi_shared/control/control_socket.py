"""The control socket of a camera or recording: a Unix socket on which other programs of the same user send requests.

A client sends one request and receives one answer (`messages`). Some answers carry file descriptors: anonymous shared
memory is passed to another process as a read-only descriptor, of which the kernel refuses a writeable mapping. The
socket is in the user's runtime directory, with mode 0600. The socket of a dead process is removed by `find_sockets`.
"""

import errno
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple

from openhsi_shared.control.messages import (
    ANSWERS,
    REQUESTS,
    A,
    Answer,
    Refused,
    Request,
    decode,
    encode,
    prepare_decoding,
)
from openhsi_shared.errors import OpenHSIError, RecordingError
from openhsi_shared.file_calls import close_all
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.own_directory import own_directory, user_name
from openhsi_shared.processes.supervision import GuardedThread

__all__ = [
    "ANALYSIS_PREFIX",
    "ControlSocket",
    "Reply",
    "find_sockets",
    "open_socket",
    "request",
    "runtime_directory",
    "socket_path",
]

logger = safe_logger(__name__)

ANALYSIS_PREFIX = "analysis-"
"""Of the names of control sockets of analyses."""
TIMEOUT_S = 2.0
RETRY_INTERVAL_S = 0.2
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of `accept` that pass: clients wait for it."""
MAX_BYTES = 1 << 20
"""Per message."""
MAX_DESCRIPTORS = 64
"""Per message."""


class Reply(NamedTuple, Generic[A]):
    """An answer and the file descriptors that are sent with it."""

    answer: A
    descriptors: Sequence[int] = ()
    """The receiver must close them."""


def runtime_directory() -> Path:
    """Return the directory of this user's control sockets, with mode 0700; it is created if it does not exist."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = (
        Path(base) / "openhsi_shared"
        if base and Path(base).is_dir()
        else Path(tempfile.gettempdir()) / f"openhsi_shared-{user_name()}"
    )
    try:
        return own_directory(folder)
    except PermissionError as error:
        raise RecordingError(f"{folder}: {error.strerror}: set XDG_RUNTIME_DIR to a directory of your own") from error


def socket_path(name: str) -> Path:
    """Return the path of the control socket `name`."""
    return runtime_directory() / f"{name}.sock"


class ControlSocket:
    """Answers requests, each in its own thread, until it is closed."""

    def __init__(self, name: str, answer: Callable[[Request[Any]], Reply[Any]]) -> None:
        """Listen at `socket_path(name)`. `answer` is called for one request at a time; its exceptions are sent.

        OSError if the socket cannot be created, for instance because its path is too long.
        """
        prepare_decoding(REQUESTS)
        self.path = socket_path(name)
        self._answer = answer
        self._answering = threading.Lock()
        self._closing = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listen()
        except OSError:
            self._listener.close()
            raise
        self._thread = GuardedThread(
            self._serve,
            name="control socket",
            failure="control socket failed: requests are no longer answered",
            on_failure=lambda _: self._shut_down(),
        )
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has no more threads now
            self._shut_down()
            raise OSError(errno.EAGAIN, str(error)) from error

    def close(self) -> None:
        """Stop answering. Idempotent."""
        self._closing.set()
        self._shut_down()
        self._thread.join()

    def _shut_down(self) -> None:
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # unblocks accept()
        self._listener.close()

    def _listen(self) -> None:
        """Rename it last: `find_sockets` removes a socket on which no process listens, as that of a dead process."""
        temporary = self.path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(temporary))
        finally:
            os.umask(before)
        self._listener.listen()
        temporary.replace(self.path)

    def _serve(self) -> None:
        with suppress(OSError, RecordingError):  # the next one tries again
            find_sockets()  # removes those of programs that were killed
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as error:
                if self._closing.is_set():
                    return
                if error.errno not in OUT_OF_RESOURCES:
                    raise
                logger.warning("control socket: clients have to wait: %s", error)
                self._closing.wait(RETRY_INTERVAL_S)
                continue
            # a client that sends nothing must delay neither other clients nor the end of the recording
            try:
                GuardedThread(self._receive, client, name="request", failure="request not answered").start()
            except RuntimeError as error:  # the system has no more threads now
                client.close()
                logger.warning("control socket: a client was disconnected: %s", error)
            except BaseException:
                client.close()
                raise

    def _receive(self, client: socket.socket) -> None:
        with client:
            client.settimeout(TIMEOUT_S)
            try:
                self._reply(client)
            except Exception as error:  # noqa: BLE001 - an error of a client must not affect the recording
                logger.debug("request on the control socket not answered: %s", error)

    def _reply(self, client: socket.socket) -> None:
        line = _read_line(client)
        try:
            message = decode(line, REQUESTS)
            with self._answering:
                reply = self._answer(message)
        except Exception as error:  # noqa: BLE001 - not swallowed: the client raises it
            reason = str(error) if isinstance(error, OpenHSIError) else f"{type(error).__name__}: {error}"
            reply = Reply(Refused(reason))
        try:
            text = encode(reply.answer)
            if reply.descriptors:
                socket.send_fds(client, [text[:1]], list(reply.descriptors))
                client.sendall(text[1:])
            else:
                client.sendall(text)
        finally:
            close_all(reply.descriptors)


def open_socket(name: str, answer: Callable[[Request[Any]], Reply[Any]]) -> ControlSocket | None:
    """Open a control socket; None, with a warning, where the platform has none."""
    try:
        return ControlSocket(name, answer)
    except (OSError, AttributeError, RecordingError) as error:
        logger.warning("control socket unavailable: live view disabled: %s", error)
        return None


def _read_line(connection: socket.socket) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk or len(text) > MAX_BYTES:
            raise ConnectionError("connection closed by the other side, or message too long")
        text += chunk
    return text


def request(path: Path, message: Request[A]) -> Reply[A]:
    """Send a request to the control socket at `path` and return the reply. Blocks for at most 2 s.

    OSError if no process answers; RecordingError if the request is too long or refused, or the answer has another
    version.
    """
    line = encode(message)
    if len(line) > MAX_BYTES:
        raise RecordingError(
            f"a message of {len(line):,} bytes: expected at most {MAX_BYTES:,}; large values of parameters are set "
            "over HTTP, or before the start"
        )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(path))
        connection.sendall(line)
        first, descriptors, _, _ = socket.recv_fds(connection, 1, MAX_DESCRIPTORS)
        try:
            answer = _expected(message, decode(first + _read_line(connection), ANSWERS))
        except BaseException:
            close_all(descriptors)
            raise
    return Reply(answer, list(descriptors))


def _expected(message: Request[A], answer: Answer) -> A:
    if isinstance(answer, Refused):
        raise RecordingError(answer.why)
    if not isinstance(answer, message.answer_type):
        raise RecordingError(f"the control socket answered {type(message).__name__} with {type(answer).__name__}")
    return answer


def find_sockets(*, of_analyses: bool = False) -> list[Path]:
    """Return the control sockets of this user's running cameras and recordings, or those of analyses.

    Those of dead programs are removed.
    """
    found = []
    for path in sorted(runtime_directory().glob("*.sock")):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            try:
                connection.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError as error:
                logger.debug("no process answers at %s: %s", path, error)
            else:
                found.append(path)
    return [path for path in found if path.name.startswith(ANALYSIS_PREFIX) is of_analyses]
