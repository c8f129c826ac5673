"""Whether a flight is over the polygons where lines are wanted, by the position of a GPS channel."""

import math
from collections.abc import Mapping
from pathlib import Path

from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.channels.quantities import has_position, quantities
from openhsi_shared.errors import ArgumentError
from openhsi_shared.files.polygons import read_polygons
from openhsi_shared.recording.readings import Readings

__all__ = ["Inside", "position_channel"]

MAX_AGE_S = 5.0
"""An older position is not known."""


def position_channel(channels: Mapping[str, ChannelProperties]) -> tuple[str, int, int]:
    """The first channel with a position, and which of its values are latitude and longitude.

    ArgumentError if there is none.
    """
    for name, properties in channels.items():
        if has_position(properties):
            found = quantities(properties)
            return name, found["latitude"], found["longitude"]
    there_are = ", ".join(channels) or "none"
    raise ArgumentError(f"inside needs a channel with a position, such as gps='gpsd:'; there are {there_are}")


class Inside:
    """Follows the position, and compares it with the polygons."""

    def __init__(self, path: str | Path, margin_m: float, readings: Readings) -> None:
        """FileError for a file without polygons, ArgumentError without a channel that has a position."""
        self._readings = readings
        self.channel, *self._which = position_channel(readings.properties)
        self.name = Path(path).name
        self._polygons, self._margin_m = read_polygons(path), margin_m
        self._nearest_m, self._has_met = math.inf, False

    def holds(self) -> tuple[bool | None, str]:
        """Whether the position is inside, or near enough; None and the reason if there is none."""
        values = self._readings.newest(self.channel, MAX_AGE_S)
        latitude, longitude = (math.nan if values is None else values[which] for which in self._which)
        if not (abs(latitude) <= 90 and abs(longitude) <= 360):
            return None, f"no position: {self._readings.state_of(self.channel)}"
        distance_m = self._polygons.distance_m(latitude, longitude)
        self._nearest_m = min(self._nearest_m, distance_m)
        self._has_met |= distance_m <= self._margin_m
        return distance_m <= self._margin_m, ""

    def why_not_met(self) -> str:
        """At the end: that the polygons were not met, or that it is not known, in words; empty if they were."""
        if self._has_met:
            return ""
        if self._nearest_m == math.inf:
            return f"whether the flight has met {self.name} is not known: there was no position, all lines are saved"
        return f"the flight has never met {self.name}: the nearest distance was {self._nearest_m:,.0f} m"
