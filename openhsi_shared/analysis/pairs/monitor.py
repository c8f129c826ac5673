"""Exposure and focus, line by line: pixels that are saturated, and how sharp the picture is."""

from collections.abc import Mapping
from typing import Any

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.pairs.lines import NewestRows, pixels_of
from openhsi_shared.analysis.parameters import FloatParameter
from openhsi_shared.exposure import focus_of, share_saturated

__all__ = ["MonitorReducer", "MonitorWorker"]


class MonitorWorker:
    """Measures each line."""

    def process_event(self, event: Event) -> tuple[float, float] | None:
        """Saturated pixels in percent (NaN if full scale is unknown), and focus, as on the live page."""
        line = pixels_of(event)
        if line is None:
            return None
        full_scale = event.about.full_scale if event.about else None
        return 100 * share_saturated(line, full_scale), focus_of(line)


class MonitorReducer:
    """Publishes `saturated_percent` and `focus` of the newest line and of the newest 2,048, and `n_saturated_lines`.

    Focus is the mean step between cross-track neighbours in percent of the mean: compare it for one scene only.
    """

    def __init__(self) -> None:
        self.publish: dict[str, Any] = {"n_lines": 0, "n_saturated_lines": 0}
        self._newest = NewestRows()

    @staticmethod
    def describe_parameters() -> list[FloatParameter]:
        """When a line counts as saturated."""
        text = "share of saturated pixels from which on a line is counted, in percent"
        return [FloatParameter("limit_percent", text, 0.1, minimum=0.0, maximum=100.0)]

    def process_result(self, result: Any, parameters: Mapping[str, Any]) -> None:
        """Store the figures of a line."""
        if self._newest.put(result.event_number, result.payload):
            self.publish["n_lines"] += 1
            saturated, _ = result.payload
            self.publish["n_saturated_lines"] += int(saturated >= parameters["limit_percent"].value)

    def timer(self) -> float:
        """Publish what there is, twice a second."""
        self._update()
        return 0.5

    def finish(self) -> None:
        """Publish the result."""
        self._update()

    def _update(self) -> None:
        rows = self._newest.rows
        if len(rows):
            self.publish.update(saturated_percent=float(rows[-1, 0]), focus=float(rows[-1, 1]))
            self.publish["history"] = {"saturated_percent": rows[:, 0], "focus": rows[:, 1]}
            self.publish["history"]["event_number"] = self._newest.numbers
