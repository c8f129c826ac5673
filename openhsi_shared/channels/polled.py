"""A channel whose values are read by a function, again and again."""

import threading
import time
from collections.abc import Callable
from typing import Any

from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_finite
from openhsi_shared.matching.states import State
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["PolledChannel"]

CLOSE_TIMEOUT_S = 1.0
"""How long closing waits for a function that has not returned."""


class PolledChannel(Channel):
    """Calls `function()` every `period_s`, in the process of the channels; it returns a number, or one for each field.

    It is sent there by cloudpickle, also if it was defined in a notebook. The time of a sample is that of its arrival.
    While the function raises, the state is `lost`, with the error; if it does not return, `stalled`. What is no number
    is refused.
    """

    def __init__(self, name: str, function: Callable[[], Any], period_s: float = 1.0, **of_a_channel: Any) -> None:
        """`of_a_channel`: keywords of `Channel`. ArgumentError for invalid values."""
        if not callable(function):
            raise ArgumentError(f"channel {name!r}: function must be a callable without arguments, got {function!r}")
        if not is_finite(period_s) or period_s <= 0:
            raise ArgumentError(f"channel {name!r}: period_s must be a number of seconds > 0, got {period_s!r}")
        source = f"function:{getattr(function, '__name__', type(function).__name__)}"
        own: dict[str, Any] = {"rate": 1 / float(period_s), "source": source}
        super().__init__(name, **own | of_a_channel)
        self.period_s = float(period_s)
        """From call to call."""
        self._function = function
        self._thread: _Polling | None = None

    def open(self, deliver: Deliver) -> None:
        """See `Channel`. Idempotent."""
        if self._thread is None:
            self._thread = _Polling(self._function, self.period_s, deliver, self.name)
            self._thread.start()

    def close(self) -> None:
        """See `Channel`. Waits at most a second for a function that does not return."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None


class _Polling:
    """The thread that calls the function."""

    def __init__(self, function: Callable[[], Any], period_s: float, deliver: Deliver, name: str) -> None:
        self._function, self._period_s, self._deliver = function, period_s, deliver
        self._stopping, self._delivering = threading.Event(), threading.Lock()
        self._thread = GuardedThread(
            self._poll,
            name=f"channel {name}",
            failure=f"channel {name!r} is not read any more",
            on_failure=lambda error: deliver.state(State.LOST, str(error)),
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._delivering:  # nothing is delivered afterwards
            self._stopping.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _poll(self) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period_s, time.monotonic())
            try:
                value = self._function()
            except BaseException as error:  # noqa: BLE001 - whatever a user's function raises: stands in the state
                self._answer(self._deliver.state, State.LOST, f"{type(error).__name__}: {error}")
            else:
                self._answer(self._deliver.sample, value)

    def _answer(self, method: Callable[..., None], *arguments: Any) -> None:
        with self._delivering:
            if not self._stopping.is_set():
                method(*arguments)
