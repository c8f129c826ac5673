"""Where frames come from: what the loop needs of a camera, and which cameras there are.

A driver talks to one vendor's SDK, in one file, which is imported only when its camera is opened. Packages of others
add theirs by an entry point in the group `openhsi_shared.drivers`; their authors run
`openhsi_shared.testing.CameraContract`.
"""

import inspect
from collections.abc import Callable, Mapping
from enum import IntEnum
from importlib import metadata
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import DriverMissing
from openhsi_shared.settings import nearest_name

__all__ = [
    "DRIVERS",
    "Driver",
    "FrameSource",
    "FrameStamp",
    "FrameStatus",
    "HasProvenance",
    "HasTemperature",
    "driver_class",
    "driver_names",
    "needed_options",
]

DRIVERS = {
    "simulated": "openhsi_shared.drivers.simulated:SimulatedDriver",
    "replay": "openhsi_shared.drivers.replay:ReplayDriver",
    "basler": "openhsi_shared.drivers.basler:BaslerDriver",
    "ximea": "openhsi_shared.drivers.ximea:XimeaDriver",
    "flir": "openhsi_shared.drivers.flir:FlirDriver",
    "lucid": "openhsi_shared.drivers.lucid:LucidDriver",
    "hikrobot": "openhsi_shared.drivers.hikrobot:HikrobotDriver",
    "genicam": "openhsi_shared.drivers.genicam:GenICamDriver",
    "web": "openhsi_shared.drivers.web:WebDriver",
}
"""Our own: name to class. Those of other packages are found by their entry points."""

EXTRAS = ("basler", "genicam", "web")
"""Drivers whose packages pip brings, by extras of the same names; the others say where theirs come from."""
ENTRY_POINT_GROUP = "openhsi_shared.drivers"


class FrameStatus(IntEnum):
    """What the camera says of a frame."""

    GOOD = 0
    INCOMPLETE = 1
    """Its data did not arrive whole: the frame is counted as lost."""


class FrameStamp(NamedTuple):
    """What came with a frame. Whatever a camera does not know is None."""

    frame_id: int | None = None
    """The camera's own counter, as it counts (not unwrapped)."""
    monotonic_ns: int | None = None
    """Middle of the exposure on the host's `time.monotonic_ns()`.

    None: the loop takes the arrival, less half the exposure.
    """
    camera_ns: int | None = None
    """The camera's own clock."""
    status: FrameStatus = FrameStatus.GOOD


class FrameSource(Protocol):
    """What the loop takes frames from."""

    frame_id_period: int | None
    """How many frame ids there are before they begin again (GigE Vision: 65535). None: they never do."""

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Wait for the next frame, oldest first, and fill `out` (`frame_shape`, `frame_dtype`, C order) with it.

        Raises FrameTimeout after `timeout_s`, CameraLost when the camera has gone, SourceEnded at the end of a source.
        """
        ...


class Driver(FrameSource, Protocol):
    """A camera, as its driver makes it look.

    Made with the settings and the options of its kind, `Driver(settings, *, option=...)`; nothing is touched before
    `open`. All calls but `temperature_celsius` come from one thread. What the vendor's package raises becomes a
    CameraError.
    """

    frame_shape: tuple[int, int]
    """(rows, columns) = (cross-track, wavelength) of a frame; true once open."""
    frame_dtype: np.dtype[Any]
    """Type of a pixel; true once open."""

    def open(self) -> None:
        """Connect and configure. DriverMissing, CameraNotFound or CameraError; calling it twice is once."""

    def start(self) -> None:
        """Begin to stream frames; calling it twice is once. A queue is emptied: old frames never come."""

    def set_exposure(self, exposure_ms: float) -> float:
        """Set the exposure, also while streaming; return the one that the camera really takes."""

    def stop(self) -> None:
        """Stop streaming; calling it twice is once."""

    def close(self) -> None:
        """Give everything back, streaming or not; calling it twice is once."""


@runtime_checkable
class MayNotKnowExposure(Protocol):
    """A camera, or a file, that may not tell how long its frames were exposed."""

    exposure_is_known: bool
    """Whether `set_exposure` returns what is true; itself true once open."""


@runtime_checkable
class HasTemperature(Protocol):
    """A camera that knows how warm its sensor is."""

    def temperature_celsius(self) -> float:
        """Return the temperature now, or NaN; called from a thread of its own, about once a second."""


@runtime_checkable
class HasProvenance(Protocol):
    """A camera that has more to tell in the attributes of its files."""

    def provenance(self) -> Mapping[str, Any]:
        """Return attributes; asked at every save, between two lines, so it must not ask the camera."""


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}


def driver_names() -> list[str]:
    """Names of all drivers, installed or not, ours and those of other packages."""
    return sorted({*DRIVERS, *_entry_points()})


def driver_class(name: str) -> Callable[..., Driver]:
    """Import the driver called `name`. DriverMissing if there is none, or if its vendor's package is not there."""
    found = _entry_points()
    point = metadata.EntryPoint(name, DRIVERS[name], ENTRY_POINT_GROUP) if name in DRIVERS else found.get(name)
    if point is None:
        raise DriverMissing(
            f"there is no driver called {name!r}{nearest_name(name, driver_names())}; there are {driver_names()}"
        )
    try:
        loaded: Callable[..., Driver] = point.load()
    except ImportError as error:
        missing = getattr(error, "name", None) or error
        way = f"; pip install 'openhsi_shared[{name}]'" if name in EXTRAS else ""
        raise DriverMissing(f"camera {name!r} needs the package {str(missing)!r}: {error}{way}") from error
    return loaded


def needed_options(make: Callable[..., Driver]) -> list[str]:
    """Options without which a driver cannot be made."""
    parameters = inspect.signature(make).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
