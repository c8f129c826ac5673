"""Pulses per second of a GPS receiver: with its messages, UTC is known to microseconds.

A sample is a pulse; its time is that of its edge on this computer's monotonic clock, and its value the time since the
one before. The messages of a GPS channel name the second of each pulse: see `named_pulses`.
"""

import threading
from contextlib import AbstractContextManager, closing
from typing import Any

from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.named_pulses import PULSES
from openhsi_shared.channels.pulse_sources import KernelPulses, PinPulses, Refused
from openhsi_shared.channels.reconnecting import ReconnectingChannel
from openhsi_shared.errors import ArgumentError, ChannelError
from openhsi_shared.matching.states import State

__all__ = ["PulseChannel"]


class PulseChannel(ReconnectingChannel):
    """Pulses of "/dev/pps0", or of a pin such as 17 (extra `gpio`): the rising edge is the second.

    `clock` is the name of the GPS channel whose receiver sends them; "given": of the only one.
    """

    _broken = (OSError, ChannelError)

    def __init__(self, name: str, source: str | int, **of_a_channel: Any) -> None:
        """`of_a_channel`: see `Channel`. ArgumentError for invalid values."""
        if isinstance(source, bool) or not isinstance(source, str | int) or source == "":
            raise ArgumentError(f"channel {name!r}: expected a device such as '/dev/pps0', or a pin, got {source!r}")
        if of_a_channel.get("clock") == "fit" or "stamp" in of_a_channel:
            raise ArgumentError(
                f"channel {name!r}: pulses have no stamps: their clock is the name of a GPS channel, and stamp= has no "
                "meaning"
            )
        own: dict[str, Any] = {"source": f"{PULSES}{source}", "unit": "s", "rate": 1.0, "stamp": "arrival"}
        super().__init__(name, **own | of_a_channel)
        self.device = source
        """The device, or the pin, of the pulses."""
        self._opened: KernelPulses | PinPulses | None = None

    @classmethod
    def from_address(cls, rest: str, name: str, **keywords: Any) -> "PulseChannel":
        """Return the channel of "pps:/dev/pps0" or "pps:17"."""
        return cls(name, int(rest) if rest.isdigit() else rest, **keywords)

    def open(self, deliver: Deliver) -> None:
        """See `Channel.open`. ChannelError for a device or pin that cannot be used now, PackageMissing."""
        if self._thread is None:
            try:
                self._opened = self._source()
            except OSError as error:
                raise ChannelError(error.strerror or str(error)) from error
        super().open(deliver)

    def close(self) -> None:
        """See `Channel.close`."""
        super().close()
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _source(self) -> KernelPulses | PinPulses:
        is_path = isinstance(self.device, str) and "/" in self.device
        return KernelPulses(str(self.device)) if is_path else PinPulses(self.device)

    def _connect(self) -> AbstractContextManager[Any]:
        opened, self._opened = self._opened, None
        return closing(opened or self._source())

    def _listen(self, connection: KernelPulses | PinPulses, deliver: Deliver, stopping: threading.Event) -> None:
        deliver.describe(uncertainty_s=connection.least_uncertainty_s)
        before = None
        while not stopping.is_set():
            pulse = connection.next()
            if isinstance(pulse, Refused):
                deliver.refuse(pulse.why)
            elif pulse is not None:
                since_s = float("nan") if before is None else (pulse.monotonic_ns - before.monotonic_ns) * 1e-9
                deliver.state(State.GOOD)
                deliver.sample(since_s, id=pulse.number, arrival_ns=pulse.monotonic_ns)
                if before is not None and pulse.number > before.number + 1:
                    deliver.squash(pulse.number - before.number - 1)
                before = pulse
