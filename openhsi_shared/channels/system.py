"""Temperature, load, memory and disk of this computer: one that is throttled shows here."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Self

import psutil

from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.polled import PolledChannel
from openhsi_shared.errors import ArgumentError, ChannelError
from openhsi_shared.near_names import nearest_name

__all__ = ["QUANTITIES", "SystemChannel"]


class _Quantity(NamedTuple):
    unit: str
    read: Callable[[str], float]


def _cpu_temperature(_path: str) -> float:
    """Of the hottest sensor. ChannelError where the system reports none."""
    read = getattr(psutil, "sensors_temperatures", None)
    found = [one.current for sensors in (read() if read else {}).values() for one in sensors if one.current]
    if not found:
        raise ChannelError("this computer reports no temperatures (psutil.sensors_temperatures is empty)")
    return float(max(found))


QUANTITIES: Mapping[str, _Quantity] = {
    "cpu_temperature": _Quantity("degC", _cpu_temperature),
    "load": _Quantity("percent", lambda _path: float(psutil.cpu_percent())),
    "memory": _Quantity("percent", lambda _path: float(psutil.virtual_memory().percent)),
    "disk_free": _Quantity("Gbyte", lambda path: psutil.disk_usage(path).free / 1e9),
}
"""With units: load of all processors together, memory in use, free space of the disk of `path`."""


def _read(quantity: str, path: str) -> float:
    return QUANTITIES[quantity].read(path)


class SystemChannel(PolledChannel):
    """`quantity` is cpu_temperature, load, memory, or disk_free of the disk of `path`."""

    def __init__(self, name: str, quantity: str, period_s: float = 1.0, path: str = "/", **of_a_channel: Any) -> None:
        """`of_a_channel`: keywords of `Channel`. ArgumentError for an unknown quantity."""
        if quantity not in QUANTITIES:
            near = nearest_name(str(quantity), QUANTITIES)
            raise ArgumentError(
                f"channel {name!r}: this computer has no {quantity!r}{near}; there are {', '.join(QUANTITIES)}"
            )
        own = {"source": f"sys:{quantity}", "unit": QUANTITIES[quantity].unit, "stamp": "arrival"}
        super().__init__(name, partial(_read, quantity, path), period_s, **own | of_a_channel)

    @classmethod
    def from_address(cls, rest: str, name: str, **keywords: Any) -> Self:
        """Of the text `sys:QUANTITY`."""
        return cls(name, rest, **keywords)

    def open(self, deliver: Deliver) -> None:
        """See `Channel`. ChannelError if this computer does not report the quantity."""
        self._function()
        super().open(deliver)
