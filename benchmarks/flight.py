"""One recording with injected faults, and its account, made from the files as they are published."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from openhsi_shared import record
from openhsi_shared.control.control_socket import find_sockets
from openhsi_shared.errors import OpenHSIError, RecordingError
from tests.support.account import Account, Verdict
from tests.support.commit_log import COUNTING_KEYWORDS, CommitLog, CommitLogCamera

__all__ = ["Flight", "wait_for"]

N_KEPT = 3
"""Newest files that are not deleted: the successor of a writer that died must find that the cube is published."""
LOOKER = """
import os, sys
from pathlib import Path
from openhsi_shared.control.control_socket import request
from openhsi_shared.control.messages import AskSlots
while True:
    for descriptor in request(Path(sys.argv[1]), AskSlots()).descriptors:
        os.close(descriptor)
"""


def wait_for(what: Callable[[], object], patience_s: float = 30.0, pause_s: float = 0.0005) -> bool:
    """Whether `what()` became true in time."""
    end = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
    return True


class Flight:
    """A recording of the counting camera at `rate`, into `disk`, with the fallback directory `spare`."""

    def __init__(self, folder: Path, disk: Path, spare: Path, shape: tuple[int, int], rate: float) -> None:
        self.places: Sequence[Path] = (disk, spare, folder / "temporary")
        self.disk, self.rate = disk, rate
        self.account = Account()
        self.commit_log_path = folder / "commit_log"
        self.known: set[str] = set()
        """Names of all files that were ever seen, including unfinished ones."""
        keywords: dict[str, Any] = {
            **COUNTING_KEYWORDS,
            "resolution": shape,
            "rate": rate,
            "queue": 50,
            "exposure_ms": 1.0,
        }
        self.run = record(
            CommitLogCamera,
            disk,
            n_lines=64,
            n_buffers=12,
            progress=False,
            fallback_dirs=[str(spare)],
            commit_log=str(self.commit_log_path),
            **keywords,
        )
        self.recorder = psutil.Process(self.run.process_id)
        self._all_writers: set[psutil.Process] = set()
        wait_for(self.writers)

    # ---- processes ----

    def writers(self) -> list[psutil.Process]:
        """Living writers, oldest first."""
        found = []
        with suppress(psutil.Error):
            for child in self.recorder.children():
                with suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                        found.append(child)
        self._all_writers.update(found)
        return sorted(found, key=lambda process: process.pid)

    def looker(self) -> subprocess.Popen[bytes] | None:
        """A process that requests the slots as often as possible."""
        paths = find_sockets()
        if not paths:
            return None
        return subprocess.Popen([sys.executable, "-c", LOOKER, paths[0]], stderr=subprocess.DEVNULL)

    # ---- the files ----

    def names(self) -> set[str]:
        """Names of all files that exist now, including unfinished ones."""
        found = {name for place in self.places for _, _, files in os.walk(place) for name in files}
        self.known |= found
        return found

    def seconds_until_saving(self, since: float, writer_id: int | None = None) -> float | None:
        """Seconds from `since` until another writer than `writer_id` begins a new file."""
        before, by_it = set(self.known), f".{writer_id}.part"

        def is_begun() -> bool:
            return any(name.endswith(".part") and not name.endswith(by_it) for name in self.names() - before)

        return time.monotonic() - since if wait_for(is_begun, 10.0) else None

    def read_files(self, keep: int = N_KEPT) -> None:
        """Check published files, and delete them."""
        cubes = [path for place in self.places for path in place.rglob("*.nc")]
        cubes.sort(key=lambda path: path.name)
        for path in cubes[: len(cubes) - keep]:
            self.account.read(path)
            path.unlink()
            path.with_suffix(".png").unlink(missing_ok=True)

    def longest_stall_s(self, since_ns: int, until_ns: int) -> float:
        """Longest delay of the acquiring loop in this period."""
        stalls = CommitLog(self.commit_log_path).stalls()
        here = stalls[(stalls[:, 0] >= since_ns) & (stalls[:, 0] <= until_ns), 1]
        return float(here.max()) / 1e9 if here.size else 0.0

    # ---- the end ----

    def end(self) -> Verdict:
        """Stop the recording cleanly, and return the verdict."""
        self.writers()
        self.run.stop()
        with suppress(OpenHSIError, OSError):  # a save that failed: its cube is rescued, and in the account
            self.run.wait(120)
        status = self.run.status()
        self._settle()
        for first, last in status.lost_ids:
            self.account.declare_lost(first, last)
        return self.account.verdict(status.lines + status.lines_lost)

    def verdict_after_death(self) -> Verdict:
        """Verdict when its process was killed, which may have committed one line without noting it."""
        with suppress(RecordingError, OSError):
            self.run.wait(120)
        self._settle()
        noted = CommitLog(self.commit_log_path).next_id
        beyond = [frame_id for frame_id in self.account.saved if frame_id >= noted]
        return self.account.verdict(max(beyond) + 1 if len(beyond) == 1 else noted)

    def _settle(self) -> None:
        _, left = psutil.wait_procs(list(self._all_writers), 120)
        for process in left:
            process.kill()
            self.account.wrong.append(f"writer {process.pid} did not end")
        self.read_files(keep=0)
        parts = [name for name in self.names() if name.endswith(".part")]
        if len(parts) > len(self._all_writers):
            self.account.wrong.append(f"{len(parts)} unfinished files of {len(self._all_writers)} writers were left")

    def resume_all(self) -> None:
        """Resume every process that was stopped."""
        for process in [self.recorder, *self._all_writers]:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
