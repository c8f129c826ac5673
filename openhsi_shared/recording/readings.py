"""The newest values of channels, for conditions."""

import time
from collections.abc import Iterable, Mapping

from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.matching.states import State
from openhsi_shared.recording.channel_conditions import values_of

__all__ = ["Readings"]

KNOWN = (State.GOOD, State.UNCHANGED)


class Readings:
    """The newest values, as far as they are known now."""

    def __init__(self, channels: AttachedChannels) -> None:
        self._channels, self._views = channels, channels.memory.views()
        self._values = values_of(channels.properties)

    @property
    def properties(self) -> Mapping[str, ChannelProperties]:
        """Of the channels, by name."""
        return self._channels.properties

    def value(self, name: str) -> float | None:
        """The value of that name (see `values_of`); None if it is not known."""
        channel, which = self._values[name]
        values = self.newest(channel)
        return None if values is None else values[which]

    def newest(self, channel: str, max_age_s: float | None = None) -> tuple[float, ...] | None:
        """The newest values of a channel; None before the first, and if it is lost, stalled or too old."""
        sample, properties = self._views[channel].newest(), self.properties[channel]
        if sample is None or self._views[channel].state() not in KNOWN:
            return None
        age_s = (self._channels.memory.clock.wall_ns(time.monotonic_ns()) - sample.arrival_ns) / 1e9
        limits = [max_age_s, properties.max_age_s, None if properties.speaks_on_change else properties.stall_s]
        return None if any(limit is not None and age_s > limit for limit in limits) else sample.values

    def are_connecting(self, names: Iterable[str]) -> bool:
        """Whether one of these channels, or of the channels of these values, has delivered nothing yet."""
        views = [self._views[self._values.get(name, (name, 0))[0]] for name in names]
        return any(view.state() is State.CONNECTING for view in views)

    def state_of(self, channel: str) -> str:
        """State and age of a channel in words."""
        status = self._channels.statuses()[channel]
        return f"{channel} is {status.state}, its newest value {status.age_s:.1f} s old"

    def why_unknown(self, names: set[str]) -> str:
        """Why not all of these values are known, in words."""
        channels = sorted({self._values[name][0] for name in names if self.value(name) is None})
        return "; ".join(map(self.state_of, channels)) or f"{', '.join(sorted(names))}: no number"
