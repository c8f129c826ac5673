"""The process of the channels: a service that hosts their sources, since a crash of one must not end a recording."""

import os
from typing import Any, NamedTuple

from openhsi_shared.buffers.samples import SampleMemory
from openhsi_shared.channels.hosting import Hosting
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.liveness import GONE, Parent
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.spawning import become_service, unpack
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["Opened", "Stop", "run_channels"]

logger = safe_logger(__name__)

INTERVAL_S = 0.1
CLOSE_TIMEOUT_S = 2.0


class Opened(NamedTuple):
    """To the parent: all sources were opened, but for these."""

    failures: dict[str, str]
    broken: str = ""
    """Why there are no sources at all: they cannot be loaded in this process."""


class Stop(NamedTuple):
    """From the parent: close all sources, and exit."""


def run_channels(parent: Parent, memory: SampleMemory, payload: bytes, counter: Any) -> None:
    """Host the pickled channels until the parent sends Stop or dies; the main function of the child.

    `counter` is the shared heartbeat.
    """
    become_service(niceness=5)
    forward_logs(parent)
    try:
        hosting = Hosting(unpack(payload), memory)
        parent.tell(Opened({name: str(error) for name, error in hosting.open().items()}))
    except Exception as error:  # noqa: BLE001 - not swallowed: the parent raises it
        hosting = Hosting([], memory)
        parent.tell(Opened({}, f"the channels cannot be loaded in their process: {type(error).__name__}: {error}"))
    while True:
        message = parent.receive(INTERVAL_S)
        if message is GONE or isinstance(message, Stop):
            break
        counter[0] += 1
        hosting.watch()
    closing = GuardedThread(hosting.close, name="closing", failure="a source could not be closed")
    closing.start()
    closing.join(CLOSE_TIMEOUT_S)
    if closing.is_alive():
        logger.warning("a source has not closed within %s s: the process of the channels exits", CLOSE_TIMEOUT_S)
    os._exit(0)  # threads and exit handlers of vendors' libraries may hang
