"""Which lines of a recording are wanted: those of events, and of some seconds before and after them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.errors import ArgumentError
from openhsi_shared.given_numbers import is_finite, is_number
from openhsi_shared.recording.inside import position_channel

if TYPE_CHECKING:
    from openhsi_shared.recording.channel_conditions import ChannelCondition

__all__ = ["EventPlan", "n_slots_for"]

TOLERANCE = 0.02
"""Of a line rate that was measured."""


@dataclass(frozen=True, kw_only=True)
class EventPlan:
    """When lines are wanted: always, without `save_when` and `inside`. See `record`. ArgumentError if invalid."""

    save_when: Callable[[], bool] | str | None = None
    keep_before_s: float = 0.0
    keep_after_s: float = 0.0
    inside: str | Path | None = None
    margin_m: float = 20.0
    at_least_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("keep_before_s", "keep_after_s", "margin_m", "at_least_s"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0:
                raise ArgumentError(f"{name} must be a number >= 0, got {value!r}")
            object.__setattr__(self, name, float(value))
        condition = self.channel_condition()
        if condition is not None and condition.is_mark and self.inside is not None:
            raise ArgumentError("save_when='mark' and inside exclude each other: a mark is wanted wherever it is made")
        if self.inside is None and (self.margin_m, self.at_least_s) != (20.0, 1.0):
            raise ArgumentError("margin_m and at_least_s are for a polygon: give inside=, the file with it")
        if not self.waits and (self.keep_before_s or self.keep_after_s):
            raise ArgumentError(
                "keep_before_s and keep_after_s are for events: give save_when=, a condition, or inside=, a polygon"
            )

    @property
    def waits(self) -> bool:
        """Whether lines are saved only in events."""
        return self.save_when is not None or self.inside is not None

    def channel_condition(self) -> "ChannelCondition | None":
        """The condition that `save_when` is as a text."""
        from openhsi_shared.recording.channel_conditions import ChannelCondition

        if self.save_when is None or callable(self.save_when):
            return None
        return ChannelCondition(self.save_when)

    def check(self, channels: Mapping[str, ChannelProperties], rate: Any, n_lines: int, n_buffers: int) -> None:
        """Raise ArgumentError for channels that there are not, and if a known line rate needs more slots."""
        condition = self.channel_condition()
        if condition is not None:
            condition.check(channels)
        if self.inside is not None and self.save_when is not polled_elsewhere:
            position_channel(channels)
        if is_number(rate) and rate > 0:
            self.check_slots(float(rate), n_lines, n_buffers)

    def check_slots(self, rate: float, n_lines: int, n_buffers: int) -> None:
        """Raise ArgumentError, with the figures, if the slots cannot keep the seconds before at this line rate."""
        needed = n_slots_for(self.seconds_kept, rate, n_lines)
        if n_buffers < needed:
            raise ArgumentError(
                f"keep_before_s={self.keep_before_s:g} needs {needed} slots of {n_lines} lines at {rate:.0f} lines/s, "
                f"there are {n_buffers}, which keep {(n_buffers - 1) * n_lines / rate:.1f} s: use n_buffers={needed} "
                f"or more, more lines in a cube, or fewer seconds"
            )

    @property
    def seconds_kept(self) -> float:
        """How old a line may be when it is decided whether it is wanted."""
        return self.keep_before_s + (0.0 if self.inside is None else self.at_least_s)

    def without_condition(self) -> "EventPlan":
        """For the recording process, to which the answers of the condition are sent."""
        if not self.waits:
            return self
        return replace(self, save_when=polled_elsewhere)


def polled_elsewhere() -> bool:
    """Placeholder of a condition that another process polls. Never called."""
    raise NotImplementedError


def n_slots_for(seconds: float, rate: float, n_lines: int) -> int:
    """Slots that keep the lines of `seconds`, besides the one that is filled."""
    return max(2, 1 + math.ceil(seconds * rate / n_lines - TOLERANCE))
