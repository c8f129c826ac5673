"""A channel without hardware: functions of time, whose samples can be checked by arithmetic, and faults by script."""

import bisect
import math
import multiprocessing
import os
import signal as signals
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.errors import ArgumentError, ChannelError
from openhsi_shared.matching.states import State
from openhsi_shared.near_names import nearest_name
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["SIGNALS", "SimulatedChannel", "spot"]

DAY_S = 86400
PERIOD_S = 10.0
JUMP_NS = 3600 * 10**9
MIN_WAIT_S = 0.001
"""Samples that are due within this time are delivered together."""

Fault = Literal["good", "silence", "nan", "text", "jump", "back", "lost", "end", "death"]


def _walk(t: float) -> float:
    """A smooth walk without memory: a sum of waves whose periods have no common multiple."""
    return sum(math.sin(t / (0.7 * root) + root) * root for root in (1.0, math.sqrt(3), math.sqrt(11), math.sqrt(29)))


SIGNALS: Mapping[str, Callable[[float], float]] = {
    "clock": lambda t: t % DAY_S,
    "sine": lambda t: math.sin(2 * math.pi * t / PERIOD_S),
    "ramp": lambda t: t % (6 * PERIOD_S) / (6 * PERIOD_S),
    "walk": _walk,
    "steps": lambda t: float(t // PERIOD_S % 10),
}
"""Values by the time of the stamp, in s since 1970: seconds of the UTC day; a sine of 10 s; from 0 to 1 in 60 s, again
and again; a walk; 0 to 9, one more every 10 s. There is "spot" besides, an image."""


class SimulatedChannel(Channel):
    """Samples of `signal` at `rate`, each stamped with the time of which its value is the function.

    `script` maps seconds since opening to what happens then, until the next entry: "good", "silence", "nan", "text",
    "jump" (stamps 1 h later), "back" (1 h earlier), "lost", "end", or "death" (the process of the channels is killed;
    the one that replaces it begins the script again).
    """

    def __init__(
        self,
        name: str,
        signal: str = "sine",
        rate: float = 100.0,
        script: Mapping[float, Fault] | None = None,
        shape: Sequence[int] = (64, 48),
        **of_a_channel: Any,
    ) -> None:
        """`shape` is (rows, columns) of a spot. `of_a_channel`: keywords of `Channel`. ArgumentError if invalid."""
        if signal != "spot" and signal not in SIGNALS:
            raise _unknown(name, "signal", signal, [*SIGNALS, "spot"])
        own: dict[str, Any] = {"source": f"sim:{signal}", "rate": rate}
        own |= {"unit": "s"} if signal == "clock" else {"kind": "image"} if signal == "spot" else {}
        super().__init__(name, **own | of_a_channel)
        self.signal, self.rate, self.shape = signal, float(rate), (int(shape[0]), int(shape[1]))
        self.script = _checked_script(name, script or {})
        """Faults, by the time in s after `open`."""
        self._thread: _Playing | None = None

    @classmethod
    def from_address(cls, rest: str, name: str, **keywords: Any) -> Self:
        """Of the text `sim:SIGNAL`."""
        return cls(name, rest or "sine", **keywords)

    def open(self, deliver: Deliver) -> None:
        """See `Channel`. Idempotent."""
        if self._thread is None:
            self._thread = _Playing(self, deliver)
            self._thread.start()

    def close(self) -> None:
        """See `Channel`."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def value(self, t: float) -> Any:
        """The value at `t` s since 1970."""
        return spot(t, self.shape) if self.signal == "spot" else SIGNALS[self.signal](t)


def spot(t: float, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """A Gaussian spot that moves along a circle once in 10 s; uint16 (rows, columns)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    angle, radius = 2 * math.pi * t / PERIOD_S, min(shape) / 4
    row, column = shape[0] / 2 + radius * math.sin(angle), shape[1] / 2 + radius * math.cos(angle)
    squares = (rows - row) ** 2 + (columns - column) ** 2
    image: NDArray[np.uint16] = (100 + 4000 * np.exp(-squares / (2 * (min(shape) / 16) ** 2))).astype(np.uint16)
    return image


def _checked_script(name: str, script: Mapping[Any, Fault]) -> tuple[tuple[float, Fault], ...]:
    """Sorted; keys of JSON and TOML are texts."""
    found: list[tuple[float, Fault]] = []
    if not isinstance(script, Mapping):
        raise ArgumentError(
            f"channel {name!r}: script must map seconds to faults, such as {{5: 'lost'}}; got {script!r}"
        )
    for when, fault in script.items():
        try:
            seconds = float(when)
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise ArgumentError(f"channel {name!r}: script: {when!r} is no number of seconds >= 0")
        if fault not in get_args(Fault):
            raise _unknown(name, "fault", fault, get_args(Fault))
        found.append((seconds, fault))
    return tuple(sorted(found))


def _unknown(name: str, what: str, given: object, known: Sequence[str]) -> ArgumentError:
    return ArgumentError(f"channel {name!r}: no {what} {given!r}{nearest_name(str(given), known)}; there are {known}")


class _Playing:
    """The thread that delivers."""

    def __init__(self, channel: SimulatedChannel, deliver: Deliver) -> None:
        self._channel, self._deliver = channel, deliver
        self._stopping = threading.Event()
        self._times = [when for when, _ in channel.script]
        self._fault: Fault = "good"
        self._thread = GuardedThread(
            self._play,
            name=f"channel {channel.name}",
            failure=f"the simulated channel {channel.name!r} has ended",
            on_failure=lambda error: deliver.state(State.LOST, str(error)),
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _play(self) -> None:
        rate, began, start_ns = self._channel.rate, time.monotonic(), time.time_ns()
        k = 0
        while not self._stopping.wait(max(0.0 if k == 0 else MIN_WAIT_S, began + k / rate - time.monotonic())):
            while not self._stopping.is_set() and k / rate <= time.monotonic() - began:
                if not self._deliver_one(k / rate, start_ns + round(k * 1e9 / rate)):
                    return
                k += 1

    def _deliver_one(self, seconds: float, time_ns: int) -> bool:
        """Deliver what is due; False at the end."""
        fault, before = self._fault_at(seconds), self._fault
        self._fault = fault
        value = self._channel.value(time_ns / 1e9)
        if fault in ("good", "nan", "text", "jump", "back"):
            value = {"nan": math.nan, "text": "text"}.get(fault, value)
            self._deliver.sample(value, time_ns + {"jump": JUMP_NS, "back": -JUMP_NS}.get(fault, 0))
        elif fault == "lost" != before:
            self._deliver.state(State.LOST, "by its script")
        elif fault == "end":
            self._deliver.state(State.ENDED, "by its script")
            return False
        elif fault == "death":
            if multiprocessing.parent_process() is None:
                raise ChannelError("death by script, which would end the user's own program")
            os.kill(os.getpid(), signals.SIGKILL)
        return True

    def _fault_at(self, seconds: float) -> Fault:
        which = bisect.bisect_right(self._times, seconds)
        return self._channel.script[which - 1][1] if which else "good"
