"""The log of a flight: `flight_log.jsonl` in the directory of its cubes, one JSON object a line.

Each object has `time` (UTC) and `kind`. A line is appended by a single write, so that several programs can use one log.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openhsi_shared.attributes import finite_json
from openhsi_shared.file_calls import read_at
from openhsi_shared.line_times import iso_time
from openhsi_shared.loggers import safe_logger

__all__ = ["FLIGHT_LOG", "FlightLog", "entry_of"]

logger = safe_logger(__name__)

FLIGHT_LOG = "flight_log.jsonl"


class FlightLog:
    """The log in one directory, which must exist when something is noted."""

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / FLIGHT_LOG
        self._has_failed = False

    def note(self, kind: str, **fields: Any) -> None:
        """Append an entry, with the current time. Blocks for as long as the disk takes to make it durable.

        Never raises: if it cannot be written, as on a full disk, the first such entry is a warning.
        """
        self.append([entry_of(kind, fields, time.time_ns())])

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append entries of `entry_of` together; see `note`."""
        text = "".join(json.dumps(finite_json(entry), allow_nan=False) + "\n" for entry in entries)
        try:
            self._write(text.encode())
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                logger.warning("%s is not complete, the cubes are not affected: %s", self.path, error.strerror)

    def _write(self, text: bytes) -> None:
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            size = os.fstat(file).st_size
            if size and read_at(file, 1, size - 1) != b"\n":  # a line that a power cut, or a full disk, has cut
                text = b"\n" + text
            if (n := os.write(file, text)) < len(text):
                os.write(file, text[n:])  # raises the cause
            getattr(os, "fdatasync", os.fsync)(file)
        finally:
            os.close(file)

    def entries(self) -> tuple[list[dict[str, Any]], list[int]]:
        """The entries, in the order of the file, and the numbers of damaged lines, from 1 on.

        No entries if there is no log. OSError if it cannot be read.
        """
        found, damaged = [], []
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line) if line else None
            except ValueError:
                entry = ()
            if isinstance(entry, dict) and {"time", "kind"} <= entry.keys():
                found.append(entry)
            elif entry is not None:
                damaged.append(number)
        return found, damaged


def entry_of(kind: str, fields: Mapping[str, Any], time_ns: int) -> dict[str, Any]:
    """An entry at a time in UTC."""
    return {"time": iso_time(time_ns), "kind": kind, **fields}
