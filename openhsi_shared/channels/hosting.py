"""Sources in this process: opened, watched, opened again, closed."""

import time
from collections.abc import Sequence

from openhsi_shared.buffers.samples import SampleMemory
from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.delivering import RingDeliver
from openhsi_shared.errors import PackageMissing
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.states import State

__all__ = ["Hosting"]

logger = safe_logger(__name__)

FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 10.0


class Hosting:
    """Some channels, which deliver into shared memory. One thread calls all methods."""

    def __init__(self, channels: Sequence[Channel], memory: SampleMemory) -> None:
        self._hosted = [_Hosted(channel, RingDeliver(channel.properties, memory)) for channel in channels]

    def open(self) -> dict[str, BaseException]:
        """Open all. Returns the errors of those that cannot be opened, which is tried again later."""
        for hosted in self._hosted:
            hosted.open()
        return {hosted.channel.name: hosted.failure for hosted in self._hosted if hosted.failure is not None}

    def watch(self) -> None:
        """Note silent sources, and try again to open those that could not be opened; called a few times a second."""
        for hosted in self._hosted:
            hosted.watch()

    def close(self) -> None:
        """Close all."""
        for hosted in self._hosted:
            hosted.close()


class _Hosted:
    """One channel."""

    def __init__(self, channel: Channel, deliver: RingDeliver) -> None:
        self.channel, self._deliver = channel, deliver
        self.failure: BaseException | None = None
        self._due, self._pause_s = 0.0, FIRST_PAUSE_S

    def open(self) -> None:
        self._deliver.state(State.CONNECTING)
        try:
            self.channel.open(self._deliver)
            self.failure = None
        except Exception as error:  # noqa: BLE001 - whatever a source raises; the caller gets it, and it is the state
            self.failure = error
            self._deliver.state(State.LOST, f"it cannot be opened: {error}")
            self._due = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)

    def watch(self) -> None:
        if self.failure is None:
            self._deliver.watch()
        elif time.monotonic() >= self._due and not isinstance(self.failure, PackageMissing):
            self.open()

    def close(self) -> None:
        try:
            self.channel.close()
        except Exception as error:  # noqa: BLE001 - the others must be closed
            logger.warning("channel %r: error while closing: %s", self.channel.name, error)
        self._deliver.state(State.ENDED)
