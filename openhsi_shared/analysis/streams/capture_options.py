"""Options of a capture, checked before it begins; imported by every recording, and therefore light."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from openhsi_shared.durable import save_error
from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_whole

__all__ = ["LinesToCapture", "check_new_capture"]


@dataclass(frozen=True, kw_only=True)
class LinesToCapture:
    """Which lines of a stream are captured, counted from its first one; ArgumentError for none."""

    first: int = 0
    stop: int | None = None
    """Excluded; None: until the end."""
    every: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (("first", self.first, 0), ("every", self.every, 1)):
            if not is_whole(value) or value < least:
                raise ArgumentError(f"{name} of the lines to capture must be a whole number >= {least}, got {value!r}")
            object.__setattr__(self, name, int(value))
        if self.stop is not None and self.stop <= self.first:
            raise ArgumentError(f"lines {self.first}:{self.stop} to capture are none")

    def has(self, line: int) -> bool:
        """Whether a line is captured."""
        return self.first <= line and not self.is_over(line) and (line - self.first) % self.every == 0

    def is_over(self, line: int) -> bool:
        """Whether neither this line nor a later one is captured."""
        return self.stop is not None and line >= self.stop


def check_new_capture(path: Path) -> Path:
    """Return `path`. ArgumentError unless it is named .cbors or .cbors.gz, SaveError if there is such a file."""
    if not path.name.endswith((".cbors", ".cbors.gz")):
        raise ArgumentError(f"a capture must be named .cbors or .cbors.gz, got {str(path)!r}")
    if os.path.lexists(path):
        raise save_error(FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)), path)
    return path
