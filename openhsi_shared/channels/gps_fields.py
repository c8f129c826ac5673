"""The values of a fix, as `GpsChannel`, `GpsdChannel` and NMEA logs deliver them.

Altitudes are above the ellipsoid (WGS 84) where the receiver gives the height of the geoid, else above the geoid, which
is up to 100 m away: never both in one series. `altitude_above` in what the source says of itself tells which.
"""

import math
from collections.abc import Mapping

from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.properties import Field

__all__ = ["FIELDS", "describe_altitude", "in_order"]

FIXES = ("none", "gps", "dgps", "pps", "rtk_fixed", "rtk_float", "estimated", "manual", "simulator")
"""Quality of GGA."""
MODES = ("unknown", "none", "2d", "3d")

FIELDS = (
    Field("latitude", "degree_north", how="linear", standard_name="latitude"),
    Field("longitude", "degree_east", kind="angle", standard_name="longitude"),
    Field("altitude", "m", how="linear", standard_name="height_above_reference_ellipsoid"),
    Field("speed", "m s-1", how="linear", standard_name="platform_speed_wrt_ground"),
    Field("course", "degree", kind="angle", standard_name="platform_course"),
    Field("heading", "degree", kind="angle", standard_name="platform_orientation"),
    Field("roll", "degree", kind="angle", standard_name="platform_roll_starboard_down"),
    Field("pitch", "degree", kind="angle", standard_name="platform_pitch_fore_up"),
    Field("fix", kind="flags", flags=FIXES),
    Field("satellites", "1"),
    Field("hdop", "1"),
    Field("mode", kind="flags", flags=MODES),
)
STANDARD_NAMES = {"ellipsoid": "height_above_reference_ellipsoid", "geoid": "altitude"}


def in_order(values: Mapping[str, float]) -> tuple[float, ...]:
    """Return the values of all fields; NaN for what is missing."""
    return tuple(values.get(field.name, math.nan) for field in FIELDS)


def describe_altitude(deliver: Deliver, above: str) -> None:
    """Describe what the altitudes are above: "ellipsoid" or "geoid"."""
    deliver.describe(altitude_above=above, standard_names={"altitude": STANDARD_NAMES[above]})
