"""What the ready pairs have in common: the pixels of an event, and the newest rows by their numbers."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.analysis.events import Event

__all__ = ["NewestRows", "pixels_of"]


def pixels_of(event: Event) -> NDArray[Any] | None:
    """The line of an event (cross-track, wavelength); None for the header and the end of a stream.

    Of captures of other programs, the first image of two axes in a STINS stream.
    """
    if event.line is not None:
        return event.line.data
    for stream in event.streams.values():
        data = getattr(stream.parse(), "data", None) if stream.typ == "STINS" else None
        if data is not None and data.ndim == 2:
            return data  # type: ignore[no-any-return]
    return None


class NewestRows:
    """One row for each line, of the newest lines: a waterfall, or a history. Rows may come in any order."""

    def __init__(self, n_rows: int = 2048) -> None:
        """Memory for `n_rows` rows is taken when the first one comes."""
        self._numbers = np.full(n_rows, -1, np.int64)
        self._rows: NDArray[np.float32] | None = None

    def put(self, number: int, row: ArrayLike) -> bool:
        """Store the row of an event, if it is among the newest. False if it is there already."""
        values = np.asarray(row, np.float32)
        if self._rows is None:
            self._rows = np.full((len(self._numbers), *values.shape), np.nan, np.float32)
        place = number % len(self._numbers)
        if number > self._numbers[place]:
            self._rows[place] = values
            self._numbers[place] = number
            return True
        return bool(number < self._numbers[place])

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Event numbers of the rows, rising."""
        return self._numbers[self._order()]

    @property
    def rows(self) -> NDArray[np.float32]:
        """The rows, in the order of their numbers; a copy."""
        return np.zeros((0, 0), np.float32) if self._rows is None else self._rows[self._order()]

    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self._numbers)[np.count_nonzero(self._numbers < 0) :]
