"""What a notebook shows of a camera of its own: the lines so far, a table, a live cell."""

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.datacube.control_server import ControlServer
from openhsi_shared.datacube.shared_data_cube import SharedDataCube
from openhsi_shared.datacube.status import Status
from openhsi_shared.errors import ClosedError, RecordingError
from openhsi_shared.show import table, thumbnail
from openhsi_shared.viewer.notebook import Glance, LiveCell

__all__ = ["LinesSoFar", "glance_of", "html_of", "live_cell_of"]

if TYPE_CHECKING:
    from collections.abc import Callable


class LinesSoFar:
    """Lines of the cube being filled, in time order: what is asked for is copied, and not the whole cube."""

    def __init__(self, camera: SharedDataCube) -> None:
        """See the lines that there are now. ClosedError after `close`."""
        engine = camera._engine
        engine.check_usable()
        slot, slots = engine.filler.slot, engine.slots
        self._first, n_lines = (0, 0) if slot is None else slots.extent(slot)
        self._lines = slots.lines(slot or 0)
        self.shape = (n_lines, *slots.layout.line_shape)
        self.dtype: np.dtype[Any] = self._lines.dtype

    def __getitem__(self, lines: Any, /) -> NDArray[Any]:
        """Return a copy of the lines of a slice."""
        copied: NDArray[Any] = self._lines[(self._first + np.arange(self.shape[0])[lines]) % len(self._lines)]
        return copied


def html_of(camera: SharedDataCube) -> str:
    """Describe a camera in HTML: the cube being filled, with a small picture of it, and how it goes."""
    n_cross, n_lines, n_bands = camera.dc_shape
    exposure_ms = camera.settings["exposure_ms"]
    rows = [
        ("cube", f"{n_cross} x {n_lines} lines x {n_bands} {camera.dtype_out}, level {camera.processing_lvl}"),
        ("exposure", "not known" if exposure_ms is None else f"{exposure_ms} ms"),
    ]
    if camera._engine.is_closed:
        return table(f"{type(camera).__name__}, closed", rows + camera.status().rows())
    so_far = LinesSoFar(camera)
    rows.append(("collected", f"{so_far.shape[0]} of {n_lines} lines"))
    image = thumbnail(so_far, camera.wavelengths_nm) if so_far.shape[0] else None
    return table(type(camera).__name__, rows + camera.status().rows(), image)


def live_cell_of(camera: SharedDataCube) -> LiveCell:
    """Make the live cell of a camera of this process; it ends when the camera is closed, and does not keep it alive.

    RecordingError where the system has no descriptors of shared memory.
    """
    engine = camera._engine
    engine.check_usable()
    visitors = ControlServer(camera, "camera", lambda seen: seen._engine.last_directory, lambda seen: seen.status())
    try:
        words, descriptors = visitors.answer("slots")
    except (OSError, AttributeError) as error:
        raise RecordingError(f"this camera cannot be looked at: {error}; use show() instead") from error
    cell = LiveCell(words, descriptors, _glances_at(weakref.ref(camera)))
    engine.at_close.callback(cell.close)
    return cell.show()


def _glances_at(reference: "weakref.ref[SharedDataCube]") -> "Callable[[], Glance]":
    def glance() -> Glance:
        camera = reference()
        if camera is None:
            raise ClosedError("the camera is gone")
        return glance_of(camera.status())

    return glance


def glance_of(status: Status, is_over: bool = False) -> Glance:
    """Tell a status in one line."""
    return Glance(str(status), status.fill, status.lines_lost, is_over)
