"""Camera drivers: their interface, and the registry of available drivers.

A driver wraps one vendor's SDK, in one file, which is imported only when its camera is opened. Other packages add
drivers by an entry point in the group `openhsi_shared.drivers`; their authors run
`openhsi_shared.testing.CameraContract`.
"""

import inspect
from collections.abc import Callable, Mapping
from enum import IntEnum
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import DriverMissing
from openhsi_shared.near_names import nearest_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "DRIVERS",
    "Driver",
    "FrameSource",
    "FrameStamp",
    "FrameStatus",
    "HasFullScale",
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
"""Built-in drivers: name to class. Those of other packages are found by their entry points."""

EXTRAS = ("basler", "genicam", "web")
"""Drivers whose packages pip installs, by extras of the same names; error messages of the others name the source."""
ENTRY_POINT_GROUP = "openhsi_shared.drivers"


class FrameStatus(IntEnum):
    """Status of a frame, reported by the camera."""

    GOOD = 0
    """All of its data have arrived."""
    INCOMPLETE = 1
    """Some of its data are missing: the frame is counted as lost."""


class FrameStamp(NamedTuple):
    """Metadata of a frame. Values that the camera does not report are None."""

    frame_id: int | None = None
    """The camera's own frame counter (not unwrapped)."""
    monotonic_ns: int | None = None
    """Middle of the exposure on the host's `time.monotonic_ns()`.

    None: the loop uses the arrival time minus half the exposure.
    """
    camera_ns: int | None = None
    """The camera's own clock."""
    status: FrameStatus = FrameStatus.GOOD
    """Whether it is complete."""


class FrameSource(Protocol):
    """Source of frames for the capture loop."""

    frame_id_period: int | None
    """Number of frame ids before they wrap around (GigE Vision: 65535). None: never."""

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        """Wait for the next frame, oldest first, and fill `out` (`frame_shape`, `frame_dtype`, C order) with it.

        Raises FrameTimeout after `timeout_s`, CameraLost when the camera was disconnected, SourceEnded at the end.
        """
        ...


class Driver(FrameSource, Protocol):
    """Interface of a camera driver.

    Created with the settings and its own options, `Driver(settings, *, option=...)`; the hardware is not accessed
    before `open`. All calls except `temperature_celsius` are made from one thread. Exceptions of the vendor's package
    are converted to CameraError.
    """

    frame_shape: tuple[int, int]
    """(rows, columns) = (cross-track, wavelength) of a frame; valid once open."""
    frame_dtype: np.dtype[Any]
    """Type of a pixel; valid once open."""

    def open(self) -> None:
        """Connect and configure. DriverMissing, CameraNotFound or CameraError. Idempotent."""

    def start(self) -> None:
        """Start streaming. Idempotent. The queue is cleared: old frames are never delivered."""

    def set_exposure(self, exposure_ms: float) -> float:
        """Set the exposure, also while streaming; return the value that the camera applied."""

    def stop(self) -> None:
        """Stop streaming. Idempotent."""

    def close(self) -> None:
        """Release all resources, also while streaming. Idempotent."""


@runtime_checkable
class MayNotKnowExposure(Protocol):
    """A camera, or a file, that may not report its exposure."""

    exposure_is_known: bool
    """Whether `set_exposure` returns the actual exposure; valid once open."""


@runtime_checkable
class HasTemperature(Protocol):
    """A camera with a temperature sensor."""

    def temperature_celsius(self) -> float:
        """Return the current temperature, or NaN; called from a separate thread, about once a second."""


@runtime_checkable
class HasFullScale(Protocol):
    """A camera that reports the value of a saturated pixel, which may be less than that of its pixel format."""

    full_scale: int
    """Valid once open."""


@runtime_checkable
class HasProvenance(Protocol):
    """A camera that adds attributes to its files."""

    def provenance(self) -> Mapping[str, Any]:
        """Return attributes; called at every save, between two lines, so it must not access the camera."""


def _entry_points() -> "dict[str, EntryPoint]":
    """Drivers of other packages; takes 10 ms, since it looks at all packages that are installed."""
    from importlib import metadata

    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}


def driver_names() -> list[str]:
    """Names of all drivers, built in or of other packages, whether or not their SDK is installed."""
    return sorted({*DRIVERS, *_entry_points()})


def driver_class(name: str) -> Callable[..., Driver]:
    """Import the driver `name`. DriverMissing if it does not exist, or its vendor's package is not installed."""
    point = None if name in DRIVERS else _entry_points().get(name)
    if point is None and name not in DRIVERS:
        raise DriverMissing(
            f"there is no driver called {name!r}{nearest_name(name, driver_names())}; there are {driver_names()}"
        )
    try:
        loaded: Callable[..., Driver] = resolve_name(DRIVERS[name]) if point is None else point.load()
    except ImportError as error:
        missing = getattr(error, "name", None) or error
        hint = f"; pip install 'openhsi_shared[{name}]'" if name in EXTRAS else ""
        raise DriverMissing(f"camera {name!r} needs the package {str(missing)!r}: {error}{hint}") from error
    return loaded


def needed_options(make: Callable[..., Driver]) -> list[str]:
    """Names of the required options of a driver."""
    parameters = inspect.signature(make).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
