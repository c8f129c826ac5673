"""Spectral index of each pixel, as a waterfall: NDVI, a band ratio, or another formula."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.pairs.lines import NewestRows, pixels_of
from openhsi_shared.analysis.parameters import StrParameter
from openhsi_shared.errors import ArgumentError
from openhsi_shared.indices import parse_formula

__all__ = ["IndexReducer", "IndexWorker"]


class IndexWorker:
    """Computes the index, as the stage `index` of jobs does."""

    def __init__(self) -> None:
        self._found: tuple[Any, ...] = (None, None)

    @staticmethod
    def describe_parameters() -> list[StrParameter]:
        """The formula."""
        return [StrParameter("formula", "ndvi, ndwi, pri, or such as R800/R670; R and wavelengths in nm", "ndvi")]

    def process_event(self, event: Event, parameters: Mapping[str, Any]) -> NDArray[np.float32] | None:
        """One value a pixel; NaN where the formula has no finite value. ArgumentError without its wavelengths."""
        line = pixels_of(event)
        if line is None:
            return None
        wavelengths = event.about.wavelengths_nm if event.about else None
        text = parameters["formula"].value
        if wavelengths is None:
            raise ArgumentError(f"the index {text!r} needs the wavelengths of the bands, which are unknown here")
        if self._found[0] != text or self._found[1] is not wavelengths:  # the formula or the cube is another one
            formula = parse_formula(text)
            self._found = (text, wavelengths, formula, formula.bands(wavelengths))
        formula, bands = self._found[2:]
        with np.errstate(over="ignore"):
            values: NDArray[np.float32] = formula.of_lines(line[np.newaxis], bands)[0].astype(np.float32)
        values[~np.isfinite(values)] = np.nan
        return values


class IndexReducer:
    """Publishes the `index` of the newest 2,048 lines, (line, cross-track), and the `mean` of the newest one."""

    def __init__(self) -> None:
        self.publish: dict[str, Any] = {"n_lines": 0}
        self._newest = NewestRows()

    def process_result(self, result: Any) -> None:
        """Store the values of a line."""
        if self._newest.put(result.event_number, result.payload):
            self.publish["n_lines"] += 1

    def timer(self) -> float:
        """Publish what there is, five times a second."""
        self._update()
        return 0.2

    def finish(self) -> None:
        """Publish the result."""
        self._update()

    def _update(self) -> None:
        rows = self._newest.rows
        if len(rows):
            finite = rows[-1][np.isfinite(rows[-1])]
            self.publish["mean"] = float(finite.mean()) if finite.size else float("nan")
            self.publish["index"] = rows
            self.publish["event_number"] = self._newest.numbers
