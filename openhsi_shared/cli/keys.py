"""Keys of a terminal while a recording runs: m and a text make a mark, space pauses and resumes."""

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from openhsi_shared.cli.output import echo
from openhsi_shared.errors import RecordingError
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.standard_streams import is_terminal

if TYPE_CHECKING:
    from openhsi_shared.flight.together.recordings import Recordings
    from openhsi_shared.recording.run import Recording

__all__ = ["keys_of"]

HELP = "keys: m and a text = mark, space = pause or resume, Ctrl-C = stop"


@contextmanager
def keys_of(run: "Recording | Recordings") -> Iterator[None]:
    """Listen to the keys in the block, if standard input is a terminal, which is restored afterwards."""
    try:
        import termios
    except ImportError:  # not on Windows
        yield
        return
    if not is_terminal(sys.stdin) or not _is_in_foreground(sys.stdin.fileno()):
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    wake_up, wake = os.pipe()
    thread = GuardedThread(_Keys(run, terminal, before, wake_up).listen, name="keys", failure="keys have no effect")
    try:
        echo(HELP, err=True)
        thread.start()
        yield
    finally:
        os.close(wake)
        thread.join(1.0)
        os.close(wake_up)
        _set(terminal, before)


class _Keys:
    """Listens until the other end of `wake_up` is closed."""

    def __init__(self, run: "Recording | Recordings", terminal: int, before: list[Any], wake_up: int) -> None:
        self._run, self._terminal, self._before, self._wake_up = run, terminal, before, wake_up

    def listen(self) -> None:
        while self._wait_for_key():
            if not _is_in_foreground(self._terminal):  # else reading would stop this program
                time.sleep(0.5)
                continue
            key = os.read(self._terminal, 1)
            if not key:  # the terminal is gone
                return
            with suppress(RecordingError):  # it has ended
                self._handle(key)

    def _wait_for_key(self) -> bool:
        if _is_in_foreground(self._terminal):  # also after the program was stopped, and continued
            _set(self._terminal, _without_lines(self._before))
        readable, _, _ = select.select([self._terminal, self._wake_up], [], [])
        return self._wake_up not in readable

    def _handle(self, key: bytes) -> None:
        if key == b" ":
            is_paused = not self._run.status().is_paused
            (self._run.pause if is_paused else self._run.resume)()
            click.echo("\npaused: space resumes" if is_paused else "\nresumed", err=True)
        elif key in (b"m", b"M"):
            monotonic_ns = time.monotonic_ns()
            text = self._read_text()
            if text is not None:
                self._run.mark_at(text, monotonic_ns)

    def _read_text(self) -> str | None:
        """A line, edited as usual in a terminal; None after Ctrl-D, or if the recording ends meanwhile."""
        self._run.shows_progress = False
        try:
            click.echo("\nmark: ", nl=False, err=True)
            _set(self._terminal, self._before)
            readable, _, _ = select.select([self._terminal, self._wake_up], [], [])
            if self._wake_up in readable:
                return None
            line = os.read(self._terminal, 65536).decode("utf-8", "replace")
            return line.rstrip("\n") if line else None
        finally:
            self._run.shows_progress = True


def _is_in_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False


def _without_lines(before: list[Any]) -> list[Any]:
    """Each key is read at once, and not shown; Ctrl-C remains what it is."""
    import termios

    after = [*before[:3], before[3] & ~(termios.ICANON | termios.ECHO), *before[4:6], list(before[6])]
    after[6][termios.VMIN], after[6][termios.VTIME] = 1, 0
    return after


def _set(terminal: int, attributes: list[Any]) -> None:
    """Set attributes of a terminal, also as a program in the background, which would be stopped by that."""
    import termios

    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, attributes)
    except (OSError, termios.error):  # it is gone
        return
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
