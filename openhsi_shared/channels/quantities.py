"""Which fields of a channel are a position, a height or an attitude: by standard names, else by their own names."""

from openhsi_shared.channels.properties import ChannelProperties

__all__ = ["ALTITUDES", "ANGLES", "POSITION", "has_position", "quantities"]

ANGLES = {
    "roll": "platform_roll_starboard_down",
    "pitch": "platform_pitch_fore_up",
    "heading": "platform_orientation",
    "course": "platform_course",
}
"""Names of an attitude and a course, with their CF standard names."""
POSITION = {"latitude": "latitude", "longitude": "longitude"}
ALTITUDES = ("height_above_reference_ellipsoid", "altitude")
"""CF standard names of a height: above the ellipsoid, above the geoid."""


def quantities(properties: ChannelProperties) -> dict[str, int]:
    """Index of each known quantity among the fields of a channel: by standard name, else by its own name."""
    known = {standard: own for own, standard in (*ANGLES.items(), *POSITION.items())}
    known |= dict.fromkeys(ALTITUDES, "altitude")
    found: dict[str, int] = {}
    for index, field in enumerate(properties.fields):
        own = known.get(field.standard_name or "", field.name)
        if own in (*ANGLES, *POSITION, "altitude", "fix"):
            found.setdefault(own, index)
    return found


def has_position(properties: ChannelProperties) -> bool:
    """Whether a channel has a latitude and a longitude."""
    return quantities(properties).keys() >= POSITION.keys()
