"""Values of channels as they are plotted: a number for each field, while its source is well."""

import math
from collections.abc import Mapping

from openhsi_shared.control.status import ChannelStatus

__all__ = ["label_of", "names_of", "values_of"]

PLOTTED_STATES = ("good", "unchanged")
"""The last value of a source in another state is no value of now."""


def names_of(name: str, status: ChannelStatus) -> list[str]:
    """Names of its fields: that of the channel if there is only one."""
    return [name] if len(status.fields) == 1 else [f"{name} {field}" for field in status.fields]


def values_of(channels: Mapping[str, ChannelStatus]) -> dict[str, float]:
    """Values of all fields by their names; NaN where the source is silent, lost, or has no fix."""
    return {
        field: value if status.state in PLOTTED_STATES else math.nan
        for name, status in channels.items()
        for field, value in zip(names_of(name, status), status.values, strict=True)
    }


def label_of(field: str, channels: Mapping[str, ChannelStatus]) -> str:
    """A field with its newest value, its unit if it is known, and the state of its source if that is not good.

    Empty if there is none.
    """
    for name, status in channels.items():
        names = names_of(name, status)
        if field in names:
            index = names.index(field)
            unit = f" {status.unit}" if status.unit and index == 0 else ""  # the status has that of the first field
            state = "" if status.state == "good" else f", {status.state}"
            return f"{field} {status.values[index]:.7g}{unit}{state}"
    return ""
