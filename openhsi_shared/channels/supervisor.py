"""Starts the process of the channels, and replaces it when it dies or hangs."""

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from openhsi_shared.channels.attached import START_TIMEOUT_S, AttachedChannels, memory_for
from openhsi_shared.channels.channel import Channel
from openhsi_shared.channels.hosting import Hosting
from openhsi_shared.channels.process import Opened, Stop, run_channels
from openhsi_shared.channels.properties import check_together
from openhsi_shared.errors import ArgumentError, ChannelError, ClosedError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.matching.states import State
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.spawning import pack
from openhsi_shared.processes.supervision import Heartbeat, Listener, StartLimit

__all__ = ["ChannelsSupervisor"]

logger = safe_logger(__name__)

POLL_INTERVAL_S = 0.2
HANG_TIMEOUT_S = 10.0
END_TIMEOUT_S = 5.0
FAILED = "the thread that watches the channels has failed"


class ChannelsSupervisor(AttachedChannels):
    """Channels whose sources this process has started: in a child, but for those into which its user pushes."""

    def __init__(self, channels: Mapping[str, Channel], seconds: float = 60.0) -> None:
        """Allocate memory for the samples of `seconds`. ArgumentError for images, or for names that clash."""
        for name, channel in channels.items():
            if channel.properties.kind == "image":
                raise ArgumentError(
                    f"channel {name!r} ({channel.description}) delivers images, which cannot be matched to lines: use "
                    "openhsi_shared.channels.Recorder for images"
                )
        properties = {name: channel.properties for name, channel in channels.items()}
        check_together(properties)
        super().__init__(properties, memory_for(properties, seconds))
        self._away = [channel for channel in channels.values() if not channel.in_own_process]
        self._own = Hosting([channel for channel in channels.values() if channel.in_own_process], self.memory)
        self._payload = pack(self._away) if self._away else b""
        self._child: Child | None = None
        self._heartbeat = Heartbeat()
        self._starts = StartLimit()
        self._is_ready = False
        self._opened = threading.Event()
        self._failures: dict[str, str] = {}
        """Of the sources that could not be opened at the start."""
        self._broken = ""
        """Why there is no process of the channels."""
        self._listener: Listener | None = None
        self._is_closed = False
        self._lock = threading.RLock()
        """Held by `start` and `close`."""
        self._cause: BaseException | None = None
        self._owner = os.getpid()
        self.n_restarts = 0

    def __reduce__(self) -> Any:
        """Another process gets the memory only."""
        return AttachedChannels, (self.properties, self.memory)

    # ---- in the thread of the caller ----

    def start(self) -> None:
        """Open own sources, and start the process of the others. Returns before these are opened. Idempotent.

        ChannelError if it cannot be started, ClosedError after `close`.
        """
        with self._lock:
            if self._is_closed:
                raise ClosedError("these channels are closed: make new ones")
            if self._listener is not None:
                return
            self._failures = {name: str(error) for name, error in self._own.open().items()}
            try:
                if self._away:
                    self._child = self._new_child()
                else:
                    self._opened.set()
                self._listener = Listener(
                    self._waitables,
                    self._look,
                    POLL_INTERVAL_S,
                    name="channels",
                    failure=FAILED,
                    on_failure=self._note_failure,
                )
                self._listener.start()
            except BaseException as error:
                self._listener = None
                self._end_child()
                self._own.close()
                if isinstance(error, OSError | RuntimeError | MemoryError):  # no descriptor, process or thread
                    raise ChannelError(f"the process of the channels could not be started: {error}") from error
                raise

    def wait_until_opened(self) -> None:
        """Block until all sources are opened. ChannelError for a required one that cannot be, PackageMissing."""
        if not self._opened.wait(START_TIMEOUT_S):
            raise ChannelError(f"the process of the channels did not start within {START_TIMEOUT_S:.0f} s")
        if self._cause is not None:
            raise ChannelError(FAILED) from self._cause
        required = {name: why for name, why in self._failures.items() if self.properties[name].required}
        if self._broken:
            raise ChannelError(self._broken)
        if required:
            texts = (f"channel {name!r} ({self.properties[name].source}): {why}" for name, why in required.items())
            raise ChannelError(f"{'; '.join(texts)}; with required=False a recording goes on without it")

    def wait_until_ready(self, timeout_s: float) -> None:
        """Block until all sources are opened, and each required channel has delivered a sample."""
        self.wait_until_opened()
        self.wait_for_first_samples(timeout_s)

    def _new_child(self) -> Child:
        self._is_ready = False
        self._heartbeat.expect()
        args = (self.memory, self._payload, self._heartbeat.counter)
        return Child(run_channels, args, name="channels", logger=logger, daemon=True)

    def close(self) -> None:
        """Close all sources, and end the process. Idempotent. In a forked child it does nothing."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._opened.set()
            if self._listener is not None:
                self._listener.stop()
            self._end_child()
            self._own.close()
            self._heartbeat.release()

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.send(Stop())
            if not child.join(END_TIMEOUT_S):
                logger.warning("the process of the channels has not ended within %s s: it is killed", END_TIMEOUT_S)
            child.end()
            child.close()

    @property
    def process_id(self) -> int | None:
        """Of the process of the channels; None while there is none."""
        child = self._child
        return None if child is None else child.pid

    # ---- in the thread that watches ----

    def _waitables(self) -> list[Any]:
        return [] if self._child is None else self._child.waitables

    def _look(self) -> None:
        """Receive from the child, replace it if it is gone or hangs, and watch own sources."""
        if self._is_closed:
            return
        self._own.watch()
        if not self._away:
            return
        if self._child is None:
            self._start_another()
            return
        message = self._child.receive(0)
        if isinstance(message, Opened):
            self._is_ready = not message.broken
            self._note_opened(message)
        elif message is GONE:
            self._child.join(1.0)  # its end of the pipe is closed before it has exited
            self._replace(f"the process of the channels died, exit code {self._child.exit_code}")
        elif self._heartbeat.silent_s() > (HANG_TIMEOUT_S if self._is_ready else START_TIMEOUT_S):
            self._replace("the process of the channels made no progress: a source holds Python's global lock")

    def _note_opened(self, message: Opened) -> None:
        self._starts.note(is_up=self._is_ready)
        if not self._opened.is_set():
            self._failures |= message.failures
            self._broken = message.broken
            self._opened.set()

    def _replace(self, why: str) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
            child.close()
        if not self._is_ready:
            self._starts.note(is_up=False)
        if self._starts.is_reached and not self._opened.is_set():
            self._broken = f"{why}, {self._starts.n_failed} times before its sources were opened"
            self._opened.set()
        logger.warning("%s: it is replaced; the channels have a gap", why)
        self._note_lost(why)
        self.n_restarts += 1
        if not self._starts.is_reached:
            self._start_another()

    def _start_another(self) -> None:
        if self._starts.is_reached and not self._starts.is_due:
            return
        try:
            self._child = self._new_child()
        except Exception as error:  # noqa: BLE001 - no descriptor, process or memory: tried again
            logger.error("the process of the channels could not be started: %s", error)
            self._starts.note_impossible()

    def _note_lost(self, why: str) -> None:
        """Note the gap, instead of the process that is gone."""
        now_ns = self.memory.clock.wall_ns(time.monotonic_ns())
        for channel in self._away:
            ring = self.memory.ring(channel.name)
            ring.note_state(now_ns, State.LOST)
            ring.describe({**self.memory.view(channel.name).description(), "why": why[:200]})

    def _note_failure(self, error: BaseException) -> None:
        """End the process of the channels: nothing would replace it. Own sources go on."""
        self._cause = error
        self._opened.set()
        child = self._child
        if child is not None:
            child.end()  # before their state is noted: each ring has one writer
        self._note_lost(FAILED)
