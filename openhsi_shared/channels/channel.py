"""The base class of all sources."""

from collections.abc import Sequence
from typing import Any, ClassVar

from openhsi_shared.channels.delivering import Deliver
from openhsi_shared.channels.properties import QUATERNION, SINGLE, ChannelProperties, Field, How, Kind, Stamp
from openhsi_shared.errors import ArgumentError

__all__ = ["Channel"]


class Channel:
    """A named source of samples; the base class of all of them.

    A subclass defines `open` and `close`. While it is closed it can be pickled by cloudpickle: it is opened in another
    process. Its authors run `openhsi_shared.testing.ChannelContract`.
    """

    in_own_process: ClassVar[bool] = False
    """It is opened in the user's process, rather than in that of the channels."""

    def __init__(
        self,
        name: str,
        *,
        unit: str | None = None,
        fields: Sequence[str | Field] | None = None,
        kind: Kind = "number",
        how: How | None = None,
        tolerance_s: float | None = None,
        gap_s: float | None = None,
        max_age_s: float | None = None,
        clock: str = "given",
        clock_offset_s: float = 0.0,
        latency_s: float = 0.0,
        stamp: Stamp = "source",
        rate: float | None = None,
        required: bool = True,
        speaks_on_change: bool = False,
        source: str = "",
    ) -> None:
        """See `ChannelProperties`. `fields` of a channel with several values: names or Fields; else it is one value.

        `unit`, `kind` and `how` are those of all fields that are given by their names. `rate` is in samples per second.
        ArgumentError for invalid values.
        """
        of_a_field: dict[str, Any] = {"unit": unit, "kind": kind, "how": how}
        if isinstance(fields, str) or not isinstance(fields, Sequence | None):
            raise ArgumentError(f"channel {name!r}: fields must be a sequence of names or Fields, got {fields!r}")
        if fields is None:
            fields = QUATERNION if kind == "quaternion" else (SINGLE,)
        self.properties = ChannelProperties(
            name=name,
            fields=tuple(one if isinstance(one, Field) else Field(one, **of_a_field) for one in fields),
            kind=kind,
            tolerance_s=tolerance_s,
            gap_s=gap_s,
            max_age_s=max_age_s,
            clock=clock,
            clock_offset_s=clock_offset_s,
            latency_s=latency_s,
            stamp=stamp,
            rate=rate,
            required=required,
            speaks_on_change=speaks_on_change,
            source=source or type(self).__name__,
        )
        """All that the writer knows of it besides the samples."""

    def open(self, deliver: Deliver) -> None:
        """Begin to deliver samples, from any thread. Returns at once: a connection may be made later.

        ChannelError if that cannot succeed now, PackageMissing for a package that is not installed.
        """
        raise NotImplementedError(f"{type(self).__name__} must define open(deliver)")

    def close(self) -> None:
        """Release all resources; nothing is delivered afterwards. Idempotent, also before `open`."""
        raise NotImplementedError(f"{type(self).__name__} must define close()")

    @property
    def name(self) -> str:
        """Name of the channel."""
        return self.properties.name

    @property
    def fields(self) -> tuple[Field, ...]:
        """Its values; a single one is called "value"."""
        return self.properties.fields

    @property
    def description(self) -> str:
        """Its source as text, such as "ca:HSI:temp"."""
        return self.properties.source

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.description!r})"
