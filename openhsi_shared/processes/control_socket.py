"""The one door of a recording: a Unix socket where others of the same user ask for its status, or look at its slots.

Shared memory without a name can be handed to a stranger by its descriptor, opened read-only: the kernel then refuses a
writeable map. The socket lies in the user's runtime directory, mode 0600, and is swept away when its owner is dead.
Each visitor sends one JSON line, such as `{"ask": "status"}` or `{"ask": "slots"}`, and gets one JSON line back, with
"slots" the descriptors beside it.
"""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from openhsi_shared.errors import RecordingError
from openhsi_shared.processes.logs import safe_logger
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["Answer", "ControlSocket", "find_sockets", "request", "runtime_directory"]

logger = safe_logger(__name__)

PATIENCE_S = 2.0
MOST_BYTES = 1 << 20


class Answer(NamedTuple):
    """What a visitor gets: words, and perhaps descriptors."""

    words: Mapping[str, Any]
    descriptors: Sequence[int] = ()
    """The door closes them, sent or not."""


def runtime_directory() -> Path:
    """Return the folder of this user's doors, made if need be, readable by nobody else."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = (
        Path(base) / "openhsi_shared"
        if base and Path(base).is_dir()
        else Path(tempfile.gettempdir()) / f"openhsi_shared-{os.getuid()}"
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RecordingError(f"{folder} belongs to somebody else: set XDG_RUNTIME_DIR to a directory of your own")
    return folder


class ControlSocket:
    """Answers visitors, each in a thread of its own, until it is closed."""

    def __init__(self, name: str, answer: Callable[[str], Answer]) -> None:
        """Open `name`.sock in the runtime directory; `answer(ask)` is called for one visitor at a time.

        OSError if the socket cannot be made: its path may be too long, for instance.
        """
        self.path = runtime_directory() / f"{name}.sock"
        self._answer = answer
        self._answering = threading.Lock()
        self._is_closed = False
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listen()
        except OSError:
            self._listener.close()
            raise
        self._thread = GuardedThread(
            self._serve,
            name="control socket",
            failure="nobody can look from outside any more",
            on_failure=lambda _: self._shut(),
        )
        self._thread.start()

    def close(self) -> None:
        """Shut it; twice is once."""
        self._is_closed = True
        self._shut()
        self._thread.join()

    def _shut(self) -> None:
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread up
        self._listener.close()

    def _listen(self) -> None:
        """Get the name last: one that nobody listens behind is swept away by `find_sockets` as that of a dead owner."""
        nameless = self.path.with_suffix(".new")
        nameless.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(nameless))
        finally:
            os.umask(before)
        self._listener.listen()
        nameless.replace(self.path)

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                if self._is_closed:
                    return
                raise
            # a visitor that says nothing must not keep out the others, nor the recording from ending
            GuardedThread(self._receive, visitor, name="visitor", failure="a visitor got no answer").start()

    def _receive(self, visitor: socket.socket) -> None:
        with visitor:
            visitor.settimeout(PATIENCE_S)
            try:
                self._talk(visitor)
            except Exception as error:  # noqa: BLE001 - a visitor's trouble is not the recording's
                logger.debug("a visitor at the door got no answer: %s", error)

    def _talk(self, visitor: socket.socket) -> None:
        ask = json.loads(_read_line(visitor)).get("ask")
        with self._answering:
            answer = self._answer(str(ask))
        try:
            text = json.dumps(answer.words, default=str).encode() + b"\n"
            if answer.descriptors:
                socket.send_fds(visitor, [text[:1]], list(answer.descriptors))
                visitor.sendall(text[1:])
            else:
                visitor.sendall(text)
        finally:
            for descriptor in answer.descriptors:
                os.close(descriptor)


def _read_line(connection: socket.socket) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        piece = connection.recv(65536)
        if not piece or len(text) > MOST_BYTES:
            raise ConnectionError("the other side hung up, or talks too much")
        text += piece
    return text


def request(door: Path, ask: str) -> tuple[dict[str, Any], list[int]]:
    """Ask at a door. Returns the words and the descriptors (yours to close). OSError if nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(door))
        connection.sendall(json.dumps({"ask": ask}).encode() + b"\n")
        first, descriptors, _, _ = socket.recv_fds(connection, 1, 8)
        try:
            words = json.loads(first + _read_line(connection))
        except (OSError, ValueError):
            for descriptor in descriptors:
                os.close(descriptor)
            raise
    return words, list(descriptors)


def find_sockets() -> list[Path]:
    """Doors of this user's recordings that run now; those of dead ones are swept away."""
    found = []
    for path in sorted(runtime_directory().glob("*.sock")):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            try:
                connection.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError as error:
                logger.debug("nobody answers at %s: %s", path, error)
            else:
                found.append(path)
    return found
