"""What the analyses of a recording publish, for all browsers of a page: asked five times a second at most."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskAnalysis, AskPublished
from openhsi_shared.control.snapshot import Snapshot
from openhsi_shared.errors import RecordingError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.viewer.published_values import numbers

__all__ = ["AnalysisFeed", "ShownAnalysis", "ask_published", "continued"]

logger = safe_logger(__name__)

INTERVAL_S = 0.2
PAUSE_FACTOR = 4.0
"""The pause is at least this many times what an answer has cost."""
SEARCH_INTERVAL_S = 2.0
"""Of analyses that are attached to the recording."""
THIN_TO = 512
MAX_MEMBERS = 200
N_TREND = 150


class ShownAnalysis(NamedTuple):
    """An analysis, as it was last seen."""

    status: AnalysisStatus
    snapshot: Snapshot
    trends: Mapping[str, deque[float]]
    """The last values of each number, by path."""


def ask_published(socket: str) -> Snapshot:
    """Ask an analysis for what it publishes, thinned for a screen. OSError if it does not answer; RecordingError."""
    (fd,) = request(Path(socket), AskPublished(THIN_TO, MAX_MEMBERS)).descriptors
    return Snapshot.from_memory(fd)


class AnalysisFeed:
    """Reads what is published, until `close`. What was seen last remains."""

    def __init__(self, path: Path, statuses: Callable[[], Mapping[str, AnalysisStatus]]) -> None:
        """Show the analyses of the recording with the control socket `path`: its own, and those attached to it."""
        self._path, self._statuses = path, statuses
        self.shown: Mapping[str, ShownAnalysis] = {}
        """By name. Another object after each change."""
        self.failure = ""
        """Why nothing is updated any more; empty while it is."""
        self._attached: list[Path] = []
        self._names_attached: set[str] = set()
        self._searched_at = float("-inf")
        self._closing = threading.Event()
        self._thread = GuardedThread(
            self._run,
            name="viewer's analyses",
            failure="what analyses publish is no longer updated",
            on_failure=self._note_failure,
        )
        self._thread.start()

    def close(self) -> None:
        """End the thread; blocks for one answer at most. Idempotent."""
        self._closing.set()
        self._thread.join()

    def _note_failure(self, error: BaseException) -> None:
        self.failure = f"{type(error).__name__}: {error}"
        self.shown = dict(self.shown)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._closing.wait(pause_s):
            begun = time.monotonic()
            self._update()
            pause_s = max(INTERVAL_S, PAUSE_FACTOR * (time.monotonic() - begun))

    def _update(self) -> None:
        attached = self._attached_ones()
        found = {**attached, **self._statuses()}
        shown = dict(self.shown)
        for name in self._names_attached - attached.keys():
            shown[name] = shown[name]._replace(status=_gone(shown[name].status))
        self._names_attached |= attached.keys()
        if not shown and not found:
            return
        for name, status in found.items():
            before = shown.get(name, ShownAnalysis(status, Snapshot(), {}))
            snapshot = before.snapshot
            if status.socket and status.state in ("running", "ending"):
                try:
                    snapshot = ask_published(status.socket)
                except (OSError, RecordingError) as error:
                    logger.debug("analysis %s does not tell what it publishes: %s", name, error)
            shown[name] = ShownAnalysis(status, snapshot, continued(before.trends, snapshot))
        self.shown = shown

    def _attached_ones(self) -> dict[str, AnalysisStatus]:
        now = time.monotonic()
        if now - self._searched_at > SEARCH_INTERVAL_S:
            self._searched_at = now
            self._attached = find_sockets(of_analyses=True)
        found = {}
        for path in self._attached:
            try:
                status = request(path, AskAnalysis()).answer.status
            except (OSError, RecordingError) as error:
                logger.debug("no analysis answers at %s: %s", path, error)
                continue
            if status.recording == str(self._path):
                found[f"{status.name} ({path.stem})"] = status
        return found


def _gone(status: AnalysisStatus) -> AnalysisStatus:
    """Of an attached analysis that does not answer: the last it said was that it runs, or ends."""
    if status.state in ("ended", "failed"):
        return status
    if status.state == "ending":
        return replace(status, state="ended")
    return replace(status, state="failed", why="it does not answer")


def continued(trends: Mapping[str, deque[float]], snapshot: Snapshot) -> Mapping[str, deque[float]]:
    """Append the numbers of a snapshot to their last values."""
    now = numbers(snapshot)
    return {path: deque([*trends.get(path, ()), value], N_TREND) for path, value in now.items()}
