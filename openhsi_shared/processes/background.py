"""Work that gives way to everything else on the machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from openhsi_shared.processes.spawning import niceness_of_session, set_niceness_of_session

__all__ = ["in_background"]

LOWEST = 19


@contextmanager
def in_background() -> Iterator[None]:
    """In the block, this process and those that it starts have the lowest priority, also for disks (idle class).

    Where the niceness of sessions is compared (see `become_service`), that of this session is lowered, too; it has its
    old one after the block, as far as the system allows: only root may raise a priority.
    """
    process = psutil.Process()
    before = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else None
    session = niceness_of_session()
    disk = process.ionice() if hasattr(process, "ionice") and hasattr(psutil, "IOPRIO_CLASS_IDLE") else None
    with suppress(OSError, psutil.Error):
        if before is not None:
            os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    with suppress(OSError):
        set_niceness_of_session(LOWEST)
    with suppress(OSError, psutil.Error):
        if disk is not None:
            process.ionice(psutil.IOPRIO_CLASS_IDLE)
    try:
        yield
    finally:
        with suppress(OSError, psutil.Error):
            if disk is not None:
                process.ionice(disk.ioclass, disk.value)
        with suppress(OSError):
            set_niceness_of_session(session)
        with suppress(OSError):
            if before is not None:
                os.setpriority(os.PRIO_PROCESS, 0, before)
