"""What all tests share: nobody may leave a process, a file in /dev/shm or an open camera behind."""

import contextlib
import os
import re
import tempfile
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
    makers = {path.name: _maker_of(path) for path in SHM.iterdir()}
    return {name for name, pid in makers.items() if pid is None or pid in ours or not psutil.pid_exists(pid)}


def _maker_of(path: Path) -> int | None:
    """The process that a file's name tells, or the one that holds its lock, as the maker of a ring does."""
    if named := re.match(r"pym-(\d+)-", path.name):
        return int(named[1])
    with contextlib.suppress(OSError):
        of_it = f":{path.stat().st_ino} "
        for line in Path("/proc/locks").read_text().splitlines():
            if of_it in line:
                return int(line.split()[4])
    return None


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


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a runtime directory of its own, with a path short enough for a socket, and no screen."""
    with tempfile.TemporaryDirectory(prefix="ohs") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        yield Path(folder)
