"""Contract tests of channels: authors of sources subclass `ChannelContract`.

Complete test file of a source::

    class TestMyChannel(ChannelContract):
        @pytest.fixture
        def channel(self):
            return MyChannel("mine", address)

The fixture returns a channel that is not open; the tests open and close it. It must deliver some samples whenever it is
open, for a few times.
"""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle
import numpy as np
import pytest

from openhsi_shared.buffers.samples import SampleLayout, SampleMemory
from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.delivering import Deliver, RingDeliver
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.matching.states import State
from openhsi_shared.testing.leftovers import require_no_leftovers

__all__ = ["ChannelContract", "Delivered"]


class Delivered:
    """A `Deliver` that keeps what a source delivers."""

    def __init__(self) -> None:
        self.samples: list[tuple[Any, int | None, int, int]] = []
        """Value, time, id and quality."""
        self.states: list[State] = []
        """States, in their order."""
        self.description: dict[str, Any] = {}
        """What the source has said of itself."""
        self.refused: list[str] = []
        """Why samples were refused."""
        self.n_squashed = 0
        """Samples that are missing by their ids."""
        self._changed = threading.Condition()

    def sample(
        self,
        value: Any,
        time_ns: int | None = None,
        id: int = -1,  # noqa: A002
        quality: int = 0,
        arrival_ns: int | None = None,
    ) -> None:
        """Keep a sample."""
        assert arrival_ns is None or isinstance(arrival_ns, int), f"arrival_ns={arrival_ns!r}: an int is expected"
        with self._changed:
            self.samples.append((value, time_ns, id, quality))
            self._changed.notify_all()

    def state(self, state: State, why: str = "") -> None:
        """Keep a state."""
        assert isinstance(state, State), f"state({state!r}): a State is expected"
        assert isinstance(why, str), f"why={why!r}: a text is expected"
        with self._changed:
            self.states.append(state)
            self._changed.notify_all()

    def describe(self, **more: Any) -> None:
        """Keep it."""
        json.dumps(more)
        with self._changed:
            self.description |= more
            self._changed.notify_all()

    def refuse(self, why: str, n: int = 1) -> None:
        """Keep the reason."""
        with self._changed:
            self.refused += n * [why]
            self._changed.notify_all()

    def squash(self, n: int) -> None:
        """Count."""
        with self._changed:
            self.n_squashed += n
            self._changed.notify_all()

    def wait_for_samples(self, n: int, timeout_s: float) -> None:
        """Block until there are `n` samples; AssertionError at the timeout."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.samples) >= n, timeout_s)
        told = f"states {self.states}, refused {self.refused[-3:]}"
        assert came, f"{len(self.samples)} of {n} samples within {timeout_s} s; {told}"


class ChannelContract:
    """The contract of `openhsi_shared.channels.Channel`, one test for each of its sentences."""

    patience_s = 10.0
    """Timeout of a few samples."""
    n_samples = 3
    """Samples that it delivers within that time."""

    @pytest.fixture
    def channel(self) -> Channel:
        """Return the channel to be tested, not open. Every subclass overrides it."""
        raise NotImplementedError(
            "subclasses of ChannelContract must define a fixture `channel` that returns a channel, not open"
        )

    def stimulate(self, channel: Channel) -> None:
        """Called after each `open`, for sources that deliver only what is sent to them."""

    def test_it_delivers_numbers_and_times(self, channel: Channel) -> None:
        """One number for each field; times are int64 of ns since 1970, or None."""
        with self.opened(channel) as delivered:
            delivered.wait_for_samples(self.n_samples, self.patience_s)
        for value, time_ns, sample_id, quality in delivered.samples:
            if channel.properties.kind != "image":
                values = np.asarray(value, np.float64)
                n = len(channel.fields)
                assert values.shape in ((n,), () if n == 1 else (n,)), f"{value!r} for the fields {channel.fields}"
            assert time_ns is None or isinstance(time_ns, int | np.integer), f"time {time_ns!r} is no int of ns"
            assert time_ns is None or time_ns > 0, f"time {time_ns} is before 1970"
            assert isinstance(sample_id, int | np.integer), f"id {sample_id!r} is no int"
            assert isinstance(quality, int | np.integer), f"quality {quality!r} is no int"

    def test_its_samples_can_be_stored(self, channel: Channel) -> None:
        """They fit into shared memory: none is refused."""
        if channel.properties.kind == "image":
            pytest.skip("images are not stored in rings")
        memory = SampleMemory.allocate([SampleLayout(channel.name, len(channel.fields), 1000)])
        view = memory.view(channel.name)
        with self.opened(channel, RingDeliver(channel.properties, memory)):
            end = time.monotonic() + self.patience_s
            while view.counts.delivered < self.n_samples and time.monotonic() < end:
                threading.Event().wait(0.01)
        assert view.counts.delivered >= self.n_samples
        samples = view.snapshot()
        assert np.isfinite(samples.values).any(), "all values are NaN"
        known = samples.time_ns[samples.time_ns != UNKNOWN_TIME_NS]
        assert len(known) in (0, len(samples)), "some samples have a stamp and some have none"

    def test_nothing_is_delivered_after_close(self, channel: Channel) -> None:
        """Neither samples nor states."""
        with self.opened(channel) as delivered:
            delivered.wait_for_samples(1, self.patience_s)
        before = len(delivered.samples), len(delivered.states)
        self.stimulate(channel)
        threading.Event().wait(0.1)  # what would come late comes now
        assert (len(delivered.samples), len(delivered.states)) == before

    def test_opening_and_closing_are_idempotent(self, channel: Channel) -> None:
        """`close` may be called at any time, `open` again while it is open."""
        channel.close()
        with self.opened(channel) as delivered:
            channel.open(delivered)
            delivered.wait_for_samples(1, self.patience_s)
        channel.close()

    def test_it_can_be_opened_again(self, channel: Channel) -> None:
        """After `close` it can be opened again."""
        for _ in range(2):
            with self.opened(channel) as delivered:
                delivered.wait_for_samples(1, self.patience_s)

    def test_it_travels_to_another_process_while_it_is_closed(self, channel: Channel) -> None:
        """Cloudpickle can pickle it, also after it was open."""
        with self.opened(channel) as delivered:
            delivered.wait_for_samples(1, self.patience_s)
        copy = cloudpickle.loads(cloudpickle.dumps(channel))
        assert copy.properties == channel.properties
        assert copy.description == channel.description

    def test_ctrl_c_stays_with_the_program(self, channel: Channel) -> None:
        """A package must not replace the handler of SIGINT: programs could no longer be interrupted."""
        before = signal.getsignal(signal.SIGINT)
        with self.opened(channel) as delivered:
            delivered.wait_for_samples(1, self.patience_s)
            assert signal.getsignal(signal.SIGINT) is before, "the source took Ctrl-C"
        assert signal.getsignal(signal.SIGINT) is before, "the source took Ctrl-C"

    def test_nothing_is_left_behind(self, channel: Channel) -> None:
        """Cycles of open and close leak no thread, process or file descriptor."""
        require_no_leftovers(lambda: self.one_round(channel), self.patience_s)

    # ---- helpers ----

    def one_round(self, channel: Channel) -> None:
        """Open, wait for a sample, close."""
        with self.opened(channel) as delivered:
            delivered.wait_for_samples(1, self.patience_s)

    @contextmanager
    def opened(self, channel: Channel, deliver: Deliver | None = None) -> Iterator[Delivered]:
        """Open it; close it at the end, whatever happens."""
        delivered = Delivered()
        try:
            channel.open(deliver or delivered)
            self.stimulate(channel)
            yield delivered
        finally:
            channel.close()
