"""Channels whose values are functions of time, delivered into shared memory as their source would."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from openhsi_shared.buffers.samples import SampleLayout, SampleMemory
from openhsi_shared.buffers.times import Anchor
from openhsi_shared.channels.attached import AttachedChannels
from openhsi_shared.channels.properties import ChannelProperties, Field
from openhsi_shared.columns import COLUMNS
from openhsi_shared.matching import State
from openhsi_shared.writer.cube_channels import CubeChannels

MS = 1_000_000
S = 1_000_000_000


def properties(name: str, fields: Sequence[str | Field] = ("value",), **more: Any) -> ChannelProperties:
    found = tuple(field if isinstance(field, Field) else Field(field, how="linear") for field in fields)
    return ChannelProperties(name=name, fields=found, **more)


def kind_of(*channels: ChannelProperties, capacity: int = 5000) -> AttachedChannels:
    memory = SampleMemory.allocate([SampleLayout(one.name, len(one.fields), capacity) for one in channels])
    return AttachedChannels({one.name: one for one in channels}, memory)


def seconds_of(times_ns: Any) -> Any:
    """The value of a channel that is a clock: seconds since the first second of these times."""
    return (np.asarray(times_ns) - BEGIN) / S


BEGIN = 1_700_000_000 * S


def deliver(
    memory: SampleMemory,
    name: str,
    times_ns: Any,
    function: Callable[[Any], Any] = seconds_of,
    *,
    ahead_ns: int = 0,
    lag_ns: Any = 5 * MS,
    quality: int = 0,
) -> None:
    """Samples of what was true at `times_ns`; `ahead_ns`: the source's clock minus UTC, `lag_ns`: of their arrival."""
    ring = memory.ring(name)
    if not memory.view(name).states():
        ring.note_state(int(times_ns[0]) - S, State.GOOD)
    lags = np.broadcast_to(lag_ns, len(times_ns))
    for time_ns, lag in zip(np.asarray(times_ns).tolist(), lags.tolist(), strict=True):
        ring.put(time_ns + ahead_ns, time_ns + lag, -1, quality, np.atleast_1d(function(time_ns)).tolist())


def every(period_ms: float, begin_ns: int, end_ns: int) -> Any:
    return np.arange(begin_ns, end_ns, round(period_ms * MS))


def parts_of_a_cube(times_ns: Any) -> dict[str, Any]:
    """Keywords of `make_cube` for lines with these times: a GPS, whose clock is wrong, and a value with flags."""
    anchor = Anchor(int(times_ns[0]), 0)
    fields = [Field("latitude", "degree_north", how="linear", standard_name="latitude"), Field("fix", kind="flags")]
    flags = [Field("value", kind="flags", flags=("closed", "open"))]
    kind = kind_of(properties("gps", fields, clock="fit", source="gpsd:"), properties("shutter", flags))
    object.__setattr__(kind.memory, "anchor", anchor)
    span = np.arange(int(times_ns[0]) - 10 * S, int(times_ns[-1]) + S, 100 * MS)
    deliver(kind.memory, "gps", span, lambda t: (seconds_of(t), 1), ahead_ns=S)
    deliver(kind.memory, "shutter", span[::3], lambda t: t // S % 2)
    found = CubeChannels(kind).of_cube(1, times_ns, anchor, 1.0)
    return {
        "columns": {"time_ns": times_ns, **found.columns},
        "column_descriptions": (*COLUMNS, *found.descriptions),
        "groups": found.groups,
    }
