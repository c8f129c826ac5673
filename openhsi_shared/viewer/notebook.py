"""A live view in a notebook cell, updated while other cells run and while the kernel is idle.

Images are rendered in a thread of the kernel and sent over the notebook's own connection: no internet is needed, and
remote notebooks work as local ones. Lines are read through a tap, which does not affect the recording.
"""

import io
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.tap import LineName, Tap
from openhsi_shared.control.messages import Slots
from openhsi_shared.control.status import ChannelStatus, Status
from openhsi_shared.errors import ClosedError, OpenHSIError, PackageMissing
from openhsi_shared.processes.supervision import GuardedThread
from openhsi_shared.rgb import preview_bands
from openhsi_shared.viewer.channel_values import label_of, values_of
from openhsi_shared.viewer.curve import curve_picture
from openhsi_shared.viewer.history import History, colours_of

__all__ = ["LiveCell", "display", "ipywidgets_or_raise", "jpeg", "live_cell"]

INTERVAL_S = 0.25
PAUSE_FACTOR = 4.0
"""The pause is at least this many times the update: the camera's loop may run in the same interpreter."""
MAX_LINES = 64
"""Lines shown of those since the last update, evenly sampled."""
WINDOW = 512
"""Lines in the picture."""
JPEG_QUALITY = 85
CLOSE_TIMEOUT_S = 5.0
CURVE_INTERVAL_S = 1.0
N_VALUES = 900
"""Of a channel, in its curve: a quarter of an hour."""


class Watched(Protocol):
    """A camera or recording whose status a live cell shows."""

    def status(self) -> Status:
        """Current status."""


W = TypeVar("W", bound=Watched)


def live_cell(
    watched: W, slots: Slots, descriptors: Sequence[int], is_over: Callable[[W], bool] = lambda _: False
) -> "LiveCell":
    """Create the live cell of a camera or recording, by a weak reference; see `LiveCell`.

    It ends when `is_over(watched)` is true, when `watched` is garbage-collected, or when its status raises.
    """
    reference, name = weakref.ref(watched), slots.about.camera

    def read_status() -> tuple[Status, bool]:
        alive = reference()
        if alive is None:
            raise ClosedError(f"the {name} no longer exists")
        is_last = is_over(alive)  # read first, so that the status read afterwards is the last one
        return alive.status(), is_last

    return LiveCell(slots, descriptors, read_status)


class LiveCell:
    """Image, spectrum and counters in a notebook, until `close`, or until the camera or recording ends."""

    def __init__(
        self, slots: Slots, descriptors: Sequence[int], read_status: Callable[[], tuple[Status, bool]]
    ) -> None:
        """Show the lines of `slots`, and close the descriptors. PackageMissing without ipywidgets.

        `read_status` returns the status and whether it is the last one. It is called in a thread; an OpenHSIError is
        shown, and ends the cell.
        """
        self._tap = Tap(slots.export, descriptors)
        try:
            self._make_widgets(ipywidgets_or_raise(), self._tap.layout.line_shape[0])
        except BaseException:
            self._tap.close()
            raise
        n_cross, n_bands = self._tap.layout.line_shape
        wavelengths = slots.about.wavelengths_nm
        self._bands = preview_bands(wavelengths, n_bands)
        self._wavelengths = np.arange(n_bands, dtype=float) if wavelengths is None else np.asarray(wavelengths, float)
        self._label = "band" if wavelengths is None else "wavelength / nm"
        self._top: float | None = slots.about.full_scale
        self._history = History(WINDOW, n_cross, len(self._bands))
        self._read_status = read_status
        self._values: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=N_VALUES)
        self._curve_at = float("-inf")
        self._newest: LineName | None = None
        self.n_updates = 0
        """Number of updates with new lines."""
        self._shown_in: Any = None
        self._closing = threading.Event()
        self._thread = GuardedThread(
            self._run, name="live cell", failure="live cell failed", on_failure=self._show_failure
        )
        self._thread.start()

    def _make_widgets(self, widgets: Any, n_cross: int) -> None:
        wide = widgets.Layout(width="auto", max_width="640px", border="1px solid #ddd")
        self.image = widgets.Image(value=jpeg(np.zeros((n_cross, WINDOW, 3), np.uint8)), format="jpeg", layout=wide)
        """The last lines: cross-track down, along-track to the right, newest line at the right edge."""
        self.spectrum = widgets.Image(value=jpeg(np.full((240, 420, 3), 255, np.uint8)), format="jpeg")
        """Of the newest line, at the selected pixel."""
        self.pixel = widgets.IntSlider(
            value=n_cross // 2, min=0, max=n_cross - 1, description="pixel", continuous_update=False
        )
        """Cross-track pixel of the spectrum."""
        self.fill = widgets.FloatProgress(value=0.0, min=0.0, max=1.0, description="cube")
        self.counters = widgets.HTML("waiting for the first line")
        self.channel = widgets.Dropdown(options=[], description="channel", layout=widgets.Layout(display="none"))
        """Which value of a channel `curve` shows; hidden without channels."""
        self.curve = widgets.Image(value=b"", format="jpeg", layout=widgets.Layout(display="none"))
        """Its last values over time; hidden without channels."""
        beside = widgets.VBox([self.spectrum, self.pixel, self.fill])
        self.box = widgets.VBox(
            [self.counters, widgets.HBox([self.image, beside]), widgets.VBox([self.channel, self.curve])]
        )
        """The complete widget, for use in other layouts."""

    def show(self) -> Self:
        """Display it in the current cell, if this is a notebook; returns itself."""
        self._ipython_display_()
        return self

    def _ipython_display_(self) -> None:
        """Display once per cell: `cam.live()` displays itself, and may also be the last expression of the cell."""
        shell = _shell()
        if shell is not None and self._shown_in != shell.execution_count:
            self._shown_in = shell.execution_count
            display(self.box)

    @property
    def is_running(self) -> bool:
        """Whether it is still updated."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop updating; the last state stays displayed. Idempotent. Blocks for one update at most."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the thread ----

    def _run(self) -> None:
        pause = 0.0
        try:
            while not self._closing.wait(pause):
                begun = time.monotonic()
                if self._update():
                    break
                pause = max(INTERVAL_S, PAUSE_FACTOR * (time.monotonic() - begun))
            else:
                self._update()  # the last lines
        finally:
            self._tap.close()

    def _show_failure(self, error: BaseException) -> None:
        self.counters.value = f"ended: {escape(str(error), quote=False)}"

    def _update(self) -> bool:
        """Show new data; True if no more will arrive."""
        colour = "inherit"
        try:
            status, is_over = self._read_status()
        except OpenHSIError as error:
            text, is_over = str(error), True
        else:
            text, self.fill.value = str(status), status.fill
            self._update_channels(status.channels)
            colour = "#c00" if status.lines_lost else colour
        if self._read_lines():
            self._paint()
        self.counters.value = ("<b>ended</b> " if is_over or self._closing.is_set() else "") + (
            f'<span style="color:{colour}">{escape(text, quote=False)}</span>'
        )
        return is_over

    def _update_channels(self, channels: Mapping[str, ChannelStatus]) -> None:
        """Note the newest values, and draw those of the selected one, once a second."""
        now = time.monotonic()
        if not channels or now - self._curve_at < CURVE_INTERVAL_S:
            return
        self._curve_at = now
        values = values_of(channels)
        if not self.channel.options:
            self.channel.options = list(values)
            self.channel.layout.display = self.curve.layout.display = None
        self._values.append((now, values))
        name = self.channel.value
        times = np.array([at - now for at, _ in self._values])
        curve = np.array([known.get(name, np.nan) for _, known in self._values])
        label = f"{label_of(name, channels)}; seconds ago"
        self.curve.value = jpeg(curve_picture(times, curve, label, (840, 200), over_time=True))

    def _read_lines(self) -> bool:
        """Read new lines; True if there were any."""
        means, seen = [], []
        for name in self._tap.since(self._newest, MAX_LINES):
            mean = self._tap.read(name, lambda line: colours_of(line, self._bands, self._history.step))
            if mean is not None:
                means.append(mean)
                seen.append(name)
        if seen:
            self._history.append(means, seen)
            self._newest = seen[-1]
        return bool(seen)

    def _paint(self) -> None:
        strip = self._history.before(self._history.n_seen, WINDOW).pixels
        rgba = strip.view(np.uint8).reshape(*strip.shape, 4)
        picture = np.zeros((strip.shape[1], WINDOW, 3), np.uint8)
        picture[:, WINDOW - len(strip) :] = rgba[..., :3].swapaxes(0, 1)
        self.image.value = jpeg(picture)
        pixel = self.pixel.value
        spectrum = self._newest and self._tap.read(self._newest, lambda line: line[pixel].copy())
        if spectrum is not None:
            self.spectrum.value = jpeg(curve_picture(self._wavelengths, spectrum, self._label, top=self._top))
        self.n_updates += 1


def ipywidgets_or_raise() -> Any:
    """Import ipywidgets. PackageMissing without it."""
    try:
        import ipywidgets
    except ImportError as error:
        raise PackageMissing(
            f"live() needs the package {error.name!r}: pip install 'openhsi_shared[notebook]', and restart the kernel"
        ) from error
    return ipywidgets


def display(box: Any) -> None:
    """Display a widget in the current cell, if this is a notebook."""
    if _shell() is not None:
        from IPython.display import display as display_here

        display_here(box)  # type: ignore[no-untyped-call]


def _shell() -> Any:
    """The shell of the kernel of this process, or None."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    return shell if shell is not None and hasattr(shell, "kernel") else None


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture, (down, across, RGB)."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
