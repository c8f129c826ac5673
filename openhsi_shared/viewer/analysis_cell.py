"""What an analysis publishes, in a cell of a notebook, updated while other cells run."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Self

import numpy as np

from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.snapshot import Snapshot
from openhsi_shared.errors import OpenHSIError
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.viewer.analysis_feed import INTERVAL_S, PAUSE_FACTOR, ask_published, continued
from openhsi_shared.viewer.curve import curve_picture
from openhsi_shared.viewer.notebook import display, ipywidgets_or_raise, jpeg
from openhsi_shared.viewer.published_values import COLOURS, curve, curves, numbers_as_html, picture, pictures

__all__ = ["AnalysisCell"]


class AnalysisCell:
    """Numbers, a curve and a picture, until `close`, or until the analysis ends; what was seen last stays."""

    def __init__(self, read_status: Callable[[], AnalysisStatus]) -> None:
        """Show the analysis whose status this returns. PackageMissing without ipywidgets."""
        widgets = ipywidgets_or_raise()
        self._read_status = read_status
        self._snapshot = Snapshot()
        self._trends: Mapping[str, deque[float]] = {}

        def hidden(width: str = "auto") -> Any:
            return widgets.Layout(display="none", width=width)

        self.numbers = widgets.HTML("waiting for the first result")
        """State, numbers with their trend, texts."""
        self.curve = widgets.Image(value=b"", format="jpeg", layout=hidden())
        self.picture = widgets.Image(value=b"", format="jpeg", layout=hidden("420px"))
        self.which_curve = widgets.Dropdown(options=[], description="curve", layout=hidden())
        """Path of what `curve` shows."""
        self.which_picture = widgets.Dropdown(options=[], description="picture", layout=hidden())
        """Path of what `picture` shows."""
        plots = [
            widgets.VBox([self.which_curve, self.curve]),
            widgets.VBox([self.which_picture, self.picture]),
        ]
        self.box = widgets.VBox([self.numbers, widgets.HBox(plots)])
        """The complete widget."""
        self._closing = threading.Event()
        self._thread = GuardedThread(
            self._run,
            name="cell of an analysis",
            failure="the cell of an analysis is no longer updated",
            on_failure=lambda error: self._show_failure(f"{type(error).__name__}: {error}"),
        )
        self._thread.start()

    def show(self) -> Self:
        """Display it in the current cell, if this is a notebook; returns itself."""
        display(self.box)
        return self

    @property
    def is_running(self) -> bool:
        """Whether it is still updated."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop updating. Idempotent. Blocks for one update at most."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        pause_s, is_over = 0.0, False
        while not is_over and not self._closing.wait(pause_s):
            begun = time.monotonic()
            is_over = self._update()
            pause_s = max(INTERVAL_S, PAUSE_FACTOR * (time.monotonic() - begun))

    def _show_failure(self, why: str) -> None:
        self.numbers.value = f"not updated: {escape(why, quote=False)}"

    def _update(self) -> bool:
        """Show what is published; True if nothing follows."""
        try:
            status = self._read_status()
            if status.socket and status.state in ("running", "ending"):
                self._snapshot = ask_published(status.socket)
        except (OSError, OpenHSIError) as error:
            self._show_failure(str(error))
            return not isinstance(error, OSError)
        self._trends = continued(self._trends, self._snapshot)
        self.numbers.value = numbers_as_html(status, self._snapshot, self._trends)
        named = {"": self._snapshot}
        if path := _chosen(self.which_curve, self.curve, [path for _, path in curves(named)]):
            now = curve(self._snapshot, path, None)
            self.curve.value = jpeg(curve_picture(now.x, now.y, now.label))
        if path := _chosen(self.which_picture, self.picture, [path for _, path in pictures(named)]):
            pixels = picture(self._snapshot.datasets()[path]).pixels
            self.picture.value = jpeg(np.ascontiguousarray(COLOURS[pixels]))
        return status.state in ("ended", "failed")


def _chosen(choice: Any, shown: Any, paths: list[str]) -> str:
    """Return what the user has chosen, else the first; "" if there is none."""
    if list(choice.options) != paths:
        before = choice.value
        choice.options = paths
        if paths:
            choice.value = before if before in paths else paths[0]
        choice.layout.display = shown.layout.display = None if paths else "none"
    return str(choice.value or "")
