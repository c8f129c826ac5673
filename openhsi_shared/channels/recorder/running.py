"""A recorder between start and stop: its channels are open, and their updates go through a queue to its thread."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from openhsi_shared.channels.recorder.inputs import RowInput
from openhsi_shared.channels.recorder.rates import Rates
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.states import State
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["Run", "RunCalls", "Update"]

logger = safe_logger(__name__)

SETTLE_INTERVAL_S = 0.05
MAX_WAITING, MAX_IMAGES_WAITING = 20_000, 200
"""Updates of a channel in the queue; further ones are refused: a slot of the recorder's signals is too slow."""


class Update(NamedTuple):
    """What a source has delivered."""

    place: int
    """Of its channel."""
    value: Any
    time_ns: int | None
    id: int
    quality: int
    arrival_ns: int
    """By `time.monotonic_ns()`."""
    epoch: int
    """How often rows had been cleared before."""


class RunCalls(NamedTuple):
    """What a run calls, all but the first in its thread."""

    epoch: Callable[[], int]
    take: Callable[[Update], None]
    settle: Callable[[int | None], None]
    """With the time, or None at the end."""
    begun: Callable[[], None]
    ended: Callable[[], None]


class _Deliver:
    """What the source of a channel calls; see `Deliver`."""

    def __init__(self, place: int, source: RowInput, run: "Run", rates: Rates) -> None:
        self._place, self._source, self._run, self._rates = place, source, run, rates

    def sample(
        self,
        value: Any,
        time_ns: int | None = None,
        id: int = -1,  # noqa: A002
        quality: int = 0,
        arrival_ns: int | None = None,
    ) -> None:
        """See `Deliver`. The value is checked by the recorder's thread."""
        self._rates.tick(self._source.name)
        self._source.state = State.GOOD
        now_ns = time.monotonic_ns() if arrival_ns is None else arrival_ns
        self._run.put(Update(self._place, value, time_ns, id, quality, now_ns, self._run.calls.epoch()), self._source)

    def state(self, state: State, why: str = "") -> None:
        """See `Deliver`."""
        if state is not self._source.state:
            self._source.state = state
            logger.info("channel %r is %s%s", self._source.name, state.words, f": {why}" if why else "")

    def describe(self, **more: Any) -> None:
        """See `Deliver`."""
        self._source.description |= more

    def refuse(self, why: str, n: int = 1) -> None:
        """See `Deliver`."""
        self._source.refuse(why, n)

    def squash(self, n: int) -> None:
        """See `Deliver`."""
        self._source.n_squashed += n


class Run:
    """Open channels, and the thread that takes their updates."""

    def __init__(self, inputs: Sequence[RowInput], calls: RunCalls, previous: "Run | None") -> None:
        """`previous` is the run before, which may still have updates to take."""
        self.calls = calls
        self.is_open = False
        self.failure: BaseException | None = None
        self._inputs, self.previous = inputs, previous
        self._queue: SimpleQueue[Update | None] = SimpleQueue()
        self.thread = GuardedThread(
            self._loop, name="recorder", failure="a recorder has stopped by a failure", on_failure=self._fail
        )
        self._closing = threading.Lock()

    @property
    def is_alive(self) -> bool:
        """Whether updates are still taken."""
        return self.thread.is_alive()

    def start(self, rates: Rates) -> None:
        """Open the channels. Raises what opening one raises, with all of them closed."""
        with ExitStack() as undoing:
            for place, source in enumerate(self._inputs):
                source.state = State.CONNECTING
                undoing.callback(source.channel.close)
                source.channel.open(_Deliver(place, source, self, rates))
            self.is_open = True
            self.thread.start()
            undoing.pop_all()

    def put(self, update: Update, source: RowInput) -> None:
        """Pass an update to the thread."""
        n_waiting = source.n_put - source.n_taken
        if n_waiting >= (MAX_WAITING if source.image is None else MAX_IMAGES_WAITING):
            source.refuse(f"{n_waiting} updates wait: a slot of the recorder's signals takes too long")
            return
        source.n_put += 1
        self._queue.put(update)

    def close(self) -> None:
        """Close the channels. Idempotent; does not wait for the thread."""
        with self._closing:
            if not self.is_open:
                return
            self.is_open = False
            for source in self._inputs:
                try:
                    source.channel.close()
                except Exception as error:  # noqa: BLE001 - the others must be closed
                    logger.warning("channel %r: error while closing: %s", source.name, error)
                source.state = State.ENDED
            self._queue.put(None)

    def join(self) -> None:
        """Wait until all updates are taken, unless this thread is the one that takes them, or that it waits for."""
        run: Run | None = self
        while run is not None:
            if run.thread is threading.current_thread():
                return
            run = run.previous
        if self.thread.ident is not None:
            self.thread.join()

    def _loop(self) -> None:
        if self.previous is not None:
            self.previous.join()
            self.previous = None
        self.calls.begun()
        due = time.monotonic()
        while True:
            try:
                update = self._queue.get(timeout=SETTLE_INTERVAL_S)
                if update is None:
                    break
                self._inputs[update.place].n_taken += 1
                self.calls.take(update)
            except Empty:
                pass
            if time.monotonic() >= due:
                self.calls.settle(time.monotonic_ns())
                due = time.monotonic() + SETTLE_INTERVAL_S
        self.calls.settle(None)
        self.calls.ended()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self.close()
        self.calls.ended()
