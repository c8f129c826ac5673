"""What a channel delivers into shared memory, as a test sees it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openhsi_shared.buffers.samples import SampleLayout, SampleMemory, Samples
from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.delivering import RingDeliver
from openhsi_shared.matching.states import State
from tests.support.helpers import wait_for


class Heard:
    """Shared memory of one channel, and what it contains."""

    def __init__(self, channel: Channel, capacity: int = 20_000) -> None:
        layout = SampleLayout(channel.name, len(channel.fields), capacity)
        self.memory = SampleMemory.allocate([layout])
        self.view = self.memory.view(channel.name)
        self.deliver = RingDeliver(channel.properties, self.memory)

    @property
    def samples(self) -> Samples:
        return self.view.snapshot()

    @property
    def states(self) -> list[State]:
        return [State(state) for _, state in self.view.states()]

    @property
    def description(self) -> dict[str, Any]:
        return self.view.description()

    def wait_for_state(self, state: State, timeout_s: float = 60.0) -> None:
        wait_for(lambda: self.view.state() is state, timeout_s)

    def wait_for_samples(self, n: int, timeout_s: float = 60.0) -> Samples:
        """Wait until there are n samples more than now."""
        before = self.view.counts.delivered
        wait_for(lambda: self.view.counts.delivered >= before + n, timeout_s)
        return self.samples


@contextmanager
def heard(channel: Channel) -> Iterator[Heard]:
    """Open a channel, and close it at the end."""
    found = Heard(channel)
    channel.open(found.deliver)
    try:
        yield found
    finally:
        channel.close()


class Collected:
    """What a source calls, for values that shared memory does not take: images."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.samples: list[tuple[Any, int | None, int, int]] = []
        self.states: list[State] = []
        self.n_squashed = self.n_refused = 0
        self._delay_s = delay_s

    def sample(
        self,
        value: Any,
        time_ns: int | None = None,
        id: int = -1,  # noqa: A002
        quality: int = 0,
        arrival_ns: int | None = None,
    ) -> None:
        threading.Event().wait(self._delay_s)  # a consumer that is slow
        self.samples.append((value, time_ns, id, quality))

    def state(self, state: State, why: str = "") -> None:
        self.states.append(state)

    def describe(self, **more: Any) -> None:
        pass

    def refuse(self, why: str, n: int = 1) -> None:
        self.n_refused += n

    def squash(self, n: int) -> None:
        self.n_squashed += n
