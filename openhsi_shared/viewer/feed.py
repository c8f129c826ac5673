"""Data that all browsers of one page share: one tap, the last lines, and the last status.

Two threads fill it: the sampling thread reads the slots ten times a second, the status thread requests a glance twice a
second, which may block. Neither can delay the other, or the recording.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.tap import LineName, Tap
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.control_socket import request
from openhsi_shared.control.messages import AskGlance, AskSlots, Mark, Phase, Request, Stop
from openhsi_shared.control.status import RecordingStatus
from openhsi_shared.errors import RecordingError
from openhsi_shared.exposure import focus_of, share_saturated
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.rgb import preview_bands
from openhsi_shared.viewer.analysis_feed import AnalysisFeed
from openhsi_shared.viewer.channel_values import values_of
from openhsi_shared.viewer.history import History, colours_of

__all__ = ["Feed", "LineFacts", "TrendPoint"]

logger = safe_logger(__name__)

State = Phase | Literal["silent", "died", "failed"]
""""silent": no response. "died": its socket exists, but no process listens. "failed": a thread of this feed failed."""

SAMPLE_INTERVAL_S = 0.1
GLANCE_INTERVAL_S = 0.5
GLANCE_INTERVAL_AT_END_S = 0.1
SAMPLE_COST_S = 0.035
"""Time limit of one sample; lines that would exceed it are skipped."""
MAX_LINES = 64
FACTS_INTERVAL_S = 0.4
N_HISTORY = 2048
N_BINS = 64
MAX_TREND_POINTS = 3600


class LineFacts(NamedTuple):
    """Exposure and focus of one line."""

    counts: NDArray[np.int64]
    """Histogram of its pixels"""
    edges: NDArray[np.float64]
    share_saturated: float
    """Share of its pixels, 0 to 1; NaN if full scale is unknown."""
    focus: float
    """Mean step between cross-track neighbours, in percent of the mean; higher is sharper."""


class TrendPoint(NamedTuple):
    """One second of the trends."""

    monotonic_ns: int
    temperature: float
    """Of the camera, in degrees Celsius."""
    channels: Mapping[str, float]
    """Values of channels, by the names of `values_of`."""


class Feed:
    """Reads one recording, until `close`."""

    def __init__(self, path: Path, facts_interval_s: float = FACTS_INTERVAL_S) -> None:
        """Send requests to the control socket at `path`. `facts` are renewed at this interval, or more rarely.

        RecordingError if no process answers, its version differs, or it provides no slots.
        """
        self.path, self._facts_interval_s = path, facts_interval_s
        try:
            self.glance = request(path, AskGlance()).answer
            """Last glance received."""
            slots, descriptors = request(path, AskSlots())
        except OSError as error:
            raise RecordingError(f"no process answers at {path}: {error}; has the recording ended?") from error
        self._tap = Tap(slots.export, descriptors)
        self.about = slots.about
        self.layout = self._tap.layout
        n_cross, n_bands = self.layout.line_shape
        wavelengths = self.about.wavelengths_nm
        self._bands = preview_bands(wavelengths, n_bands)
        self.wavelengths = np.arange(n_bands, dtype=float) if wavelengths is None else np.asarray(wavelengths, float)
        self.has_wavelengths = len(self._bands) == 3
        self.history = History(N_HISTORY, n_cross, len(self._bands))
        self._state: State = "running"
        self._has_failed = False
        self.newest: LineName | None = None
        """The last line in `history`."""
        self.newest_monotonic_ns = 0
        """Its exposure time."""
        self.facts: LineFacts | None = None
        self.trend_points: deque[TrendPoint] = deque(maxlen=MAX_TREND_POINTS)
        self.slots = self._tap.slots()
        self._line_s = 0.0002
        self._facts_at = self._trend_point_at = float("-inf")
        self._closing = threading.Event()
        self._closing_tap = threading.Lock()
        self._threads = [
            GuardedThread(
                target,
                name=f"viewer's {name}",
                failure="the live page is no longer updated",
                on_failure=self._note_failure,
            )
            for name, target in (("sampling", self._sample), ("status", self._read_status))
        ]
        for thread in self._threads:
            thread.start()
        self.analyses = AnalysisFeed(path, self._analyses)

    def _analyses(self) -> Mapping[str, AnalysisStatus]:
        status = self.glance.status
        return status.analyses if isinstance(status, RecordingStatus) else {}

    @property
    def state(self) -> State:
        """State of the recording, or "failed" for this feed."""
        return "failed" if self._has_failed else self._state

    @property
    def is_over(self) -> bool:
        """Whether no more data will arrive."""
        return self.state in ("ended", "died", "failed")

    def close(self) -> None:
        """Release the memory, and end the threads. Idempotent."""
        self._closing.set()
        self.analyses.close()
        for thread in self._threads:
            thread.join()
        self._close_tap()

    def _close_tap(self) -> None:
        with self._closing_tap:  # no spectrum is being read
            self._tap.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def spectrum(self, name: LineName, pixel: int) -> NDArray[Any] | None:
        """Copy of the spectrum of a line at a cross-track pixel; None if the line is no longer in memory."""
        with self._closing_tap:
            return None if self._tap.is_closed else self._tap.read(name, lambda line: line[pixel].copy())

    def stop(self) -> None:
        """Request a clean stop of the recording. Does not block; see `state`."""
        self._send("stop", Stop())

    def mark(self, text: str) -> None:
        """Request a mark at this moment. Does not block."""
        self._send("mark", Mark(text, time.monotonic_ns()))

    def _send(self, what: str, message: Request[Any]) -> None:
        GuardedThread(self._request, what, message, name=f"viewer's {what}", failure=f"{what} request not sent").start()

    def _request(self, what: str, message: Request[Any]) -> None:
        try:
            request(self.path, message)
        except OSError as error:
            logger.warning("no response to the %s request: %s", what, error)
        except RecordingError as error:
            logger.warning("%s request refused: %s", what, error)

    def _note_failure(self, _: BaseException) -> None:
        self._has_failed = True  # the page shows it, and ends when no browser is connected

    # ---- the status thread ----

    def _read_status(self) -> None:
        while not self.is_over:
            self._request_glance()
            if self._closing.wait(GLANCE_INTERVAL_S if self.state == "running" else GLANCE_INTERVAL_AT_END_S):
                return

    def _request_glance(self) -> None:
        try:
            self.glance = request(self.path, AskGlance()).answer
        except RecordingError:  # the camera is closed
            self._state = "ended"
        except OSError as error:
            if not self.path.exists():  # its owner removes it before it stops answering
                self._state = "ended"
            else:
                self._state = "died" if isinstance(error, ConnectionRefusedError) else "silent"
        else:
            self._state = self.glance.phase

    # ---- the sampling thread ----

    def _sample(self) -> None:
        while not self._closing.wait(SAMPLE_INTERVAL_S):
            was_over = self.is_over  # read first, so that the last lines are shown as well
            self._read_lines()
            if was_over:
                self._close_tap()  # the next recording may need the memory
                return

    def _read_lines(self) -> None:
        self.slots = self._tap.slots()
        names = self._tap.since(self.newest, max(4, min(MAX_LINES, int(SAMPLE_COST_S / self._line_s))))
        begun = time.perf_counter()
        means, seen = [], []
        for name in names:
            mean = self._tap.read(name, lambda line: colours_of(line, self._bands, self.history.step))
            if mean is not None:
                means.append(mean)
                seen.append(name)
        if seen:
            self._line_s += 0.2 * ((time.perf_counter() - begun) / len(names) - self._line_s)
            time_ns, anchor = self._tap.column(seen[-1], "time_ns"), self._tap.anchor(seen[-1])
            if time_ns is not None and anchor is not None:
                self.newest_monotonic_ns = time_ns - anchor.wall_ns + anchor.monotonic_ns
            self.history.append(means, seen)
            self.newest = seen[-1]
            self._update_facts(seen[-1])
        self._append_trend_point()

    def _update_facts(self, name: LineName) -> None:
        now = time.monotonic()
        if now - self._facts_at > self._facts_interval_s:
            self._facts_at = now
            line = self._tap.read(name, np.copy)
            if line is not None:
                self.facts = facts_of(line, self.about.full_scale)

    def _append_trend_point(self) -> None:
        now = time.monotonic()
        if now - self._trend_point_at >= 1 and self.newest is not None and not self.is_over:
            self._trend_point_at = now
            temperature = self._tap.column(self.newest, "temperature")
            celsius = float("nan") if temperature is None else float(temperature)
            values = values_of(self.glance.status.channels)
            self.trend_points.append(TrendPoint(time.monotonic_ns(), celsius, values))


def facts_of(line: NDArray[Any], full_scale: int | None) -> LineFacts:
    """Measure exposure and focus of a line, (cross-track, wavelength)."""
    values = line[np.isfinite(line)] if line.dtype.kind == "f" else line
    top = float(full_scale or (np.max(values) if values.size else 1) or 1)
    counts, edges = np.histogram(values, N_BINS, (min(0.0, float(values.min(initial=0))), top * (1 + 1e-9)))
    return LineFacts(counts, edges, share_saturated(line, full_scale), focus_of(line))
