"""A channel into which the user's program pushes values."""

import os
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.errors import ArgumentError, ClosedError
from openhsi_shared.given_numbers import is_whole

__all__ = ["CallbackChannel", "as_time_ns"]

LEAST_NS = 10**15
"""A smaller whole number is no time in ns, but one in seconds or ms: 10^15 ns are 11 days after 1970."""
MOST_S = 9e9
"""The largest int64 of ns is in the year 2262."""


class CallbackChannel(Channel):
    """Values that the user's program pushes, in its own process, from any thread.

    What is pushed while no camera or recording uses the channel is dropped. It is not required by default: the thread
    that starts a recording cannot push while it waits for the first sample.
    """

    in_own_process: ClassVar[bool] = True

    def __init__(
        self, name: str, unit: str | None = None, shape: Sequence[int] | None = None, **of_a_channel: Any
    ) -> None:
        """`shape` is (rows, columns) of an image. `of_a_channel`: keywords of `Channel`.

        ArgumentError for invalid values.
        """
        own: dict[str, Any] = {"required": False, "speaks_on_change": True, "source": "push", "unit": unit}
        if shape is not None:
            own["kind"] = "image"
        super().__init__(name, **own | of_a_channel)
        self.shape = None if shape is None else (int(shape[0]), int(shape[1]))
        """(rows, columns) of an image; None for a number."""
        self._deliver: Deliver | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def open(self, deliver: Deliver) -> None:
        """See `Channel`. Idempotent."""
        self._owner, self._deliver = os.getpid(), deliver

    def close(self) -> None:
        """See `Channel`."""
        with self._lock:
            self._deliver = None

    def push(self, value: Any, timestamp: float | None = None) -> None:
        """Deliver a number, one for each field, or an image.

        `timestamp` is UTC since 1970: a float in seconds, an int in ns; None: now. ArgumentError for what is no time,
        ClosedError in a forked child. What is no number is refused: counted, and logged.
        """
        time_ns = None if timestamp is None else as_time_ns(timestamp)
        with self._lock:  # nothing is delivered after `close`
            if self._deliver is None:
                return
            if os.getpid() != self._owner:
                raise ClosedError(f"channel {self.name!r} belongs to the process that opened it: push there")
            self._deliver.sample(value, time_ns)

    def on_change(
        self, pvname: str | None = None, value: Any = None, timestamp: float | None = None, **more: Any
    ) -> None:
        """Deliver a value as a callback of pyepics: `PV(name, callback=channel.on_change)`. Never raises.

        `timestamp` is in seconds since 1970 (UTC).
        """
        try:
            if more.get("posixseconds") is not None and more.get("nanoseconds") is not None:  # exact
                timestamp = int(more["posixseconds"]) * 10**9 + int(more["nanoseconds"])
            self.push(value, timestamp)
        except (ArgumentError, ClosedError) as error:
            deliver = self._deliver
            if deliver is not None and os.getpid() == self._owner:
                deliver.refuse(f"{pvname}: {error}")


def as_time_ns(timestamp: Any) -> int:
    """UTC in ns since 1970 of a float in seconds or an int in ns. ArgumentError for anything else.

    >>> as_time_ns(1.7e9), as_time_ns(1700000000000000001)
    (1700000000000000000, 1700000000000000001)
    """
    what = "a time is a float in seconds or an int in ns, UTC since 1970"
    if is_whole(timestamp):
        if timestamp < LEAST_NS:
            raise ArgumentError(f"{what}; got the int {timestamp}, which is too small for ns: float({timestamp})?")
        if timestamp < 2**63:
            return int(timestamp)
    elif isinstance(timestamp, np.float32 | np.float16):
        raise ArgumentError(f"{what}; got {timestamp!r}, whose steps are minutes: use float64")
    elif isinstance(timestamp, float | np.floating) and 0 <= timestamp < MOST_S:
        seconds = int(timestamp)
        return seconds * 10**9 + round((float(timestamp) - seconds) * 1e9)
    raise ArgumentError(f"{what}; got {timestamp!r}")
