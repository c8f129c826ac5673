"""What channels of EPICS have in common, by Channel Access or PVAccess: the name of a PV, and its stamps."""

from typing import Any, ClassVar, Protocol, Self

from openhsi_shared.channels.channel import Channel
from openhsi_shared.errors import ArgumentError

__all__ = ["PvChannel", "stamp_ns"]

NO_STAMP_BEFORE_S = 631_152_000 + 366 * 86_400
"""EPICS' time begins in 1990; an IOC without a clock counts from there."""


class Closable(Protocol):
    """A PV that is followed."""

    def close(self) -> None:
        """Nothing is delivered afterwards."""


class PvChannel(Channel):
    """A PV by its name."""

    KIND: ClassVar[str]
    """The kind of its sources."""

    def __init__(self, name: str, address: str | None = None, **of_a_channel: Any) -> None:
        """`of_a_channel`: see `Channel`. ArgumentError for an address that is no name of a PV."""
        self.address = name if address is None else address
        """Name of the PV."""
        if not isinstance(self.address, str) or not self.address.strip() or " " in self.address:
            raise ArgumentError(f"channel {name!r}: address must be the name of a PV, got {self.address!r}")
        own: dict[str, Any] = {"source": f"{self.KIND}:{self.address}", "speaks_on_change": True}
        super().__init__(name, **own | of_a_channel)
        self._subscription: Closable | None = None

    @classmethod
    def from_address(cls, rest: str, name: str, **keywords: Any) -> Self:
        """Return the channel of "ca:PV", or "pva:PV"."""
        return cls(name, rest, **keywords)

    def close(self) -> None:
        """See `Channel.close`."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()


def stamp_ns(seconds: float | None, nanoseconds: int | None) -> int | None:
    """Nanoseconds since 1970; None if the stamp is none."""
    if seconds is None or seconds < NO_STAMP_BEFORE_S:
        return None
    return int(seconds) * 10**9 + int(nanoseconds or 0)
