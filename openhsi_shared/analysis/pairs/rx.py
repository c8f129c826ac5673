"""Anomalies by Reed and Xiaoli: pixels whose spectrum is far from those before.

Costs of the reducer: 2 ms for 604 x 159, 50 ms for 644 x 800; there let workers put bands together (`bin_bands`).
"""

import heapq
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.pairs.lines import NewestRows, pixels_of
from openhsi_shared.analysis.parameters import IntParameter
from openhsi_shared.errors import ArgumentError
from openhsi_shared.moments import NO_PIXELS, Background, background_of, joined, moments_of

__all__ = ["RxReducer", "RxWorker"]
MAX_LATE = 256  # results that the reducer puts in order by itself, so that `ordered` is not needed


class RxWorker:
    """Sends the spectra of a line, with fewer bands."""

    @staticmethod
    def describe_parameters() -> list[IntParameter]:
        """How many bands become one."""
        return [IntParameter("bin_bands", "neighbouring bands whose mean is taken", 1, minimum=1)]

    def process_event(self, event: Event, parameters: Mapping[str, Any]) -> NDArray[Any] | None:
        """Means of `bin_bands` neighbouring bands; a rest at the end is left out."""
        line, width = pixels_of(event), parameters["bin_bands"].value
        if line is None or width == 1:
            return line
        n_bands = max(1, line.shape[1] // width)
        return np.asarray(line[:, : n_bands * width].reshape(len(line), n_bands, -1).mean(axis=2))


class RxReducer:
    """Publishes `distance`, (line, cross-track), of the newest 2,048 lines, and `largest`, of the newest one.

    The squared Mahalanobis distance of each pixel, as of the stage `rx` of jobs and of Spectral Python, by mean and
    covariance of the first `n` lines. After each `n` lines, these are added to the background of those that follow.
    Lines that come later than 256 others are measured, but no part of the background, and counted in `n_late`. If there
    is no covariance, for too few pixels or equal ones, `no_background` says why, and more lines are taken.
    """

    def __init__(self) -> None:
        self.publish: dict[str, Any] = {"n_lines": 0, "n_background": 0, "n_late": 0}
        self._newest = NewestRows()
        self._pending: dict[int, NDArray[Any]] = {}
        self._order: list[int] = []  # a heap
        self._unmeasured: deque[tuple[int, NDArray[Any]]] = deque(maxlen=2048)
        self._last, self._n_since, self._moments = -1, 0, NO_PIXELS
        self._background: Background | None = None

    @staticmethod
    def describe_parameters() -> list[IntParameter]:
        """The size of the background."""
        return [IntParameter("n", "lines of the first background, and between two of its updates", 256, minimum=1)]

    def process_result(self, result: Any, parameters: Mapping[str, Any]) -> None:
        """Take the next line, in the order of their numbers."""
        if result.event_number not in self._pending:  # the first event of a stream comes from each worker
            self._pending[result.event_number] = result.payload
            heapq.heappush(self._order, result.event_number)
        if len(self._order) > MAX_LATE:
            self._take(parameters["n"].value)

    def finish(self, parameters: Mapping[str, Any]) -> None:
        """Take the lines that are left; fewer than `n` are their own background. ArgumentError if they are too few."""
        while self._order:
            self._take(parameters["n"].value)
        if self._background is None and self._moments.n:
            self._renew()
        self._update()

    def timer(self) -> float:
        """Publish what there is, five times a second."""
        self._update()
        return 0.2

    def _take(self, n: int) -> None:
        number = heapq.heappop(self._order)
        line = self._pending.pop(number)
        self.publish["n_lines"] += 1
        if self._background is not None:
            self._newest.put(number, self._background.distances(line))
        else:
            self._unmeasured.append((number, line))
        if number < self._last:
            self.publish["n_late"] += 1
            return
        self._last = number
        self._moments = joined(self._moments, moments_of(line))
        self._n_since += 1
        if self._n_since >= n:
            try:
                self._renew()
            except ArgumentError as error:  # too few pixels yet, or all alike: again after n more
                self.publish["no_background"] = str(error)
                self._n_since = 0

    def _renew(self) -> None:
        self._background = background_of(self._moments)
        self.publish["n_background"] = self.publish["n_lines"] - self.publish["n_late"]
        self._n_since = 0
        for number, line in self._unmeasured:
            self._newest.put(number, self._background.distances(line))
        self._unmeasured.clear()

    def _update(self) -> None:
        rows = self._newest.rows
        if len(rows):
            largest = float(np.fmax.reduce(rows[-1]))
            self.publish.update(distance=rows, largest=largest, event_number=self._newest.numbers)
