"""Descriptors of this process: whether they are still its own, and some in reserve for starting a child.

Other code of the program, such as a vendor's package that closes a descriptor twice, can close any descriptor. Its
number is then reused by the next file that is opened: reading, writing or closing it would affect a file of others.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

if sys.platform != "win32":
    import resource  # here: where no more files can be opened, it cannot be imported either

__all__ = ["Owned", "Reserve", "explained"]

N_FOR_A_CAMERA = 30
"""Open files of a camera beside those of the program, about: its memory, its writer, and what replaces a writer."""


def explained(error: BaseException) -> str:
    """The text of an error; if no more files can be opened, also the limit, what is needed and how to raise it."""
    if not isinstance(error, OSError) or error.errno != errno.EMFILE:
        return str(error)
    return (
        f"{error}: this process may have {_limit()} open files (ulimit -n), and a camera needs about {N_FOR_A_CAMERA} "
        "beside those of the program: raise the limit, by `ulimit -n 1024` or LimitNOFILE= of a service, or close files"
    )


class Owned:
    """A connection, or the number of a descriptor, and whether it is still open."""

    def __init__(self, item: "Connection | int") -> None:
        self._item = item
        self._identity = self._identify()

    def _identify(self) -> Any:
        """Device and inode, which are unique for each pipe and socket; None if it is closed."""
        if os.name != "posix":
            return self._item
        try:
            stat = os.fstat(self._item if isinstance(self._item, int) else self._item.fileno())
        except (OSError, ValueError):
            return None
        return stat.st_dev, stat.st_ino

    def is_open(self) -> bool:
        """Whether neither `close` nor other code has closed it."""
        return self._identity is not None and self._identify() == self._identity

    def if_open(self) -> list[Any]:
        """Return the item, or nothing."""
        return [self._item] if self.is_open() else []

    def close(self) -> None:
        """Close a connection, unless other code has closed it: its number may be in use again. Idempotent."""
        is_open, self._identity = self.is_open(), None
        if isinstance(self._item, int):
            return
        if not is_open:
            self._item._handle = None  # type: ignore[attr-defined] # noqa: SLF001 - else it closes a file of other code
        self._item.close()


class Reserve:
    """Descriptors held open, so that a child can be started although the program has none left."""

    N_FOR_A_CHILD = 12
    """Two pipes to it, those with which it is started, and its end of each."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def fill(self) -> None:
        """Open those that are missing, as far as possible: at most a quarter of those that the program may have."""
        while len(self._held) < min(self.N_FOR_A_CHILD, _limit() // 4):
            try:
                self._held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Close them for the length of the block, which starts a child."""
        self.close()
        try:
            yield
        finally:
            self.fill()

    def close(self) -> None:
        """Close them. Idempotent."""
        while self._held:
            with suppress(OSError):  # closed by other code
                os.close(self._held.pop())


def _limit() -> int:
    if sys.platform == "win32":
        return 1 << 10
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
