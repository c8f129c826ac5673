"""The status of channels, read from their memory, in any process."""

import math
import time
from collections.abc import Mapping

import numpy as np

from openhsi_shared.buffers.samples import SampleMemory, SampleView
from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.control.status import ChannelStatus
from openhsi_shared.line_times import UNKNOWN_TIME_NS

__all__ = ["status_of"]

N_NEWEST = 1000
RATE_S = 5.0
"""Time over which the rate is measured."""


def status_of(properties: ChannelProperties, view: SampleView) -> ChannelStatus:
    """The status of one channel now."""
    samples = view.snapshot(N_NEWEST)
    now_ns = time.monotonic_ns() + samples.anchor.wall_ns - samples.anchor.monotonic_ns
    stamped = samples.time_ns != UNKNOWN_TIME_NS
    lags_s = (samples.arrival_ns[stamped] - samples.time_ns[stamped]) / 1e9
    n = len(samples)
    description = samples.description
    first = properties.fields[0]
    return ChannelStatus(
        source=properties.source,
        fields=tuple(field.name for field in properties.fields),
        unit=first.unit
        or first.unit_as_given
        or str(description.get("unit") or description.get("unit_as_given") or ""),
        values=tuple(samples.values[-1].tolist()) if n else (math.nan,) * len(properties.fields),
        age_s=(now_ns - int(samples.arrival_ns[-1])) / 1e9 if n else math.nan,
        rate=_rate(samples.arrival_ns, now_ns),
        lag_s=float(lags_s[-1]) if len(lags_s) else math.nan,
        offset_s=-float(lags_s.min()) if len(lags_s) else math.nan,
        state=view.state().words,
        why=str(description.get("why", "")),
        delivered=samples.counts.delivered,
        refused=samples.counts.refused,
        squashed=samples.counts.squashed,
    )


def statuses(properties: Mapping[str, ChannelProperties], memory: SampleMemory) -> dict[str, ChannelStatus]:
    """The status of all channels now."""
    return {name: status_of(properties[name], view) for name, view in memory.views().items()}


def _rate(arrivals_ns: "np.ndarray[tuple[int], np.dtype[np.int64]]", now_ns: int) -> float:
    """Recent samples per second; 0 after some seconds of silence."""
    recent = arrivals_ns[arrivals_ns > now_ns - RATE_S * 1e9]
    if len(recent) < 2:
        return 0.0
    if len(recent) == len(arrivals_ns):  # more of them were in this time, or it began in it
        return float((len(recent) - 1) / max(1e-9, (now_ns - int(recent[0])) / 1e9))
    return float(len(recent) / RATE_S)
