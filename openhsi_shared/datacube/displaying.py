"""Displays a cube while it is filled, and afterwards: arrays, times, pictures, pages."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.buffers.arrays import CircArrayBuffer
from openhsi_shared.buffers.slot_array import SlotArray
from openhsi_shared.buffers.slot_memory import SlotMemory
from openhsi_shared.buffers.times import LineTimes
from openhsi_shared.control.status import Status
from openhsi_shared.datacube.control_server import ControlServer, ServedRecording, socket_of
from openhsi_shared.datacube.engine import CubeEngine
from openhsi_shared.datacube.marking import Marking
from openhsi_shared.datacube.transforming import Transforming
from openhsi_shared.processes.scheduling import scheduling_of

if TYPE_CHECKING:
    from openhsi_shared.analysis.live.hosting import HostedReaders, SlotReader
    from openhsi_shared.viewer.live_page import LivePage
    from openhsi_shared.viewer.notebook import LiveCell

__all__ = ["Displaying"]


class Displaying(Transforming, Marking):
    """Displays the cube being filled, or until its first line the one before it, also after `close`."""

    n_lines: int
    """Lines of a cube."""
    wavelengths_nm: NDArray[Any] | None
    """Wavelength of each band in nm, or None without a calibration."""
    _engine: CubeEngine

    def put(self, x: ArrayLike) -> None:
        """Make a frame the next line."""
        raise NotImplementedError

    # ---- arrays ----

    @property
    def dc(self) -> CircArrayBuffer:
        """The circular array of the cube that one sees; `dc.data` is (cross-track, along-track, wavelength), read-only.

        Before the first line it is that of the slot to be filled, or an array of one line without data if none is free.
        """
        cube = self._engine.visible()
        if cube is not None:
            return cube.array(self.put)
        self._engine.check_usable()
        slot = self._engine.filler.slot
        if slot is None:
            slot = self._engine.filler.peek_free()
        if slot is None:
            rows, bands = self._plan.line_shape
            return CircArrayBuffer((rows, 1, bands), 1, self._plan.line_dtype)
        return SlotArray(self._engine.slots, slot, self.put)

    @property
    def dc_shape(self) -> tuple[int, int, int]:
        """(cross-track, along-track, wavelength) of a full cube."""
        rows, bands = self._plan.line_shape
        return rows, self.n_lines, bands

    @property
    def binned_wavelengths(self) -> NDArray[Any]:
        """Wavelength of each band in nm, or its index without calibration."""
        return np.arange(self._plan.line_shape[1]) if self.wavelengths_nm is None else self.wavelengths_nm

    @property
    def timestamps(self) -> LineTimes:
        """Times of the lines of the cube that one sees; `timestamps.data` is datetime64[ns] in UTC."""
        self._check_visible()
        return LineTimes(self.n_lines, lambda: self._column("time_ns", np.int64))

    @property
    def cam_temperatures(self) -> CircArrayBuffer:
        """Temperatures of the lines of the cube that one sees, in degrees Celsius: a copy, `data` in time order.

        Before the first line it is one NaN.
        """
        self._check_visible()
        values = self._column("temperature", np.float32)
        buffer = CircArrayBuffer((max(1, len(values)),), 0, np.float32)
        for value in values if len(values) else [float("nan")]:
            buffer.put(value)
        return buffer

    def _column(self, name: str, dtype: type) -> NDArray[Any]:
        cube = self._engine.visible()
        return np.zeros(0, dtype) if cube is None else cube.column(name).astype(dtype)

    def _check_visible(self) -> None:
        if self._engine.visible() is None:
            self._engine.check_usable()

    @property
    def n_collected(self) -> int:
        """Number of lines in the cube being filled."""
        return 0 if self._engine.is_closed else self._engine.filler.n_lines()

    @property
    def lines(self) -> NDArray[Any]:
        """Copy of the lines of the cube that one sees, (along-track, cross-track, wavelength), in time order."""
        cube = self._engine.visible()
        return self._engine.lines_so_far()[:] if cube is None else cube.lines[:]

    # ---- openhsi's names ----

    @property
    def directory(self) -> Path | None:
        """The folder of the day into which the last cube was saved, or None before the first save."""
        return self._engine.last.folder() if self._engine.last is not None else None

    @property
    def proc_lvl(self) -> int:
        """The processing level."""
        return self.processing_lvl

    # ---- displays ----

    def _scheduling_in_words(self) -> str:
        """Scheduling of the thread that captures, for the status."""
        return scheduling_of(os.getpid())

    def status(self) -> Status:
        """Current status, as a frozen snapshot."""
        return self._engine.status(self._temperature(), self._scheduling_in_words())

    def _temperature(self) -> float:
        return float("nan")

    def show(
        self,
        plot_lib: str = "bokeh",
        red_nm: float | tuple[float, float] = 640.0,
        green_nm: float | tuple[float, float] = 550.0,
        blue_nm: float | tuple[float, float] = 470.0,
        robust: bool | float | None = None,
        hist_eq: bool = False,
        quick_imshow: bool = False,
        **plot_kwargs: Any,
    ) -> Any:
        """Show the lines there are, in colour where there are wavelengths; see `openhsi_shared.show.show_lines`."""
        from openhsi_shared.show import show_lines

        cube = self._engine.visible()
        return show_lines(
            self._engine.lines_so_far() if cube is None else cube.lines,
            self.wavelengths_nm,
            plot_lib=plot_lib,
            red_nm=red_nm,
            green_nm=green_nm,
            blue_nm=blue_nm,
            robust=robust,
            hist_eq=hist_eq,
            quick_imshow=quick_imshow,
            **plot_kwargs,
        )

    def view(self, *, open_browser: bool = True, port: int = 0) -> "LivePage":
        """Open the live page in a browser, served by a separate process, and return its handle at once.

        It shows the collected lines, and never blocks the collection; it ends with this program, with `close` of the
        handle, and when the camera is closed and no browser shows the page. `port` 0 is any free port. Raises
        ArgumentError for a port in use, RecordingError if the system has no control sockets, PackageMissing without
        bokeh.
        """
        from openhsi_shared.viewer.live_page import LivePage

        return LivePage(socket_of(self._engine, self.control_server()), open_browser=open_browser, port=port)

    def live(self) -> "LiveCell":
        """Show image, spectrum and counters in a notebook's cell, and keep them up to date until this is closed.

        Returns at once; other cells may run meanwhile. Raises PackageMissing without ipywidgets (the extra `notebook`),
        RecordingError if the system has no control sockets.
        """
        from openhsi_shared.viewer.notebook import live_cell

        cell = live_cell(self, *self.control_server().slots())
        self._engine.at_close.callback(cell.close)
        return cell.show()

    def control_server(self, recording: ServedRecording | None = None) -> ControlServer:
        """What answers requests of other programs about this camera, or about the `recording` that has it."""
        self._engine.check_usable()
        return ControlServer(self._engine, self, recording)

    def host_readers(self, made: "Callable[[SlotMemory], Sequence[SlotReader]]") -> "HostedReaders":
        """Start children that read the slots, before the first line."""
        self._engine.check_usable()
        slots = self._engine.slots
        from openhsi_shared.analysis.live.hosting import HostedReaders  # not above: few recordings have any

        return HostedReaders(slots, made(slots.memory), self._engine.filler.lost_to)

    def _repr_html_(self) -> str:
        from openhsi_shared.show import table_of_camera

        return table_of_camera(self, None if self._engine.is_closed else self._engine.lines_so_far())
