"""Channels as a camera uses them: their memory, which its writer reads, and their properties."""

import math
import time
from collections.abc import Callable, Mapping

from openhsi_shared.buffers.samples import SampleLayout, SampleMemory
from openhsi_shared.channels.properties import ChannelProperties
from openhsi_shared.channels.status import statuses
from openhsi_shared.control.status import ChannelStatus
from openhsi_shared.errors import ChannelError

__all__ = ["CONNECT_TIMEOUT_S", "AttachedChannels", "memory_for"]

CONNECT_TIMEOUT_S = 5.0
START_TIMEOUT_S = 60.0
"""How long the process of the channels may take to start."""
POLL_INTERVAL_S = 0.02
ASSUMED_RATE = 1000.0
"""Samples per second of a channel that declares no rate."""
MARGIN = 1.2
MIN_CAPACITY, MAX_CAPACITY = 1 << 10, 1 << 20
MIN_SECONDS = 60.0


class AttachedChannels:
    """Channels whose sources belong to another process; pickled when a process is started, it is the same memory."""

    def __init__(self, properties: Mapping[str, ChannelProperties], memory: SampleMemory) -> None:
        self.properties, self.memory = dict(properties), memory

    def start(self) -> None:
        """Open the sources, if they belong to this process. Idempotent."""

    def wait_until_opened(self) -> None:
        """Block until all sources are opened, if they belong to this process."""

    def wait_until_ready(self, timeout_s: float) -> None:
        """Block until they deliver, if they belong to this process: see `wait_for_first_samples`."""

    def close(self) -> None:
        """Close them, if they belong to this process. Idempotent."""

    def statuses(self) -> dict[str, ChannelStatus]:
        """Newest sample and state of each channel."""
        return statuses(self.properties, self.memory)

    def attached(self) -> "AttachedChannels":
        """The same for another process, which is given it when it is started."""
        return AttachedChannels(self.properties, self.memory)

    def wait_for_first_samples(
        self, timeout_s: float = CONNECT_TIMEOUT_S, is_stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Block until each required channel has delivered a sample, or `is_stopped()`.

        ChannelError names those that have not, `timeout_s` after all sources were opened.
        """
        views = [view for name, view in self.memory.views().items() if self.properties[name].required]
        end, started_by = math.inf, time.monotonic() + START_TIMEOUT_S
        while views := [view for view in views if not view.counts.delivered]:
            if is_stopped():
                return
            now = time.monotonic()
            if end == math.inf and (now >= started_by or all(view.states() for view in views)):
                end = now + timeout_s
            if now >= end:
                raise ChannelError(self._complaint([view.layout.name for view in views], timeout_s))
            time.sleep(POLL_INTERVAL_S)

    def _complaint(self, names: list[str], timeout_s: float) -> str:
        found = self.statuses()
        texts = []
        for name in names:
            status = found[name]
            refused = f", {status.refused} samples were refused" if status.refused else ""
            why = f": {status.why}" if status.why else ""
            texts.append(f"{name!r} ({status.source}, {status.state}{refused}{why})")
        return (
            f"no sample within {timeout_s:g} s of the required channels {'; '.join(texts)}: check the source, give it "
            "more time with connect_timeout_s, or go on without it with required=False"
        )


def memory_for(channels: Mapping[str, ChannelProperties], seconds: float) -> SampleMemory:
    """Allocate memory for the samples of `seconds` (60 s at least). MemoryShortage if it does not fit."""
    layouts = []
    for name, properties in channels.items():
        wanted = (properties.rate or ASSUMED_RATE) * max(seconds, MIN_SECONDS) * MARGIN
        capacity = int(min(max(math.ceil(wanted), MIN_CAPACITY), MAX_CAPACITY))
        layouts.append(SampleLayout(name, len(properties.fields), capacity))
    return SampleMemory.allocate(layouts)
