"""What all tests share: nobody may leave a process, a file in /dev/shm or an open camera behind."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SHM = Path("/dev/shm")


def _children() -> set[int]:
    """Our processes, without the one helper of `multiprocessing` that lives as long as we do."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline()):
                found.add(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def _shared_files() -> set[str]:
    """Files of multiprocessing in /dev/shm, without those of other programs that run here just now."""
    if not SHM.is_dir():
        return set()
    ours = {os.getpid(), *_children()}
    names = {path.name for path in SHM.iterdir()}
    return {
        name
        for name in names
        if not (pid := re.match(r"pym-(\d+)-", name)) or int(pid[1]) in ours or not psutil.pid_exists(int(pid[1]))
    }


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before, shared_before = _children(), _shared_files()
    yield
    end = time.monotonic() + 5
    while (left := _children() - before) and time.monotonic() < end:
        time.sleep(0.01)
    assert not left, (
        f"processes were left behind: {[psutil.Process(pid).cmdline() for pid in left if psutil.pid_exists(pid)]}"
    )
    while (left_files := _shared_files() - shared_before) and time.monotonic() < end:
        time.sleep(0.01)  # another program's, which runs beside us, does not stay
    assert not left_files, f"files were left in /dev/shm: {left_files}"
