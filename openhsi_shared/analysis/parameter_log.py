"""Versions of parameters: which change took effect from which event on. It can be saved, and repeated."""

import base64
import json
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from openhsi_shared.analysis.parameters import Parameter, Parameters
from openhsi_shared.errors import ParameterError

__all__ = ["ParameterChange", "ParameterLog"]

MAX_TEXT_BYTES = 1 << 16


@dataclass(frozen=True)
class ParameterChange:
    """A value that holds from an event on."""

    event_number: int
    """The first event that it holds for."""
    time: np.datetime64
    """UTC, in ns, when it was set."""
    name: str
    data: bytes


class ParameterLog:
    """All versions of the parameters of a run: version k is that after k changes. Owned by who makes batches."""

    def __init__(self, described: Mapping[str, Parameter], parameters: Parameters) -> None:
        self.changes: list[ParameterChange] = []
        self._described = described
        self._versions = [parameters]

    @property
    def newest(self) -> Parameters:
        """The values after all changes."""
        return self._versions[-1]

    def at(self, version: int) -> Parameters:
        """Return the values of a version."""
        return self._versions[version]

    def change(self, name: str, value: Any, event_number: int, at: np.datetime64 | None = None) -> Parameters:
        """Let a value, or its text, hold from an event on, which no worker has been given yet.

        Returns the new version. ParameterError if it does not fit.
        """
        if self.changes and event_number < self.changes[-1].event_number:
            raise ParameterError(
                f"parameter {name!r}: a change from event {event_number} on comes after one from event "
                f"{self.changes[-1].event_number} on: expected them in the order of events"
            )
        following = self.newest.changed(self._described, name, value)
        when = np.datetime64(time.time_ns(), "ns") if at is None else at
        self.changes.append(ParameterChange(event_number, when, name, following[name].data))
        self._versions.append(following)
        return following

    def version_for(self, event_number: int) -> int:
        """Return the version that holds for an event."""
        return bisect_right(self.changes, event_number, key=lambda change: change.event_number)

    def next_change(self, event_number: int) -> int | None:
        """Return the first event after this one for which another version holds; None if there is none."""
        following = self.version_for(event_number)
        return self.changes[following].event_number if following < len(self.changes) else None

    def to_json(self) -> str:
        """Return the values at the start, and all changes."""
        changes = [
            {"event_number": one.event_number, "time": f"{one.time}Z", "name": one.name, "data": _as_json(one.data)}
            for one in self.changes
        ]
        start = {name: _as_json(one.data) for name, one in self._versions[0].items()}
        return json.dumps({"parameters": start, "changes": changes}, indent=1)

    @classmethod
    def from_json(cls, described: Mapping[str, Parameter], text: str) -> "ParameterLog":
        """Return what `to_json` wrote. ParameterError if it is something else, or does not fit what is described."""
        try:
            content = json.loads(text)
            start = {name: _from_json(data) for name, data in content["parameters"].items()}
            changes = [
                (
                    one["name"],
                    _from_json(one["data"]),
                    int(one["event_number"]),
                    np.datetime64(one["time"].rstrip("Z"), "ns"),
                )
                for one in content["changes"]
            ]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ParameterError(f"this is no list of changes of parameters: {error!r}") from error
        log = cls(described, Parameters(described, start))
        for change in changes:
            log.change(*change)
        return log


def _as_json(data: bytes) -> str | dict[str, str]:
    try:
        if len(data) <= MAX_TEXT_BYTES:  # of larger ones, escapes could make six times as much
            return data.decode()
    except UnicodeDecodeError:
        pass
    return {"base64": base64.b64encode(data).decode()}


def _from_json(data: str | dict[str, str]) -> bytes:
    return data.encode() if isinstance(data, str) else base64.b64decode(data["base64"])
